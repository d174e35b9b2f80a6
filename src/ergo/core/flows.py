"""The coarse-to-fine conversation of ERGO (arXiv 2509.21991, section 3), written once, without I/O.

A flow is a generator: it yields a Request, is sent the Completion, and returns an Answer. Any driver
(`traces.run`, the server's event loop, a trainer) only carries requests to a model and replies back.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from ergo.core.errors import UsageError
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Chat, Completion, Request, Sampling
from ergo.core.reading import AnswerReading, Region, RegionReading
from ergo.core.view import SourcePicture, View


class Family(Protocol):
    """How one model family is asked, and how its replies are read (`ergo.families.base.ModelFamily`)."""

    @property
    def name(self) -> str: ...
    def ask_region(self, coarse: View, question: str) -> Chat: ...
    def ask_answer(self, reply: str, close: View, question: str, choices: tuple[str, ...]) -> Chat: ...
    def ask_direct(self, view: View, question: str, choices: tuple[str, ...]) -> Chat: ...
    def read_region(self, reply: str, view: View) -> Region: ...
    def read_answer(self, reply: str) -> tuple[str, AnswerReading]: ...
    def read_thought(self, reply: str) -> str: ...


@dataclass(frozen=True)
class Question:
    """What a person wants to know. choices: option texts in the order shown; empty for free answers."""

    text: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class LookConfig:
    """How closely a model may look. coarse, close: budgets of the first and the second view."""

    family: Family
    coarse: TokenBudget
    close: TokenBudget
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Answer:
    """What a person wants. region: SOURCE pixels looked at closely; None for the whole picture.

    reading: how the answer was read from the last reply. region_reading: how the region was read; None for
    flows without one.
    """

    text: str
    reading: str
    region: Box | None = None
    region_reading: RegionReading | None = None
    thought: str = ""

    @property
    def fallback(self) -> bool:
        """The second look saw the whole picture, for no region could be read."""
        return self.region_reading is not None and self.region is None


Flow = Generator[Request, Completion, Answer]


def coarse_to_fine(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """Look at the whole picture cheaply, choose a region, look at it closely, answer."""
    family = config.family
    coarse = View.of(picture, config.coarse)
    chat = family.ask_region(coarse, question.text)
    first = yield Request(chat, config.sampling, expect="region")

    region = family.read_region(first.text, coarse)
    close = View.of(picture, config.close, region.box)  # unreadable: everything again, same budget
    chat += family.ask_answer(first.text, close, question.text, question.choices)
    second = yield Request(chat, config.sampling, previous=first)

    text, reading = family.read_answer(second.text)
    return Answer(text, reading, region.box, region.reading, family.read_thought(first.text))


def one_look(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """The direct baseline: one view of the whole picture at the coarse budget, then the answer."""
    view = View.of(picture, config.coarse)
    reply = yield Request(config.family.ask_direct(view, question.text, question.choices), config.sampling)
    return Answer(*config.family.read_answer(reply.text))


def crop_only(picture: SourcePicture, question: Question, config: LookConfig, region: Box) -> Flow:
    """The question and one crop, nothing else: what the frozen verifier sees (paper eq. 1)."""
    view = View.of(picture, config.close, region)
    reply = yield Request(config.family.ask_direct(view, question.text, question.choices), config.sampling)
    return Answer(*config.family.read_answer(reply.text), view.box)


FLOWS: dict[str, Callable[..., Flow]] = {flow.__name__: flow for flow in (coarse_to_fine, one_look, crop_only)}


def check_flow(name: str) -> str:
    """The name of a flow; UsageError for any other."""
    if name not in FLOWS:
        raise UsageError(f"no flow is called {name!r}; there are {', '.join(FLOWS)}")
    return name


def start_flow(name: str, picture: SourcePicture, question: Question, config: LookConfig, region: Box | None) -> Flow:
    """The flow of this name, ready to be driven. region: for crop_only, SOURCE pixels."""
    if check_flow(name) != "crop_only":
        return FLOWS[name](picture, question, config)
    if not region or not region.clamped(picture.size):
        raise UsageError(f"crop_only needs a region inside the picture ({picture.size})")
    return crop_only(picture, question, config, region)
