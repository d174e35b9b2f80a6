"""Write a report beside its run: JSON for programs, a page to look at, tables for a paper."""

from __future__ import annotations

import json
from pathlib import Path

from ergo.evals.page import page
from ergo.evals.plot import plot
from ergo.evals.render import as_csv, as_latex, as_markdown
from ergo.evals.report import Report


def write_report(folder: Path, baseline: str | None = None) -> Report:
    """Make report.json, .html, .md, .tex, .csv and .svg of a run; returns what they say."""
    report = Report.of(folder, baseline)
    files = {
        "report.json": json.dumps(report.to_json(), indent=2) + "\n",
        "report.html": page(report),
        "report.md": as_markdown(report),
        "report.tex": as_latex(report),
        "report.csv": as_csv(report),
        "report.svg": plot(report.figures),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", errors="xmlcharrefreplace")
    return report
