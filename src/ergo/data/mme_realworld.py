"""MME-RealWorld without its Lite questions (Zhang et al. 2024, arXiv 2408.13257): the 21,690 that MGPO was trained on.

Layout (yifanzhang114/MME-RealWorld): MME_RealWorld.json, one list of {Question_id, Image (a path below the folder its
archives unpack to), Text, Question Type, "Answer choices" ["(A) ...", ...], "Ground truth" (a letter), Category, Subtask};
MME_RealWorld_Lite.json (yifanzhang114/MME-RealWorld-Lite) alike, 1,919 of the 23,609: it must lie here too, for these
are what models are tested on. Other questions share their pictures: add `--against mme_realworld_lite`.
Licence: stated for academic research; pictures keep their sets' terms.
Verified: fields of both files from public evaluation code; 23,609 - 1,919 = 21,690, MGPO's count. Not verified: that
MGPO left out these very questions; (E), "the image does not feature", is kept as an option.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError
from ergo.data.example import Dropped, Example, Row, files_below, json_rows
from ergo.samples.options import answer_of, options_of
from ergo.samples.sample import Sample

FETCH = ("hf download yifanzhang114/MME-RealWorld --repo-type dataset --local-dir FOLDER, unpack its archives there, and "
         "hf download yifanzhang114/MME-RealWorld-Lite MME_RealWorld_Lite.json --repo-type dataset --local-dir FOLDER")  # fmt: skip


def read(folder: Path) -> Iterator[Row]:
    """Every English question; those of Lite are Dropped as held_out."""
    [whole] = files_below(folder, "MME_RealWorld.json", "MME-RealWorld", FETCH)[:1]
    lite = files_below(folder, "MME_RealWorld_Lite.json", "MME-RealWorld-Lite", FETCH)[0]
    tested = {str(row["Question_id"]) for _, row in json_rows(lite) if isinstance(row, dict) and "Question_id" in row}
    if not tested:
        raise DataError(f"{lite} holds no Question_id: it does not say which questions are tested")
    for number, (where, row) in enumerate(json_rows(whole)):
        yield _row(row, str(number), tested, whole.parent, where)


def _row(row: dict[str, Any], number: str, tested: set[str], folder: Path, where: str) -> Row:
    try:
        id = str(row["Question_id"])
        if id in tested:
            return Dropped(id, "held_out", f"{where}: in MME-RealWorld-Lite")
        options = options_of(row["Answer choices"])
        answer = answer_of(str(row["Ground truth"]), options).text
        sample = Sample(
            id,
            folder / row["Image"],
            str(row["Text"]),
            answer,
            options.texts,
            category=f"{row.get('Category')}/{row.get('Subtask')}",
        )
        return Example(sample)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Dropped(number, "layout", f"{where}: {error!r}")
