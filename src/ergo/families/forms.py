"""The forms in which a reply names regions, read into SOURCE pixels: the table is tests/families/test_forms.py.

Four numbers, two pairs, or four named fields; in brackets of any kind, in <zoom>, <box> or <|box_start|>, in
JSON or bare inside a tag. The family says what they count; only a unit (%) or a range (all within 0..1, with
decimals) that leaves no doubt overrules it. Nothing is tried for fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ergo.core.geometry import Box
from ergo.core.reading import Region, RegionReading
from ergo.core.view import View
from ergo.families.replies import split_thought

Frame = Literal["pixels", "thousandths", "fractions"]
"""Of what a model's coordinates count: pixels of the view it was shown (Qwen2.5-VL), 1/1000 of the view's
sides (Qwen3-VL), or the sides themselves (Kimi)."""

_NUMBER = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?:\s?(%|px\b|pixels?\b))?")
_BRACKETS = re.compile(r"[\[\(]([^\[\]\(\)]*)[\]\)]")
_BETWEEN_CORNERS = re.compile(
    r"\s{0,4}(?:,|;|to|and|-|–|→)?\s{0,4}(?:(?:and\s)?(?:the\s)?(?:bottom|lower)[- ]?right(?:\scorner)?(?:\sat)?\s?:?\s{0,4})?",
    re.IGNORECASE,
)
_ESCAPED = re.compile(r"\\(?=[\[\]()<>_])")
"""As Markdown escapes brackets."""
_Y_FIRST_FIELD = re.compile(r"(?<![a-z])box_2d[\"']?\s{0,4}[:=]\s{0,4}\[?\s{0,4}\Z")
_NAMES = ("x1 y1 x2 y2", "xmin ymin xmax ymax", "x_min y_min x_max y_max", "left top right bottom", "x y w h",
          "x y width height", "x0 y0 x1 y1")  # fmt: skip
_FIELD = re.compile(
    rf"(?<![a-z0-9_])({'|'.join(sorted({name for names in _NAMES for name in names.split()}, key=len, reverse=True))})"
    rf"[\"']?\s{{0,4}}[:=]\s{{0,4}}[\"']?{_NUMBER.pattern}"
)
_BOX_TAG = re.compile(r"<(box|bbox|region)>([^<>]{1,200})</\1>")
_FULL_WIDTH = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)} | dict(
    zip(map(ord, "　【】、"), " [],", strict=True)
)
# None of these, and no search below, takes more than a time proportional to the reply.


@dataclass(frozen=True)
class _Written:
    """Four numbers as they stand in a reply, x1 y1 x2 y2. asked: they are all that a closed <zoom> holds."""

    numbers: tuple[str, ...]
    units: frozenset[str]
    asked: bool = False


def read_regions(reply: str, view: View, frame: Frame, y_first: bool = False) -> tuple[Region, tuple[Box, ...]]:
    """The last region of a reply that can be read, or why none can; and every box it names, each once."""
    _, rest = split_thought(reply)
    text = _ESCAPED.sub("", (rest if rest.strip() else reply).translate(_FULL_WIDTH))
    written = list(_in_zoom(text, y_first)) or _anywhere(text, y_first)
    if not written:
        return Region(None, "not_numbers" if "<zoom>" in text else "none_given"), ()
    regions = [_region(one, view, frame) for one in written]
    readable = [region for region in regions if region.box]
    boxes = tuple(dict.fromkeys(region.box for region in readable if region.box))
    last = (readable or regions)[-1]
    if len(boxes) > 1 and last.reading in ("exact", "repaired_tag"):
        last = Region(last.box, "repaired_several")
    if last.reading == "exact" and not rest.strip():  # all of it inside the thought
        last = Region(last.box, "repaired_tag")
    return last, boxes


def write_region(box: Box, view: View, frame: Frame, y_first: bool = False) -> str:
    """A box as a family of this frame says it of `view`."""
    wide, high = _sides(view, frame)
    x1, y1, x2, y2 = view.from_source(box)
    x1, x2 = (x * wide / view.size.width for x in (x1, x2))
    y1, y2 = (y * high / view.size.height for y in (y1, y2))
    numbers = (y1, x1, y2, x2) if y_first else (x1, y1, x2, y2)
    return f"[{', '.join(f'{number:.3f}' if frame == 'fractions' else str(round(number)) for number in numbers)}]"


def _in_zoom(text: str, y_first: bool) -> Iterator[_Written]:
    for piece in text.split("<zoom>")[1:]:
        body, closing, _ = piece.partition("</zoom>")
        found = list(_anywhere(body, y_first))
        if not found and closing and (bare := _quad(body, y_first)):  # unclosed, the last may be half a number
            found = [bare]
        whole = body.strip()
        listed = whole.startswith("[") and whole.endswith("]") and bool(_quad(whole[1:-1], False))
        named = whole.startswith("{") and whole.endswith("}") and len(found) == 1
        for one in found:
            yield _Written(one.numbers, one.units, bool(closing) and (listed or named))


def _anywhere(text: str, y_first: bool) -> list[_Written]:
    """Every list of four, pair of corners, set of named fields and tagged box, as they follow each other."""
    found: list[tuple[int, _Written]] = []
    corner, corner_end = None, -1
    for match in _BRACKETS.finditer(text):
        numbers, start = _numbers(match.group(1)), match.start()
        if len(numbers) == 4:
            before = text[max(0, start - 24) : start]
            found.append((start, _written(numbers, y_first or bool(_Y_FIRST_FIELD.search(before)))))
        elif len(numbers) == 2 and corner and _BETWEEN_CORNERS.fullmatch(text, corner_end, start):
            found.append((start, _written(corner + numbers, y_first)))
            corner = None
            continue
        corner, corner_end = (numbers, match.end()) if len(numbers) == 2 else (None, -1)
    fields: dict[str, tuple[str, str]] = {}
    for match in _FIELD.finditer(text):
        name, number, unit = match.groups()
        fields = {name: (number, unit)} if name in fields else fields | {name: (number, unit)}
        for names in _NAMES:
            if set(names.split()) <= set(fields):
                found.append((match.start(), _named([fields[key] for key in names.split()], "w" in names)))
                fields = {}
                break
    for match in _BOX_TAG.finditer(text):
        if quad := _quad(match.group(2), y_first):
            found.append((match.start(), quad))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def _named(fields: list[tuple[str, str]], has_size: bool) -> _Written:
    """Named fields. has_size: the last two are width and height, not the far corner."""
    numbers = [number for number, _ in fields]
    if has_size:
        numbers[2:] = [_sum(numbers[0], numbers[2]), _sum(numbers[1], numbers[3])]
    return _Written(tuple(numbers), frozenset(unit or "" for _, unit in fields))


def _sum(one: str, other: str) -> str:
    total = float(one) + float(other)
    return f"{total:.0f}" if total.is_integer() and "." not in one + other else repr(total)


def _quad(text: str, y_first: bool) -> _Written | None:
    numbers = _numbers(text)
    return _written(numbers, y_first) if len(numbers) == 4 else None


def _written(numbers: list[tuple[str, str]], y_first: bool) -> _Written:
    ordered = [numbers[place] for place in ((1, 0, 3, 2) if y_first else (0, 1, 2, 3))]
    return _Written(tuple(number for number, _ in ordered), frozenset(unit or "" for _, unit in ordered))


def _numbers(text: str) -> list[tuple[str, str]]:
    """`text` as numbers with commas, semicolons or white space between them; none if it is anything else."""
    found = list(_NUMBER.finditer(text))
    ends = [0, *(number.end() for number in found)]
    starts = [*(number.start() for number in found), len(text)]
    before, *between, after = [text[end:start] for end, start in zip(ends, starts, strict=True)] + [""] * (not found)
    apart = all(gap and gap.strip() in ("", ",", ";") for gap in between)
    return [(number[1], number[2]) for number in found] if apart and not before.strip() and not after.strip() else []


def _sides(view: View, frame: Frame) -> tuple[float, float]:
    """The view's width and height, as the frame counts them."""
    if frame == "pixels":
        return view.size.width, view.size.height
    return (1000, 1000) if frame == "thousandths" else (1, 1)


