"""`ergo.ask`: one question about one picture, from anything that names a picture to the Trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ergo.backends import Model, open_backend
from ergo.core.errors import UsageError
from ergo.core.flows import Question, check_flow, start_flow
from ergo.core.geometry import Box
from ergo.core.messages import Sampling
from ergo.core.runner import Trace, drive
from ergo.images.decode import PictureSource, load_image
from ergo.traces.guard import Guarded


@dataclass(frozen=True)
class AskOptions:
    """How to look.

    budget: most vision tokens of each look; None for the model family's default.
    region: for crop_only, SOURCE pixels.
    """

    flow: str = "coarse_to_fine"
    budget: int | None = None
    region: Box | None = None
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        check_flow(self.flow)


def ask(
    picture: PictureSource,
    question: str,
    options: Sequence[str] = (),
    model: str | Model = "ergo-tiny",
    how: AskOptions | None = None,
) -> Trace:
    """Answer a question about a picture by looking twice (paper section 3).

    picture: a path, bytes, a data URI or a Picture. options: texts to choose from; empty for a free
    answer. model: a name as `open_backend` takes it, or an opened model to ask again and again.
    A picture that cannot be opened raises PictureError; a model that does not answer is
    `trace.error`.
    """
    if not question.strip():
        raise UsageError("the question is empty")
    how = how or AskOptions()
    loaded = load_image(picture)  # first: a model takes longer to open than a picture to fail
    opened = open_backend(model) if isinstance(model, str) else model
    posed = Question(question, tuple(options))
    config = opened.look_config(how.budget, how.sampling)
    return drive((None, lambda: start_flow(how.flow, loaded, posed, config, how.region)), Guarded(opened.backend))
