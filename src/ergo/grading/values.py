"""What a free answer is: yes or no, a time, a date, a quantity, a code, or words; and when two of them are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ergo.grading.kinds import KINDS
from ergo.grading.numbers import Quantity, quantity
from ergo.grading.text import DECORATION, OPENERS, words
from ergo.grading.times import Clock, Date, clock, date


@dataclass(frozen=True)
class Code:
    """A plate, a room, a version, a telephone number: signs in their order."""

    signs: str


Value = bool | Clock | Date | Quantity | Code | tuple[str, ...]
Kind = Literal["yes_no", "time", "date", "number", "code", "text"]

KIND_OF: dict[type, Kind] = {
    bool: "yes_no",
    Clock: "time",
    Date: "date",
    Quantity: "number",
    Code: "code",
    tuple: "text",
}


def value_of(text: str) -> Value:
    """What a bare text is, as a whole.

    >>> value_of("5 pm").hour, value_of("A-5"), value_of("Yes."), value_of("the red car")
    (17, Code(signs='a5'), True, ('red', 'car'))
    """
    text = text.lstrip(OPENERS).rstrip(DECORATION)
    if text.casefold() in _ORDINALS:
        return Code(_ORDINALS[text.casefold()])
    return next(
        (value for read in (_yes_no, clock, date, quantity, code) if (value := read(text)) is not None), words(text)
    )


_ORDINALS = {
    "first": "1st", "second": "2nd", "third": "3rd", "fourth": "4th", "fifth": "5th", "sixth": "6th", "seventh": "7th",
    "eighth": "8th", "ninth": "9th", "tenth": "10th", "eleventh": "11th", "twelfth": "12th",
}  # fmt: skip
_YES, _NO = (frozenset(words(phrase) for phrase in KINDS[kind].phrases) for kind in ("yes", "no"))


def _yes_no(text: str) -> bool | None:
    """`sí` and `да`, but not what is yes in one language and no in another."""
    stated = words(text) if len(text) < 40 else ()
    return None if (stated in _YES) == (stated in _NO) else stated in _YES


_NUMBERED = re.compile(r"\+?\d+(?:-\d+){2,}|\d{3}-\d{4}")  # a telephone number, an ISBN: parted by hyphens or by blanks
_TO = re.compile(r"(?<=\d) (?:to|bis|до|à) (?=\d)")
_GROUP = re.compile(r"[^\W_]+(?:[-./:·][^\W_]+)*")


def code(text: str) -> Code | None:
    """At most four groups of signs, with a digit; letters and digits in one group, or capitals beside digits."""
    groups = (text := _TO.sub("-", text)).split()
    if not 1 <= len(groups) <= 6 or len(text) > 40 or not any(sign.isdigit() for sign in text):
        return None
    if not all(_GROUP.fullmatch(group) for group in groups):
        plain = re.sub(r"[\s().-]", "", text)
        return Code(plain) if re.fullmatch(r"\+?\d{7,15}", plain) else None
    letters = any(sign.isalpha() for sign in text)
    if not letters:
        plain = re.sub(r"[\s.-]", "", text)
        phone = len(plain) >= 7 and plain.isdigit() and (len(groups) > 1 or _NUMBERED.fullmatch(text))
        return (
            Code(plain if phone else "".join(groups))
            if re.search(r"^0\d|[-./: ]", text) or text.startswith("0")
            else None
        )
    mixed = any(re.search(r"[^\W\d_]", group) and re.search(r"\d", group) for group in groups)
    named = any(group.isalpha() and not group.isupper() for group in groups)  # `Terminal B5` is words
    if named or not (mixed or text.upper() == text):
        return None
    return Code(re.sub(r"[\s-]", "", text).casefold())


def same(value: Value, truth: Value) -> tuple[bool, str]:
    """(whether a value is the truth, or "": a reason that is more than that it differs)."""
    if isinstance(value, Quantity) and isinstance(truth, Quantity):
        return _same_quantity(value, truth)
    if isinstance(value, Clock) and isinstance(truth, Clock) and value.half != truth.half:
        twelve = (value.hour % 12, value.minute, value.second) == (truth.hour % 12, truth.minute, truth.second)
        return twelve and value.half, "other_value" if not twelve else "" if value.half else "half_day_missing"
    if type(value) is not type(truth):
        return False, ""
    return value == truth != (), "" if value == truth or isinstance(truth, tuple | Code) else "other_value"


def _same_quantity(value: Quantity, truth: Quantity) -> tuple[bool, str]:
    """A truth without a unit leaves it open (`3` is `3 dogs`); a truth with one wants it said."""
    if (value.unit or value.noun) and (truth.unit or truth.noun):
        if (value.unit, value.noun) != (truth.unit, truth.noun):
            return False, "other_unit"
        return value.value == truth.value, "" if value.value == truth.value else "other_value"
    if value.number != truth.number:
        return False, "other_value"
    return True, "unit_missing" if truth.unit or truth.noun else ""
