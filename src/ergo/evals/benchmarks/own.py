"""Your own data: a JSONL of Samples (see `ergo.sample`), or a CSV.

The CSV has a header with at least picture, question and answer; choices are separated by `|`. The
answer is a choice's text or its letter. region is `left top right bottom` in pixels of the upright
picture. Picture paths are relative to the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from ergo.core.errors import DataError
from ergo.core.geometry import Box
from ergo.samples.sample import Sample, read_samples

NEEDED = ("picture", "question", "answer")


def read_jsonl(path: Path, split: str = "") -> Iterator[Sample]:
    """One Sample per line; an answer must be one of the choices, where there are any."""
    for sample in read_samples(path):
        if sample.choices and sample.answer not in sample.choices:
            raise DataError(f"{path}, sample {sample.id}: the answer {sample.answer!r} is none of its choices")
        yield sample


def read_csv(path: Path, split: str = "") -> Iterator[Sample]:
    """One question per row."""
    with path.open(encoding="utf-8-sig", newline="") as lines:
        table = csv.DictReader(lines)
        missing = [column for column in NEEDED if column not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{path} has no column {', '.join(missing)}; it needs {', '.join(NEEDED)}")
        for number, row in enumerate(table):
            yield _sample(row, number, path)


def _sample(row: dict[str, str | None], number: int, path: Path) -> Sample:
    where = f"{path}, row {number + 1}"
    picture, question, answer = (row[column] or "" for column in NEEDED)
    if not picture or not question or not answer:
        raise DataError(f"{where}: picture, question and answer must not be empty")
    choices = tuple(choice.strip() for choice in (row.get("choices") or "").split("|") if choice.strip())
    if choices and answer not in choices:
        letter = answer.strip().strip("().").upper()
        if len(letter) != 1 or not 0 <= ord(letter) - 65 < len(choices):
            raise DataError(f"{where}: the answer {answer!r} is none of its choices, nor a letter of one")
        answer = choices[ord(letter) - 65]
    return Sample(
        id=row.get("id") or str(number),
        image=picture if picture.startswith("data:") else path.parent / picture,
        question=question,
        answer=answer,
        choices=choices,
        region=_region(row.get("region"), where),
        category=row.get("category") or "",
    )


def _region(text: str | None, where: str) -> Box | None:
    if not text or not text.strip():
        return None
    try:
        left, top, right, bottom = (int(number) for number in text.replace(",", " ").split())
        return Box(left, top, right, bottom)
    except ValueError as error:
        raise DataError(f"{where}: the region {text!r} is not `left top right bottom` in pixels") from error
