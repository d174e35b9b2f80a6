"""MME-RealWorld and MME-RealWorld-Lite (Zhang et al. 2024), in the layout made for lmms-eval.

Options come as `(A) text`; (E) says that the picture does not show it. The released ERGO code scores
a category only if its name matches a list exactly; here every row counts, whatever its category.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_uppercase

from ergo.core.errors import DataError
from ergo.evals.conditions import POSTFIX
from ergo.samples.options import options_of
from ergo.samples.sample import Sample
from ergo.samples.tables import chosen, fingerprint, picture_bytes, rows

COLUMNS = ("index", "question_id", "bytes", "question", "multi-choice options", "answer", "category", "l2-category")


def read(folder: Path, split: str = "test") -> Iterator[Sample]:
    """Every row of every parquet file below `folder`, in the order of their names."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise DataError(f"{folder} holds no parquet file: it is not a copy of MME-RealWorld for lmms-eval")
    number = 0
    for path in files:
        for row in rows(path, COLUMNS):
            yield _sample(row, number, f"{path}, sample {number}")
            number += 1


def _sample(row: dict[str, object], number: int, where: str) -> Sample:
    listed = row.get("multi-choice options")
    image, question = row.get("bytes"), row.get("question")
    if not isinstance(listed, list) or not isinstance(image, (str, bytes)) or not isinstance(question, str):
        raise DataError(f"{where}: not a row of MME-RealWorld (wants bytes, question, multi-choice options)")
    options = dict(zip(ascii_uppercase, options_of(listed).texts, strict=False))
    return Sample(
        id=str(number),
        image=picture_bytes(image, where),
        question=question,
        answer=chosen(str(row.get("answer")), options, where),
        choices=tuple(options.values()),
        category=str(row.get("category") or ""),
        info={
            "cluster": fingerprint(image),
            "task": str(row.get("l2-category") or ""),
            "published": {"question": question, "options": [str(text) for text in listed], "postfix": f" {POSTFIX}"},
        },
    )
