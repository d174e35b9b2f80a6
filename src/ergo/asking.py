"""`ergo.ask`: one question about one picture, from anything that names a picture to the Trace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ergo.backends import Opened, open_backend
from ergo.chat import Sampling
from ergo.errors import UsageError
from ergo.geometry import Box, TokenBudget
from ergo.image import Picture, PictureSource, load_image
from ergo.pipeline import Flow, Looking, Question, Trace, coarse_to_fine, crop_only, drive, one_look

FULL = 16384
"""Vision tokens of a direct look at full size: Qwen2.5-VL's own limit, and the paper's baseline."""

FLOWS = ("coarse_to_fine", "one_look", "crop_only")


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
        _check_flow(self.flow)


def looking_at(opened: Opened, budget: int | None, sampling: Sampling | None = None) -> Looking:
    """Budgets for a model: the same hard limit for the coarse and for the close view."""
    tokens = budget if budget is not None else opened.dialect.budget
    if tokens < 1:
        raise UsageError(f"--budget counts vision tokens and must be at least 1, not {tokens}")
    limit = TokenBudget(tokens, min_tokens=min(4, tokens), patch=opened.patch)
    return Looking(opened.dialect, limit, limit, sampling or Sampling())


def start_flow(name: str, picture: Picture, question: Question, looking: Looking, region: Box | None) -> Flow:
    """The flow of this name, ready to be driven."""
    _check_flow(name)
    if name == "coarse_to_fine":
        return coarse_to_fine(picture, question, looking)
    if name == "one_look":
        return one_look(picture, question, looking)
    inside = region.clamped(picture.size) if region else None
    if inside is None:
        raise UsageError(f"crop_only needs a region inside the picture ({picture.size})")
    return crop_only(picture, question, looking, inside)


def _as_text(words: str) -> str:
    """Bytes of a command line that are no UTF-8 arrive as half surrogate pairs, which no tokenizer takes."""
    return words.encode("utf-8", "replace").decode("utf-8")


def _check_flow(name: str) -> None:
    if name not in FLOWS:
        raise UsageError(f"no flow is called {name!r}; there are {', '.join(FLOWS)}")


def ask(
    picture: PictureSource,
    question: str,
    options: Sequence[str] = (),
    model: str | Opened = "ergo-tiny",
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
    asked = Question(_as_text(question), tuple(map(_as_text, options)))
    looking = looking_at(opened, how.budget, how.sampling)
    return drive((None, lambda: start_flow(how.flow, loaded, asked, looking, how.region)), opened.backend)
