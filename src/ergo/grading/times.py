"""Times of day and dates, each with the parts that were said: `5 pm`, `17:00`, `June 5`, `5 June 2024`, `2024-06-05`.

`06/05/2024` is no date here: half the world reads June, the other half May. It is compared sign by sign.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """A time of day. hour: 0..23. half: whether it says which half of the day: `5:00` is neither 5 am nor 5 pm."""

    hour: int
    minute: int
    second: int | None
    half: bool


@dataclass(frozen=True)
class Date:
    """A day, or a month of a year. None: not said."""

    year: int | None
    month: int
    day: int | None


_CLOCK = re.compile(
    r"(\d{1,2})(?:[:.h](\d{2}))?(?::(\d{2}))?(?: ?h)? ?(a\.?m\b\.?|p\.?m\b\.?|o'clock|uhr)?", re.IGNORECASE
)
_MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ],
        1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATES = (
    re.compile(
        rf"(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})\b\.?(?:,? (?P<year>\d{{4}}))?",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?P<month>{_MONTH})\b\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?(?!\d)", re.IGNORECASE
    ),
    re.compile(rf"(?P<month>{_MONTH})\b\.?,? (?P<year>\d{{4}})(?P<day>)", re.IGNORECASE),
    re.compile(r"(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"),
    re.compile(r"(?P<year>\d{4})年(?P<month>\d{1,2})月(?:(?P<day>\d{1,2})日)?"),
)


def clock(text: str) -> Clock | None:
    """The time of day that a bare text is."""
    text = text.strip()
    if text.casefold() in ("noon", "midday", "midnight"):
        return Clock(0 if text.casefold() == "midnight" else 12, 0, None, True)
    found = _CLOCK.fullmatch(text)
    return _clock(found) if found else None


def _clock(found: re.Match[str]) -> Clock | None:
    hour, minute, second, half = found.groups()
    colon = ":" in found.group() or "h" in found.group().casefold()
    if not half and not (minute and colon):
        return None
    value, half = int(hour), (half or "").casefold().replace(".", "")
    if half in ("am", "pm"):
        if not 1 <= value <= 12:
            return None if value > 23 else _in_range(value, minute, second, True)
        value = value % 12 + (12 if half == "pm" else 0)
    return _in_range(value, minute, second, half in ("am", "pm") or value > 12 or value == 0)


def _in_range(hour: int, minute: str | None, second: str | None, half: bool) -> Clock | None:
    if hour > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return None
    return Clock(hour, int(minute or 0), int(second) if second else None, half)


def date(text: str) -> Date | None:
    """The date that a bare text is."""
    for form in _DATES:
        found = form.fullmatch(text.strip().rstrip("."))
        if found:
            return _date(found)
    return None


def _date(found: re.Match[str]) -> Date | None:
    year, month, day = found["year"], found["month"].casefold(), found["day"]
    number = _MONTHS.get(month) or int(month)
    if not 1 <= number <= 12 or not 1 <= int(day or 1) <= 31:
        return None
    return Date(int(year) if year else None, number, int(day) if day else None)


_WITHIN = re.compile(r"(?<![\w:.])" + _CLOCK.pattern + r"(?![\w:])", re.IGNORECASE)


def clocks(text: str) -> list[tuple[int, Clock]]:
    """(place, time) of each time of day in a bare text."""
    return [(found.start(), read) for found in _WITHIN.finditer(text) if (read := _clock(found)) is not None]


def dates(text: str) -> list[tuple[int, Date]]:
    """(place, date) of each date in a bare text."""
    found = [(one.start(), one.end(), read) for form in _DATES for one in form.finditer(text) if (read := _date(one))]
    kept: list[tuple[int, Date]] = []
    end = 0
    for start, stop, read in sorted(found, key=lambda one: (one[0], -one[1])):
        if start >= end and not text[max(0, start - 1) : start].isalnum() and not text[stop : stop + 1].isalnum():
            kept.append((start, read))
            end = stop
    return kept
