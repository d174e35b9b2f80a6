"""What a reply is compared with, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from ergo.core.errors import DataError


class Graded(Protocol):
    """Whatever has a truth: a Sample, or one evaluation of it.

    answer: the right text; with choices, one of them. also_right: other texts that are right as well.
    choices: option texts in the order shown; empty for free answers. right_choice: place of the right
    option; None where its text says which.
    """

    @property
    def answer(self) -> str: ...
    @property
    def also_right(self) -> tuple[str, ...]: ...
    @property
    def choices(self) -> tuple[str, ...]: ...
    @property
    def right_choice(self) -> int | None: ...


@dataclass(frozen=True)
class Truth:
    """The right answer. answers: any of them is right. options: as shown; empty for free answers.

    place: of the right option. It matters where two options have one text: `published` compares letters.
    """

    answers: tuple[str, ...]
    options: tuple[str, ...] = ()
    place: int | None = None

    def __post_init__(self) -> None:
        if self.options and not self.right_places:
            raise DataError(f"the answer {self.answers[0]!r} is none of the options {', '.join(self.options)}")

    @classmethod
    def of(cls, sample: Graded) -> Truth:
        return cls((sample.answer, *sample.also_right), sample.choices, sample.right_choice)

    @cached_property
    def right_places(self) -> frozenset[int]:
        """Options that say a right answer: two options of one text say the same."""
        texts = set(self.answers)
        if self.place is not None and self.place < len(self.options):
            texts.add(self.options[self.place])
        return frozenset(place for place, option in enumerate(self.options) if option in texts)

    @property
    def label(self) -> str:
        """What the released code compares with: the right option's letter, or the free answer itself."""
        if not self.options:
            return self.answers[0]
        return chr(65 + (min(self.right_places) if self.place is None else self.place))


@dataclass(frozen=True)
class Choice:
    """Which option a reply chose: its place, None where it chose none; reason: how that was read."""

    place: int | None
    reason: str


@dataclass(frozen=True)
class Verdict:
    """right: the score of one reply. reason: how it was read or what is wrong; a short stable name (docs/grading.md)."""

    right: bool
    reason: str
