"""Your own Sample JSONL (see `ergo.sample`), to be filtered like the others. Regions are already SOURCE pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ergo.data.example import Example, Row
from ergo.samples.sample import read_samples


def read(path: Path) -> Iterator[Row]:
    """One Example per line."""
    for sample in read_samples(path):
        yield Example(replace(sample, region=None), (sample.region.corners,) if sample.region else ())
