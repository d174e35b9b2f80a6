"""The Story of a Trace: what a picture or a page of it shows, in which words.

The question, each look with the regions drawn on it, the reasoning, the answer, and what the looks cost
against one direct look at full size. Views are shown as the model saw them, not as the picture could be
shown: a blurred sign is the point.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from ergo.core.flows import Question
from ergo.core.geometry import Box, TokenBudget
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.families.replies import split_thought
from ergo.grading import choice_of
from ergo.images.picture import Picture


@dataclass(frozen=True)
class Look:
    """One view and its words. marked: regions drawn on it, SOURCE pixels."""

    view: View
    title: str
    caption: str
    marked: tuple[Box, ...] = ()

    @property
    def is_part(self) -> bool:
        """Whether it shows less than the whole picture."""
        return self.view.box != Box.whole(self.view.picture.size)

    @property
    def places(self) -> list[dict[str, float]]:
        """Where the marked regions lie, in percent of the view's sides, as CSS wants it."""
        across, down = 100 / self.view.size.width, 100 / self.view.size.height
        corners = [self.view.from_source(box) for box in self.marked]
        return [
            {"left": x1 * across, "top": y1 * down, "width": (x2 - x1) * across, "height": (y2 - y1) * down}
            for x1, y1, x2, y2 in corners
        ]


@dataclass(frozen=True)
class Story:
    """What both renderers show.

    outcome: the answer, or what went wrong if `failed`. spent, direct: vision tokens of all looks, and of
    one look at full size. replies: each as it came.
    """

    question: str
    choices: tuple[str, ...]
    looks: tuple[Look, ...]
    reasoning: tuple[str, ...]
    outcome: str
    remark: str
    failed: bool
    spent: int
    direct: int
    seconds: float
    source: str
    replies: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace, picture: Picture, question: Question, compared: Trace | None = None) -> Story:
        """compared: one look at as many vision tokens, shown beside the others."""
        answer = trace.answer
        believed = not (answer and answer.caution)  # else what it thought was mostly a loop of the few words it has
        thoughts = (split_thought(turn.text)[0] for turn in trace.turns if believed)
        return cls(
            question=question.text,
            choices=tuple(f"({chr(65 + number)}) {choice}" for number, choice in enumerate(question.choices)),
            looks=_looks(trace, picture) + ((_one_look(compared, picture, question),) if compared else ()),
            reasoning=tuple(thought for thought in thoughts if thought),
            outcome=_outcome(answer.text, question) if answer else str(trace.error or "no answer"),
            remark=_remark(trace),
            failed=answer is None,
            spent=trace.vision_tokens,
            direct=trace.direct_vision_tokens,
            seconds=trace.seconds,
            source=f"{PurePath(picture.name).name}, {picture.size} pixels",
            replies=tuple(turn.text for one in (trace, compared) if one for turn in one.turns),
        )

    @property
    def share(self) -> float:
        """Vision tokens spent, of those of a direct look; at most 1."""
        return self.spent / max(self.spent, self.direct, 1)

    @property
    def cost(self) -> str:
        if not self.direct:
            return "nothing was shown to the model"
        share = f"{self.spent / self.direct:.0%} of {self.direct:,} at full size"
        return f"{self.spent:,} vision tokens, {share}; {self.seconds:.1f} s"


def _looks(trace: Trace, picture: Picture) -> tuple[Look, ...]:
    """The views in the order they were shown; the picture itself where the model never saw it."""
    views = [view for turn in trace.turns for view in turn.views]
    if not views:
        return (Look(View.of(picture, TokenBudget(1280)), "The picture", "was not looked at"),)
    region = trace.answer.region if trace.answer else None
    closer = tuple(dict.fromkeys(view.box for view in views[1:] if view.box != Box.whole(picture.size)))
    first = Look(views[0], *_words(views[0], "First look", "everything"), closer)
    repeated = "everything, as the region was" if region else "everything again, for want of a region"
    return first, *(Look(view, *_words(view, "Second look", repeated)) for view in views[1:])


def _one_look(trace: Trace, picture: Picture, question: Question) -> Look:
    view = trace.turns[0].views[0] if trace.turns else View.of(picture, TokenBudget(1280))
    said = _outcome(trace.answer.text, question) if trace.answer else f"Failed: {trace.error}"
    title, caption = _words(view, "One look at the same tokens", said)
    return Look(view, title, caption if trace.turns else said)


def _words(view: View, title: str, whole: str) -> tuple[str, str]:
    """Title and caption of a look; the ones given are for a look at the whole picture."""
    title, what = (title, whole) if view.box == Box.whole(view.picture.size) else ("Close look", f"region {view.box}")
    if view.asked:
        what += f", {'widened' if view.box.area > view.asked.area else 'cut'} from {view.asked}, too thin to be shown"
    return title, f"{what}\nshown at {view.size}, {view.tokens:,} tokens"


def _outcome(text: str, question: Question) -> str:
    """The answer; a bare letter together with the option it stands for."""
    chosen = choice_of(text, question.choices).place if question.choices else None
    option = question.choices[chosen] if chosen is not None else ""
    return f"Answer: {text or 'nothing'}" + (f" ({option})" if option and option not in text else "")


def _remark(trace: Trace) -> str:
    """How region and answer were read, where that was not plain."""
    if trace.answer is None:
        return "failed after the first look" if trace.turns else "failed before the first look"
    remarks = []
    if trace.answer.region_reading not in (None, "exact"):
        remarks.append(f"region: {trace.answer.region_reading}")
    if trace.answer.reading != "exact":
        remarks.append(f"answer: {trace.answer.reading}")
    return "; ".join(remarks).replace("_", " ")
