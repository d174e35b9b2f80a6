"""V* (Wu & Xie 2024): 191 questions about small things in large photographs, in two categories.

Layout of craigwu/vstar_bench: test_questions.jsonl, and beside each picture a .json with the boxes
[x, y, width, height] of what is asked about. The published file lists the right option in an order
of its own making; `--options shuffled|circular` tells how much of a score rests on that order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ergo.core.errors import DataError
from ergo.core.geometry import Box
from ergo.samples.sample import Sample

_OPTION = re.compile(r"\(([A-Z])\)\s*(.*)")


def read(folder: Path, split: str = "test") -> Iterator[Sample]:
    """The question is the first line of `text`, options the lines that begin with a letter."""
    questions = folder / "test_questions.jsonl"
    if not questions.is_file():
        raise DataError(f"{folder} has no test_questions.jsonl: it is not a copy of craigwu/vstar_bench")
    with questions.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _sample(line, folder, f"{questions}:{number}")


def _sample(line: str, folder: Path, where: str) -> Sample:
    try:
        row = json.loads(line)
        first, *rest = row["text"].split("\n")
        options = {found[1]: found[2] for text in rest if (found := _OPTION.fullmatch(text.strip()))}
        image = folder / row["image"]
        return Sample(
            id=str(row["question_id"]),
            image=image,
            question=first,
            answer=options[row["label"]],
            choices=tuple(options.values()),
            region=_region(image.with_suffix(".json")),
            category=row["category"],
            info={"published": {"question": first, "options": rest[:-1], "postfix": rest[-1]}},
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: not a V* question ({error!r})") from error


def _region(path: Path) -> Box | None:
    """The smallest box that holds everything asked about; None where the file is not there."""
    if not path.is_file():
        return None
    boxes = [Box(x, y, x + w, y + h) for x, y, w, h in json.loads(path.read_text(encoding="utf-8"))["bbox"]]
    if not boxes:
        return None
    region = boxes[0]
    for box in boxes[1:]:
        region = region.union(box)
    return region
