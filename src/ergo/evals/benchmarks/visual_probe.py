"""VisualProbe Easy, Medium, Hard (Lai et al. 2025, Mini-o3, arXiv 2509.07969): 141, 268, 106 hard searches, free answers.

Layout (Mini-o3/VisualProbe_Easy @ 0e665a57946d, _Medium @ 25d5ff5bce48, _Hard @ bbe9b7a6c41d): val.json, one list of
{images ["VisualProbe_Easy/data/NAME.jpg"], problem ("<image>..."), solution, doc_id, data_source}; pictures lie in data/.
Learnt from public users of the files. Its authors score with a judge model; here answers are compared by rules
(docs/grading.md), which is stricter. Licence: CC BY-NC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ergo.core.errors import DataError
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample


def read(folder: Path, split: str = "test") -> Iterator[Sample]:
    """Every row of val.json."""
    path = folder / "val.json"
    if not path.is_file():
        raise DataError(f"there is no {path}: {folder} is not a copy of Mini-o3/{folder.name}")
    for sample in read_samples(path):
        yield replace(sample, image=folder / "data" / str(sample.image).rpartition("data/")[2])
