"""The report of a run folder, written beside its traces."""

from __future__ import annotations

import json
from pathlib import Path

from ergo.evals.page import page
from ergo.evals.report import Report


def write_report(folder: Path, baseline: str | None = None) -> Report:
    """Make report.json and report.html of a run. baseline: the condition that the others are compared with."""
    report = Report.of(folder, baseline)
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=2) + "\n")
    (folder / "report.html").write_text(page(report), encoding="utf-8")
    return report
