"""What a reader yields: an Example, or why a row is none. Regions are made here, from the boxes of any unit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ergo.core.errors import DataError
from ergo.core.geometry import Box, Size
from ergo.samples.options import Options, answer_of, split_prompt
from ergo.samples.sample import Sample

BoxUnit = Literal["pixels", "fractions"]
"""Of what a set's boxes count: pixels of the upright picture, or 0..1 of its sides."""

Corners = tuple[float, float, float, float]
"""x1, y1, x2, y2 in a BoxUnit."""

OUTSIDE = 0.02  # share of a side by which a box may stick out; further out, it is of another unit or picture


@dataclass(frozen=True)
class Example:
    """One question of a training set as it lies on disk.

    sample: its image is a path, or the bytes of a file; its region is not set yet.
    boxes: what the set marks as needed for the answer; the region is the smallest that holds them all.
    """

    sample: Sample
    boxes: tuple[Corners, ...] = ()
    unit: BoxUnit = "pixels"


@dataclass(frozen=True)
class Dropped:
    """A row that is not kept. reason: a key of `prepare.REASONS`, for counting. detail: what was wrong with it."""

    id: str
    reason: str
    detail: str = ""


Row = Example | Dropped


def region_of(boxes: Sequence[Corners], unit: BoxUnit, picture: Size) -> Box:
    """The smallest Box, SOURCE pixels, that holds every box; ValueError says why there is none.

    >>> region_of([(0.25, 0.5, 0.5, 0.75)], "fractions", Size(200, 100))
    Box(left=50, top=50, right=100, bottom=75)
    """
    wide, high = (picture.width, picture.height) if unit == "fractions" else (1, 1)
    for x1, y1, x2, y2 in boxes:
        if not (x1 < x2 and y1 < y2):  # NaN included
            raise ValueError(f"[{x1}, {y1}, {x2}, {y2}] is empty")
    left, top = min(box[0] for box in boxes) * wide, min(box[1] for box in boxes) * high
    right, bottom = max(box[2] for box in boxes) * wide, max(box[3] for box in boxes) * high
    slack_x, slack_y = OUTSIDE * picture.width, OUTSIDE * picture.height
    if left < -slack_x or top < -slack_y or right > picture.width + slack_x or bottom > picture.height + slack_y:
        raise ValueError(f"[{left:.0f}, {top:.0f}, {right:.0f}, {bottom:.0f}] is not inside {picture}")
    around = Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)).clamped(picture)
    if around is None:
        raise ValueError(f"[{left:.0f}, {top:.0f}, {right:.0f}, {bottom:.0f}] is not inside {picture}")
    return around


# ── what the layouts have in common ────────────────────────────────────────────────────────────


def parse_question(text: str, answer: str) -> tuple[str, tuple[str, ...], str]:
    """Question, choices and answer of a text whose options may stand in lines of their own, from A on.

    The answer becomes an option's text where it is that option's letter.

    >>> parse_question("<image>What is it?\\nA. a cup\\n(B) a pot", "B")
    ('What is it?', ('a cup', 'a pot'), 'a pot')
    >>> parse_question("<image>\\nWhat colour?", " red ")
    ('What colour?', (), 'red')
    """
    prompt = split_prompt(text.replace("<image>", ""))
    if not prompt.options:
        return prompt.question, (), answer.strip()
    try:
        found = answer_of(answer, Options(prompt.options, lettered=True)).text
    except ValueError:
        found = answer.strip()  # counted as not_a_choice
    return "\n".join(part for part in (prompt.question, prompt.rest) if part), prompt.options, found


def json_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(where, row) of a .jsonl, or of a .json that holds one list."""
    if path.suffix == ".json":
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is not JSON: {error}") from error
        yield from ((f"{path.name}, row {number}", row) for number, row in enumerate(rows))
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield f"{path.name}:{number}", json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}:{number} is not JSON: {error}") from error


def files_below(folder: Path, pattern: str, what: str, fetch: str) -> list[Path]:
    """The files a set consists of, in order of their names; without any, how it is fetched."""
    files = sorted(folder.rglob(pattern))
    if not files:
        raise DataError(f"{folder} holds no {pattern}: it is not a copy of {what}. Fetch it: {fetch}")
    return files