def _region(written: _Written, view: View, frame: Frame) -> Region:
    """Four numbers in a frame -> SOURCE pixels."""
    x1, y1, x2, y2 = numbers = tuple(float(number) for number in written.numbers)
    if not all(math.isfinite(number) for number in numbers) or ("%" in written.units and len(written.units) > 1):
        return Region(None, "not_numbers")
    reading: RegionReading = "exact" if written.asked and written.units == {""} else "repaired_tag"
    wide, high = _sides(view, frame)
    if "%" in written.units:
        (wide, high), reading = (100, 100), "repaired_percent"
    elif frame != "fractions" and all(0 <= number <= 1 for number in numbers) and "." in "".join(written.numbers):
        (wide, high), reading = (1, 1), "repaired_fraction"
    elif frame != "fractions" and any(
        not number.lstrip("-+").removesuffix(".").isdigit() for number in written.numbers
    ):
        reading = "repaired_float"
    if x2 < x1 or y2 < y1:
        x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        reading = "repaired_order"
    if x1 == x2 or y1 == y2:
        return Region(None, "empty")
    if x1 >= wide or y1 >= high or x2 <= 0 or y2 <= 0:
        source = view.picture.size
        within = min(x1, y1) >= 0 and x2 <= max(1000, source.width) and y2 <= max(1000, source.height)
        return Region(None, "other_frame" if within else "outside")
    if x1 < 0 or y1 < 0 or x2 > wide or y2 > high:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, wide), min(y2, high)
        reading = "repaired_frame"
    sx, sy = view.size.width / wide, view.size.height / high
    box = view.to_source(x1 * sx, y1 * sy, x2 * sx, y2 * sy)
    return Region(box, reading if box else "outside")
