"""VisualProbe, training share (Lai et al. 2025, Mini-o3, arXiv 2509.07969): 4,000 hard searches in large pictures.

Layout (Mini-o3/VisualProbe_train, and Mini-o3/DeepEyes_train_4K alike): train.json, one list of
{images ["VisualProbe_train/data/NAME.jpg"], problem ("<image>..."), solution, data_source, doc_id};
pictures lie below data/. No boxes.
Licence: CC BY-NC (Mini-o3 states it for its weights and data): not for commercial use.
Verified: fields, file names and the prefix of the paths from public users. Not verified: whether
solution is always one string (a list of one is taken as that one).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.data.example import Dropped, Example, Row, files_below, json_rows, parse_question
from ergo.samples.sample import Sample

FETCH = "hf download Mini-o3/VisualProbe_train --repo-type dataset --local-dir FOLDER"


def read(folder: Path) -> Iterator[Row]:
    """Every row with one picture."""
    for path in files_below(folder, "train.json", "VisualProbe_train", FETCH):
        for number, (where, row) in enumerate(json_rows(path)):
            yield _row(row, str(number), path.parent, where)


def _row(row: dict[str, Any], number: str, folder: Path, where: str) -> Row:
    try:
        id = str(row.get("doc_id", number))
        if len(row["images"]) != 1:
            return Dropped(id, "several_pictures", f"{where}: {len(row['images'])}")
        solution = row["solution"]
        question, choices, answer = parse_question(
            row["problem"], solution[0] if isinstance(solution, list) else solution
        )
        image = folder / "data" / row["images"][0].rpartition("data/")[2]
        return Example(Sample(id, image, question, answer, choices, category=str(row.get("data_source") or "")))
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        return Dropped(number, "layout", f"{where}: {error!r}")
