"""VGR-SFT (Wang et al. 2025, arXiv 2506.11991): reasoning in which a model marked the regions it looked at.

Layout (BytedanceDouyinContent/VGR): vgr_shortcot.parquet and vgr_longcot.parquet with image (a path)
and conversations [{from, value}, ...]; in the reply <SOT>[x1, y1, x2, y2]<EOT><image> marks a region
in 0..1 of the sides; the answer follows </think>. Pictures are LLaVA-NeXT's, under
llava_next_raw_format/.
Licence: annotations CC0-1.0 (the hub's card); pictures as in LLaVA-NeXT.
Verified: the tags, their frame and the file names from a public converter; the licence from the card.
Not verified: that </think> stands in every reply (rows without it are dropped and counted). The boxes
are a model's own choice, and only of rows whose reasoning marked any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.data.example import Corners, Dropped, Example, Row, files_below, parse_question
from ergo.samples.sample import Sample
from ergo.samples.tables import rows

FETCH = "hf download BytedanceDouyinContent/VGR --repo-type dataset --local-dir FOLDER; pictures: LLaVA-NeXT-Data"
COLUMNS = ("id", "image", "conversations")

_NUMBER = r"\s*([0-9.eE+-]+)\s*"
_MARKED = re.compile(rf"<SOT>\s*\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]\s*<EOT>", re.IGNORECASE)


def read(folder: Path) -> Iterator[Row]:
    """The first question of every row, and the answer after its thinking."""
    pictures = next(iter(sorted(folder.rglob("llava_next_raw_format"))), folder / "llava_next_raw_format")
    for path in files_below(folder, "vgr_*.parquet", "VGR", FETCH):
        for number, row in enumerate(rows(path, COLUMNS)):
            yield _row(row, f"{path.stem}-{number}", pictures, f"{path.name}, row {number}")


def _marked(thought: str) -> tuple[Corners, ...]:
    return tuple((float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in _MARKED.findall(thought))


def _row(row: dict[str, Any], id: str, pictures: Path, where: str) -> Row:
    try:
        question, reply = (row["conversations"][place]["value"] for place in (0, 1))
        image = row["image"] if isinstance(row["image"], str) else row["image"][0]
        thought, closing, answered = reply.rpartition("</think>")
        if not closing:
            return Dropped(id, "layout", f"{where}: its reply has no </think>")
        question, choices, answer = parse_question(question, answered.replace("<answer>", "").replace("</answer>", ""))
        sample = Sample(id, pictures / image, question, answer, choices, category=image.split("/")[0])
        return Example(sample, _marked(thought), "fractions")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return Dropped(id, "layout", f"{where}: {error!r}")
