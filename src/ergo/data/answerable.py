"""Is a question worth learning to look for? Kept: what the coarse view cannot answer and a closer look can.

One flow per sample, of looks that know nothing of each other, driven by `core.runner.run` over any backend.
"""

from __future__ import annotations

from dataclasses import dataclass

from ergo.backends import Model
from ergo.core.flows import Flow, LookConfig, Question, crop_only, one_look
from ergo.core.geometry import FULL
from ergo.core.runner import Trace
from ergo.grading import is_right
from ergo.images.picture import Picture
from ergo.samples.sample import Sample


@dataclass(frozen=True)
class Examiner:
    """The model that answers. budget: vision tokens of the coarse view, and of the crop."""

    model: Model
    budget: int

    def flow(self, sample: Sample, picture: Picture) -> Flow:
        """The coarse view; if that fails, the true region, or where none is known everything at full size."""
        question = Question(sample.question, sample.choices)
        coarse = self.model.look_config(self.budget)
        answer = yield from one_look(picture, question, coarse)
        if is_right(sample, answer.text):
            return answer
        return (yield from self._closer(sample, picture, question, coarse))

    def _closer(self, sample: Sample, picture: Picture, question: Question, coarse: LookConfig) -> Flow:
        if sample.region:
            return crop_only(picture, question, coarse, sample.region)
        return one_look(picture, question, self.model.look_config(FULL))


def verdict(sample: Sample, trace: Trace) -> tuple[str, str] | None:
    """(reason, detail) to drop it; None: kept. A model that failed has not shown that it cannot answer."""
    if trace.error is not None:
        return "not_examined", f"{trace.error.kind}: {trace.error}"
    assert trace.answer is not None  # without an error there is one
    if len(trace.turns) == 1:
        return "coarse_is_enough", trace.answer.text
    if not is_right(sample, trace.answer.text):
        return "close_is_not_enough", f"answered {trace.answer.text!r}, not {sample.answer!r}"
    return None
