"""Data sets of VLMEvalKit: a TSV with index, question, answer, perhaps A, B, C ..., and the picture.

The picture stands in the row as base64; or as the index of the row that holds it; or as `image_path`
beside the file. Rows with several pictures are refused: a look is at one picture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from ergo.core.errors import DataError
from ergo.samples.sample import Sample
from ergo.samples.tables import chosen, picture_bytes

REFERENCE = 64  # a cell no longer than this names another row (VLMEvalKit's own rule)
LONGEST_CELL = 1 << 30  # csv's limit is one number for the process; pictures are longer than its default


def read(path: Path, split: str = "") -> Iterator[Sample]:
    """Every row; a picture that other rows refer to is kept, encoded, until the end."""
    named = {image for row in _rows(path) if 0 < len(image := row.get("image") or "") <= REFERENCE}
    kept: dict[str, str] = {}
    for number, row in enumerate(_rows(path)):
        where = f"{path}, row {number + 1}"
        index = row.get("index") or str(number)
        image = row.get("image") or ""
        if index in named and len(image) > REFERENCE:
            kept[index] = image
        yield _sample(row, index, kept.get(image, image), path.parent, where)


def _rows(path: Path) -> Iterator[dict[str, str | None]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter="\t")


def _sample(row: dict[str, str | None], index: str, image: str, folder: Path, where: str) -> Sample:
    question, answer = row.get("question"), row.get("answer")
    if not question or not answer:
        raise DataError(f"{where}: no question or no answer; VLMEvalKit's test sets without answers cannot be scored")
    options = {letter: text for letter in ascii_uppercase if (text := row.get(letter)) and text != "nan"}
    hint = row.get("hint")
    return Sample(
        id=index,
        image=_picture(row, image, folder, where),
        question=f"{hint}\n{question}" if hint and hint != "nan" else question,
        answer=chosen(answer, options, where) if options else answer,
        choices=tuple(options.values()),
        category=row.get("category") or "",
        info={"split": row.get("split") or ""},
    )


def _picture(row: dict[str, str | None], image: str, folder: Path, where: str) -> bytes | Path:
    path = row.get("image_path") or ""
    if image.startswith("[") or path.startswith("["):
        raise DataError(f"{where} has several pictures; a look is at one")
    if len(image) > REFERENCE:
        return picture_bytes(image, where)
    if path:
        return folder / path
    raise DataError(f"{where}: no picture, and no row {image!r} before it that holds one")
