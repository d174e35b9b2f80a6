"""TreeBench (Wang et al. 2025, arXiv 2507.07999): 405 questions about small things in crowded pictures, options A to F.

Layout (HaochenWang/TreeBench @ a4eb437ab71d, split train; VLMEvalKit's TreeBench.tsv is the same): index, image as
base64, question, "multi-choice options" as one text, A, B, ..., answer as a letter, category (Perception/...,
Reasoning/...), l2-category, target_instances. Columns and revision were learnt from public users of the file, not from
the hub. The frame of target_instances is not verified: no region is set, and the column is kept in `info`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ergo.core.errors import DataError
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample


def read(folder: Path, split: str = "test") -> Iterator[Sample]:
    """Every row of the Parquet files below `folder`, or else of its TSV."""
    files = sorted(folder.rglob("*.parquet")) or sorted(folder.rglob("*.tsv"))
    if not files:
        raise DataError(f"{folder} holds no parquet file and no TSV: it is not a copy of HaochenWang/TreeBench")
    for path in files:
        yield from read_samples(path)
