"""A run folder -> everything that is known of it: report.json. `table` and `page` show the same to people.

report.json describes the first condition at its top level, so that the report of a run with one
condition is flat, and all of them under `conditions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError
from ergo.evals.compare import Comparison, within
from ergo.evals.rows import Run, read_run
from ergo.evals.summary import Figures, summarise


@dataclass(frozen=True)
class Report:
    """What is known of one run."""

    run: Run
    figures: tuple[Figures, ...]
    comparisons: tuple[Comparison, ...]

    @classmethod
    def of(cls, path: Path, baseline: str | None = None) -> Report:
        run = read_run(path)
        if not run.rows:
            raise DataError(f"{path} holds no answers yet")
        figures = tuple(summarise(run, condition) for condition in run.conditions)
        return cls(run, figures, tuple(within(run, baseline)))

    @property
    def complete(self) -> bool:
        return self.run.expected == len(self.run.rows)

    def to_json(self) -> dict[str, Any]:
        return {
            **self.figures[0].to_json(),
            "conditions": {figures.condition: figures.to_json() for figures in self.figures},
            "comparisons": [comparison.to_json() for comparison in self.comparisons],
            "complete": self.complete,
            "config": self.run.config,
            "commit": self.run.made_with.get("commit"),
            "made_with": self.run.made_with,
        }
