"""HR-Bench 4K and 8K (Wang et al. 2024): 200 questions each, every one in four orders of its options.

The 800 rows are therefore not 800 independent samples: `info["cluster"]` names the question, and
intervals are computed over questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ergo.core.errors import DataError
from ergo.evals.conditions import POSTFIX
from ergo.samples.sample import Sample
from ergo.samples.tables import chosen, fingerprint, picture_bytes, rows

LETTERS = "ABCD"
COLUMNS = ("index", "image", "question", "answer", "category", "cycle_category", *LETTERS)


def read_4k(folder: Path, split: str = "test") -> Iterator[Sample]:
    """800 rows about pictures of about 4000 x 3500 pixels."""
    yield from _read(folder / "hr_bench_4k.parquet")


def read_8k(folder: Path, split: str = "test") -> Iterator[Sample]:
    """800 rows about pictures of about 7680 x 4320 pixels."""
    yield from _read(folder / "hr_bench_8k.parquet")


def _read(path: Path) -> Iterator[Sample]:
    if not path.is_file():
        raise DataError(
            f"there is no {path}. Fetch it:\n  hf download DreamMr/HR-Bench {path.name} --repo-type dataset "
            f"--local-dir {path.parent}"
        )
    for number, row in enumerate(rows(path, COLUMNS)):
        where = f"{path}, row {number}"
        try:
            options = {letter: str(row[letter]) for letter in LETTERS if row.get(letter) is not None}
            yield Sample(
                id=f"{row.get('index', number)}",
                image=picture_bytes(row["image"], where),
                question=row["question"].strip(),
                answer=chosen(row["answer"], options, where),
                choices=tuple(options.values()),
                category=str(row.get("category") or ""),
                info={
                    "cluster": fingerprint(row["image"], row["question"]),
                    "cycle": str(row.get("cycle_category") or ""),
                    "published": {
                        "question": row["question"],
                        "options": [f"{letter}:{row.get(letter)}" for letter in LETTERS],
                        "form": "{letter}:{text}",
                        "postfix": f" {POSTFIX}",
                    },
                },
            )
        except (KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{where}: not a row of HR-Bench ({error!r})") from error
