"""Training sets: one short file each, one line each in the dict below. docs/data.md adds one.

A package beside `rl`, because it needs no torch and what it makes serves `eval` as well.

    reader      a published layout -> Examples, and rows that are none
    prepare     Examples -> Samples worth training on; everything else is Dropped for a reason with a name
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ergo.data import deepeyes, mme_realworld, own, treevgr, vgr, visual_cot, visual_probe
from ergo.data.example import Row

Reader = Callable[[Path], Iterator[Row]]
"""Folder (or file) -> rows."""

DATASETS: dict[str, Reader] = {
    "visual_cot": visual_cot.read,
    "treevgr": treevgr.read,
    "vgr": vgr.read,
    "deepeyes": deepeyes.read,
    "visual_probe": visual_probe.read,
    "mme_realworld": mme_realworld.read,
    "jsonl": own.read,
}

PUBLISHED = {
    "visual_cot": 438_000, "treevgr": 37_000, "deepeyes": 47_000, "visual_probe": 4_000, "mme_realworld": 23_609,
}  # fmt: skip
"""Rows that the published sets have, as their papers and cards say."""
