"""The forms in which a reply names a region, read into SOURCE pixels.

Replies are data: read with regular expressions in linear time, repaired where their meaning is plain, and
otherwise named, never guessed at.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ergo.core.reading import Region, RegionReading
from ergo.core.view import View

Frame = Literal["pixels", "thousandths"]
"""Of what a model's coordinates count: pixels of the view it was shown (Qwen2.5-VL), or 1/1000 of
the view's sides (Qwen3-VL)."""

_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_BRACKETS = re.compile(r"[\[\(]([^\[\]\(\)]*)[\]\)]")
# Neither of these, and no search below, takes more than a time proportional to the reply.


def read_region(reply: str, view: View, frame: Frame) -> Region:
    """The region a reply names, in SOURCE pixels.

    Plain slips are mended and named: a missing tag or closing tag, floats, reversed corners, a
    box partly outside. What has no plain meaning gives None and its name.
    """
    written = _written_region(reply)
    if isinstance(written, str):
        return Region(None, written)
    numbers = tuple(float(number) for number in written.numbers)
    if not all(math.isfinite(number) for number in numbers):
        return Region(None, "not_numbers")
    reading: RegionReading = "exact" if written.well_formed else "repaired_tag"
    if any(not number.lstrip("-+").isdigit() for number in written.numbers):
        reading = "repaired_float"
    x1, y1, x2, y2 = numbers
    if x2 < x1 or y2 < y1:
        x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        reading = "repaired_order"
    if x1 == x2 or y1 == y2:
        return Region(None, "empty")
    wide, high = (1000, 1000) if frame == "thousandths" else (view.size.width, view.size.height)
    if x1 >= wide or y1 >= high or x2 <= 0 or y2 <= 0:
        return Region(None, "outside")
    if x1 < 0 or y1 < 0 or x2 > wide or y2 > high:
        x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, wide), min(y2, high)
        reading = "repaired_frame"
    sx, sy = view.size.width / wide, view.size.height / high
    box = view.to_source(x1 * sx, y1 * sy, x2 * sx, y2 * sy)
    return Region(box, reading if box else "outside")


@dataclass(frozen=True)
class _Written:
    """Four numbers as they stand in a reply. well_formed: they are all that a closed <zoom> holds."""

    numbers: tuple[str, ...]
    well_formed: bool


def _written_region(reply: str) -> _Written | RegionReading:
    """The first <zoom>, closed or not; without one, the last list of four numbers; or why there is none."""
    _, opening, after = reply.partition("<zoom>")
    if not opening:
        lists = [numbers for body in _BRACKETS.findall(reply) if (numbers := _four(body))]
        return _Written(lists[-1], False) if lists else "none_given"
    body, closing, _ = after.partition("</zoom>")
    lists = [numbers for inner in _BRACKETS.findall(body) if (numbers := _four(inner))]
    if lists:
        whole = body.strip()
        alone = whole.startswith("[") and whole.endswith("]") and _four(whole[1:-1]) is not None
        return _Written(lists[0], bool(closing) and alone)
    bare = _four(body) if closing else None  # unclosed, the last number may be half a number
    return _Written(bare, False) if bare else "not_numbers"


def _four(text: str) -> tuple[str, ...] | None:
    """`text` as four numbers with commas, semicolons or white space between them; None if it is anything else."""
    found = list(_NUMBER.finditer(text))
    if len(found) != 4:
        return None
    ends = [0, *(number.end() for number in found)]
    starts = [*(number.start() for number in found), len(text)]
    before, *between, after = (text[end:start] for end, start in zip(ends, starts, strict=True))
    apart = all(gap and gap.strip() in ("", ",", ";") for gap in between)
    return tuple(number.group() for number in found) if apart and not before.strip() and not after.strip() else None
