"""What was kept and what was dropped, as files: FILE.jsonl, FILE.dropped.jsonl, FILE.report.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from ergo.data import DATASETS
from ergo.data.example import Dropped
from ergo.data.prepare import FilterConfig, kept_on_disk, prepare
from ergo.samples.sample import sample_to_json


def write(name: str, source: Path, out: Path, config: FilterConfig, limit: int | None = None) -> Counter[str]:
    """Line by line under another name, so that a FILE.jsonl is always a whole one; returns counts by reason."""
    counts: Counter[str] = Counter()
    part = out.with_suffix(".part")
    with (
        part.open("w", encoding="utf-8") as kept,
        out.with_suffix(".dropped.jsonl").open("w", encoding="utf-8") as dropped,
    ):
        for row in prepare(DATASETS[name](source), config):
            if isinstance(row, Dropped):
                counts[row.reason] += 1
                dropped.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
                continue
            counts["kept"] += 1
            kept.write(sample_to_json(kept_on_disk(row, out.parent, f"{out.stem}-pictures")) + "\n")
            if counts["kept"] == limit:
                break
    part.replace(out)
    report = {"set": name, "from": str(source), "read": counts.total(), **counts}
    out.with_suffix(".report.json").write_text(json.dumps(report, indent=2) + "\n")
    return counts
