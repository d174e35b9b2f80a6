"""Your own table (see `ergo.samples.reader`), to be filtered like the others. Regions are already SOURCE pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ergo.data.example import Dropped, Example, Row
from ergo.samples.reader import Refused, read_rows


def read(path: Path) -> Iterator[Row]:
    """One Example per row."""
    for row in read_rows(str(path)):
        if isinstance(row, Refused):
            yield Dropped(row.id, "layout", str(row))
        else:
            yield Example(replace(row, region=None), (row.region.corners,) if row.region else ())
