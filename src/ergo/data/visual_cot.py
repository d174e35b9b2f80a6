"""Visual-CoT (Shao et al. 2024, arXiv 2403.16999): 438,000 questions of twelve sets with the box that answers each.

Layout (deepcs233/Visual-CoT): metadata/NAME_cot_train.jsonl with question, answer, possible_answers,
image (a file name), width, height, bboxs [[x1, y1, x2, y2], ...] in pixels of width x height,
dataset, split; pictures in cot_image_data/NAME/ once the parts of cot_images_tar_split are joined and
unpacked. Visual7W's lie under v7w.
Licence: annotations Apache-2.0 (the hub's card); "for research" says its README; each picture keeps its set's own.
Verified: field names and frame from public converters of this set. Not verified: rows of every one of
the twelve (the hub is out of reach here); pictures textvqa and textcap take from Open Images may lie there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ergo.data.example import Corners, Dropped, Example, Row, files_below, json_rows, parse_question
from ergo.samples.sample import Sample

FETCH = "hf download deepcs233/Visual-CoT --repo-type dataset --local-dir FOLDER, then cat its tar parts | tar xz"
ELSEWHERE = {"visual7w": "v7w"}  # where a set's pictures lie under another name than its metadata


def read(folder: Path) -> Iterator[Row]:
    """Every row of every training file; boxes become fractions, whatever size the picture has now."""
    pictures = next(iter(sorted(folder.rglob("cot_image_data"))), folder / "cot_image_data")
    for path in files_below(folder, "*_cot_train.jsonl", "Visual-CoT", FETCH):
        name = path.name.removesuffix("_cot_train.jsonl")
        for number, (where, row) in enumerate(json_rows(path)):
            yield _row(row, f"{name}-{number}", name, pictures / ELSEWHERE.get(name, name), where)


def _row(row: dict[str, object], id: str, name: str, pictures: Path, where: str) -> Row:
    try:
        question, choices, answer = parse_question(str(row["question"]), str(row["answer"]))
        wide, high = float(str(row["width"])), float(str(row["height"]))
        sample = Sample(id, pictures / str(row["image"]), question, answer, choices, category=name)
        return Example(sample, _fractions(row["bboxs"], wide, high), "fractions")
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        return Dropped(id, "layout", f"{where}: {error!r}")


def _fractions(boxes: object, wide: float, high: float) -> tuple[Corners, ...]:
    if not isinstance(boxes, list):
        raise TypeError(f"bboxs is not a list: {boxes!r}")
    return tuple((x1 / wide, y1 / high, x2 / wide, y2 / high) for x1, y1, x2, y2 in boxes)
