"""What was kept and what was dropped, as files: FILE.jsonl, FILE.dropped.jsonl, FILE.report.json."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ergo.data import DATASETS
from ergo.data.example import Dropped
from ergo.data.prepare import FilterConfig, kept_on_disk, prepare
from ergo.samples.sample import sample_to_json


@dataclass
class Yield:
    """What became of the rows read: kept, or dropped, by reason. reduced: of those kept, whose answer was a sentence."""

    counts: Counter[str] = field(default_factory=Counter)
    reduced: int = 0

    @property
    def share(self) -> float:
        """Kept, of all rows read."""
        return self.counts["kept"] / max(1, self.counts.total())


def write(name: str, source: Path, out: Path, config: FilterConfig, limit: int | None = None) -> Yield:
    """Line by line under another name, so that a FILE.jsonl is always a whole one."""
    found = Yield()
    counts = found.counts
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
            found.reduced += "sentence" in row.info
            kept.write(sample_to_json(kept_on_disk(row, out.parent, f"{out.stem}-pictures")) + "\n")
            if counts["kept"] == limit:
                break
    part.replace(out)
    report = {"set": name, "from": str(source), "read": counts.total(), **counts, "reduced": found.reduced}
    out.with_suffix(".report.json").write_text(json.dumps(report, indent=2) + "\n")
    return found
