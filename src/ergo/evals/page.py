"""The report as one HTML page that needs nothing else: plot and pictures inside, no script, all text escaped."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from ergo.evals.plot import plot
from ergo.evals.report import Report
from ergo.evals.rows import ResultRow
from ergo.evals.saved_examples import picture_path
from ergo.evals.tables import caption, data_of, model_of, remarks, tables
from ergo.viz.html import render

WORST = 24  # wrong answers shown


@dataclass(frozen=True)
class WrongAnswer:
    """One wrong answer as the page shows it. pictures: of each look, as data URIs."""

    row: ResultRow
    answer: str
    options: str
    pictures: tuple[str, ...]


def page(report: Report) -> str:
    """The whole page."""
    return render(
        "report.html",
        title=f"{data_of(report.run.config)}, {model_of(report.run.config)}",
        caption=caption(report),
        machine=report.run.made_with.get("machine", ""),
        plot=Markup(plot(report.figures)),
        remarks=remarks(report),
        tables=tables(report),
        wrong=_worst(report),
        config=json.dumps({"config": report.run.config, "made_with": report.run.made_with}, indent=2),
    )


def _worst(report: Report) -> list[WrongAnswer]:
    """Wrong answers with pictures: failures first, then those whose region missed the most."""
    folder, matching = report.run.path / "pictures", report.run.config["preset"]
    wrong = [row for row in report.run.rows if not row.verdict(matching).right and _pictures(folder, row)]
    wrong.sort(key=lambda row: (row.error is None, _coverage(row)))
    return [
        WrongAnswer(
            row=row,
            answer=str(row.record["answer"]) if row.error is None else f"failed: {row.record['error']['message']}",
            options=" ".join(f"({chr(65 + place)}) {text}" for place, text in enumerate(row.evaluation.choices)),
            pictures=tuple(
                f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
                for path in _pictures(folder, row)
            ),
        )
        for row in wrong[:WORST]
    ]


def _coverage(row: ResultRow) -> float:
    region, true = row.region, row.true_region
    return region.coverage_of(true) if region and true else 0.0


def _pictures(folder: Path, row: ResultRow) -> list[Path]:
    """The saved views of a row: as many as were shown."""
    views = sum(len(turn["views"]) for turn in row.turns)
    return [path for look in range(views) if (path := picture_path(folder, row.key, look)).is_file()]
