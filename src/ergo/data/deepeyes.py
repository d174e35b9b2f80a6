"""DeepEyes-Datasets-47k (Zheng et al. 2025, arXiv 2505.14362): what DeepEyes was trained on, without boxes.

Layout (ChenShawn/DeepEyes-Datasets-47k): data_0.1.2_visual_toolbox_v2.parquet (22,000 questions from
V*'s training set), data_v0.8_visual_toolbox_v2.parquet (charts), data_thinklite_reasoning_acc.parquet
(mathematics), each with prompt [{role, content}], images [{bytes, path}], reward_model {ground_truth,
style}, extra_info {question, answer, index, split}, data_source, env_name. The prompt also holds a
tool's description, so the question is taken from extra_info where it stands there.
Licence: the repository Visual-Agent/DeepEyes is Apache-2.0; pictures keep their sets' terms.
Verified: columns and files from public users of the files. Not verified: the hub card's own licence,
and how options are written (lines that begin with a letter are read as options).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.data.example import Dropped, Example, Row, files_below, parse_question
from ergo.samples.sample import Sample
from ergo.samples.tables import rows

FETCH = "hf download ChenShawn/DeepEyes-Datasets-47k --repo-type dataset --local-dir FOLDER"
COLUMNS = ("prompt", "images", "reward_model", "extra_info", "data_source")


def read(folder: Path) -> Iterator[Row]:
    """Every row with one picture; its bytes are passed on as they are."""
    for path in files_below(folder, "data_*.parquet", "DeepEyes-Datasets-47k", FETCH):
        for number, row in enumerate(rows(path, COLUMNS)):
            yield _row(row, f"{path.stem}-{number}", f"{path.name}, row {number}")


def _row(row: dict[str, Any], id: str, where: str) -> Row:
    try:
        if len(row["images"]) != 1:
            return Dropped(id, "several_pictures", f"{where}: {len(row['images'])}")
        extra = row.get("extra_info") or {}
        spoken = [message["content"] for message in row["prompt"] if message["role"] == "user"]
        question, choices, answer = parse_question(
            extra.get("question") or spoken[-1], row["reward_model"]["ground_truth"]
        )
        image = row["images"][0]["bytes"]
        if not isinstance(image, bytes):
            raise TypeError("no bytes in its picture")
        return Example(Sample(id, image, question, answer, choices, category=str(row.get("data_source") or "")))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        return Dropped(id, "layout", f"{where}: {error!r}")
