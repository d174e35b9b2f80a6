"""The coarse-to-fine conversation of ERGO (arXiv 2509.21991, section 3), written once, without I/O.

A flow is a generator of Requests that is sent Completions and returns an Answer; drivers carry them to a model.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Protocol

from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Chat, Completion, Expected, Request, Sampling
from ergo.core.reading import Reading, RegionReading
from ergo.core.view import SourcePicture, View


class Family(Protocol):
    """How one model family is asked, and how its replies are read (`ergo.families.base.ModelFamily`)."""

    @property
    def expects(self) -> Expected: ...
    def ask_region(self, coarse: View, question: str) -> Chat: ...
    def ask_answer(self, reply: str, close: View, question: str, choices: tuple[str, ...]) -> Chat: ...
    def ask_direct(self, view: View, question: str, choices: tuple[str, ...]) -> Chat: ...
    def ask_look(self, coarse: View, question: str, choices: tuple[str, ...]) -> Chat: ...
    def ask_again(self, reply: str, close: tuple[View, ...], question: "Question", looks_left: int) -> Chat: ...
    def read(self, reply: str, view: View) -> Reading: ...


@dataclass(frozen=True)
class Question:
    """What a person wants to know. choices: option texts in the order shown; empty for free answers."""

    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LookConfig:
    """How closely a model may look. coarse, close: budgets of the first look and of each later one. max_looks: in all.

    fast: the whole picture is shrunk to within one level of 255 (`images.shrink`), regions are exact always.
    """

    family: Family
    coarse: TokenBudget
    close: TokenBudget
    sampling: Sampling = field(default_factory=Sampling)
    max_looks: int = 3
    fast: bool = False


@dataclass(frozen=True)
class Answer:
    """What a person wants. regions: SOURCE pixels, looked at closely last; none for the whole picture.

    reading: how the answer was read from the last reply. region_reading: how the region was; None if none was asked.
    """

    text: str
    reading: str
    regions: tuple[Box, ...] = ()
    region_reading: RegionReading | None = None
    thought: str = ""
    caution: str = ""  # a line for whoever reads it, where the model is not to be believed

    @property
    def region(self) -> Box | None:
        return self.regions[-1] if self.regions else None

    @property
    def fallback(self) -> bool:
        """The second look saw the whole picture, for no region could be read."""
        return self.region_reading is not None and not self.regions


Flow = Generator[Request, Completion, Answer]


def coarse_to_fine(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """Look at the whole picture cheaply, choose a region, look at it closely, answer."""
    family = config.family
    coarse = View.of(picture, config.coarse, fast=config.fast)
    chat = family.ask_region(coarse, question.text)
    first = yield Request(chat, config.sampling, expect=family.expects)
    seen = family.read(first.text, coarse)
    close = View.of(picture, config.close, seen.region.box, config.fast)  # unreadable: everything again, same budget
    chat += family.ask_answer(first.text, close, question.text, question.choices)
    second = yield Request(chat, config.sampling, previous=first)
    read, regions = family.read(second.text, close), (seen.region.box,) if seen.region.box else ()
    return Answer(read.answer, read.answer_reading, regions, seen.region.reading, seen.thought)


def as_needed(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """Look at the whole picture; then answer, or look at regions of it, together within one budget, and so on."""
    family, most = config.family, config.close
    coarse = View.of(picture, config.coarse, fast=config.fast)
    chat, answer, reply = family.ask_look(coarse, question.text, question.choices), Answer("", "empty"), None
    for looks_left in range(max(config.max_looks, 1) - 1, -1, -1):
        reply = yield Request(chat, config.sampling, previous=reply)
        read = family.read(reply.text, coarse)  # always of the ORIGINAL picture
        answer = replace(answer, text=read.answer, reading=read.answer_reading, thought=answer.thought or read.thought)
        if read.is_answer or not looks_left:
            break
        regions = read.boxes[: most.max_tokens // most.min_tokens]
        answer = replace(answer, regions=regions, region_reading=read.region.reading)
        share = replace(most, max_tokens=most.max_tokens // max(1, len(regions)))
        close = tuple(View.of(picture, share, box, config.fast) for box in regions or (None,))
        chat += family.ask_again(reply.text, close, question, looks_left - 1)
    return answer


def one_look(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """The direct baseline: one view of the whole picture at the coarse budget, then the answer."""
    view = View.of(picture, config.coarse, fast=config.fast)
    reply = yield Request(config.family.ask_direct(view, question.text, question.choices), config.sampling)
    read = config.family.read(reply.text, view)
    return Answer(read.answer, read.answer_reading)


def crop_only(picture: SourcePicture, question: Question, config: LookConfig, region: Box) -> Flow:
    """The question and one crop, nothing else: what the frozen verifier sees (paper eq. 1)."""
    view = View.of(picture, config.close, region)
    reply = yield Request(config.family.ask_direct(view, question.text, question.choices), config.sampling)
    read = config.family.read(reply.text, view)
    return Answer(read.answer, read.answer_reading, (view.box,))
