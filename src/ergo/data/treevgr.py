"""TreeVGR-RL-37K (Wang et al. 2025, arXiv 2507.07999): 30,000 questions from V*'s training set, 6,000+ on VisDrone.

Layout (HaochenWang/TreeVGR-RL-37K): vstar30k_visdrone6k_x1y1x2y2.parquet with images (one path),
problem ("<image>\\n..."), answer, target_instances [{bbox [x1, y1, x2, y2] in pixels, label, name}, ...];
images.tar.gz unpacks beside it. The V* part answers in sentences, VisDrone in letters: most of the
former falls to the filter on long answers.
Licence: the repository Haochen-Wang409/TreeVGR is Apache-2.0; pictures keep COCO's and VisDrone's terms.
Verified: columns, frame and file names from four public users of the file. Not verified: the hub
card's own licence. Its pictures are of the kind V* tests on: use --against.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.data.example import Dropped, Example, Row, files_below, parse_question
from ergo.samples.sample import Sample
from ergo.samples.tables import rows

FETCH = "hf download HaochenWang/TreeVGR-RL-37K --repo-type dataset --local-dir FOLDER, then unpack images.tar.gz"
COLUMNS = ("images", "problem", "answer", "target_instances")


def read(folder: Path) -> Iterator[Row]:
    """Every row with one picture."""
    for path in files_below(folder, "vstar30k_visdrone6k*.parquet", "TreeVGR-RL-37K", FETCH):
        for number, row in enumerate(rows(path, COLUMNS)):
            yield _row(row, str(number), path.parent, f"{path.name}, row {number}")


def _row(row: dict[str, Any], id: str, folder: Path, where: str) -> Row:
    try:
        if len(row["images"]) != 1:
            return Dropped(id, "several_pictures", f"{where}: {len(row['images'])}")
        question, choices, answer = parse_question(row["problem"], row["answer"])
        marked = [one for one in row.get("target_instances") or () if one]
        boxes = tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in (one["bbox"] for one in marked))
        names = [str(one.get("name") or one.get("label") or "") for one in marked]
        sample = Sample(id, folder / row["images"][0], question, answer, choices, info={"targets": names})
        return Example(sample, boxes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return Dropped(id, "layout", f"{where}: {error!r}")
