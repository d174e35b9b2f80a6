"""The report as one HTML page that needs nothing else: plot and pictures inside, no script, all text escaped."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

from ergo.evals.plot import plot
from ergo.evals.report import Report
from ergo.evals.rows import ResultRow
from ergo.evals.saved_examples import picture_path
from ergo.evals.summary import AREA_EDGES, Figures
from ergo.evals.table import comparison_cells, listed, number, remarks, share

WORST = 24  # wrong answers shown

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c20; background: #fbfaf7; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .6rem 0 1.4rem; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #e2e0da; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { font-weight: 600; border-bottom-color: #888 }
svg { max-width: 100%; font: 13px system-ui, sans-serif }
article { border-top: 1px solid #ccc; padding: 1rem 0 } article img { max-width: 49%; vertical-align: top }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f1efe9; padding: .6rem; font-size: 13px }
.wrong { color: #b41824 } .right { color: #14803c } .quiet { color: #707078 } .scroll { overflow-x: auto }
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(report: Report) -> str:
    """The whole page."""
    config = report.run.config
    title = f"{config['benchmark']} {config['split']}, {config['model']}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p class=quiet>{escape(_made(report))}</p>",
        "" if report.complete else "<p class=wrong>The run is not complete; the same command goes on with it.</p>",
        plot(report.figures),
        _figures(report.figures),
        *(f"<p>{escape(line)}</p>" for line in remarks(report)),
        _comparisons(report),
        _categories(report.figures),
        _regions(report.figures),
        _readings(report.figures),
        _worst(report),
        "<h2>Configuration</h2>",
        f"<pre>{escape(json.dumps({'config': config, 'made_with': report.run.made_with}, indent=2))}</pre>",
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _made(report: Report) -> str:
    made = report.run.made_with
    return (
        f"scored as {report.run.config['preset']}; commit {made.get('commit') or 'unknown'}; {made.get('machine', '')}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{top}</tr>{lines}</table></div>"


def _figures(figures: Sequence[Figures]) -> str:
    head = ("condition", "accuracy", "95 % interval", "as published", "ours", "failed", "vision tokens", "prompt",
            "cached", "generated", "seconds", "by look", "samples/s")  # fmt: skip
    rows = [
        (
            one.condition,
            share(one.accuracy),
            _ends(one.accuracy_interval),
            share(one.accuracy_by_matching["published"]),
            share(one.accuracy_by_matching["ours"]),
            f"{one.failed}/{one.answers}",
            *(number(one.tokens[name]) for name in ("vision", "prompt", "cached", "generated")),
            "-" if one.seconds is None else f"{one.seconds:.2f}",
            " + ".join(f"{seconds:.2f}" for seconds in one.seconds_by_turn) or "-",
            "-" if one.throughput is None else f"{one.throughput:.1f}",
        )
        for one in figures
    ]
    methods = ", ".join(dict.fromkeys(one.interval_method for one in figures))
    return f"<h2>Figures</h2>{_table(head, rows)}<p class=quiet>Intervals: {escape(methods)}.</p>"


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _comparisons(report: Report) -> str:
    if not report.comparisons:
        return ""
    head = ("condition", "against", "pairs", "points", "95 % interval", "McNemar p", "vision tokens", "seconds here")
    return f"<h2>Paired differences</h2>{_table(head, (comparison_cells(one) for one in report.comparisons))}"


def _categories(figures: Sequence[Figures]) -> str:
    rows = [
        (one.condition, name or "(none)", str(score.samples), share(score.accuracy), _ends(score.accuracy_interval))
        for one in figures
        for name, score in one.by_category.items()
    ]
    return f"<h2>By category</h2>{_table(('condition', 'category', 'samples', 'accuracy', '95 % interval'), rows)}"


def _regions(figures: Sequence[Figures]) -> str:
    looked = [(one, one.region) for one in figures if one.region]
    if not looked:
        return ""
    edges = [f"{low:.0%}-{high:.0%}" for low, high in pairwise(AREA_EDGES)]
    head = ("condition", "contains", "covers", "IoU", "mean area", *edges)
    rows = [
        (one.condition, share(region.contains), share(region.coverage), share(region.iou), share(region.area),
         *(str(count) for count in region.areas))
        for one, region in looked
    ]  # fmt: skip
    why = "".join(
        f"<p>{escape(one.condition)}: regions read {escape(listed(region.readings))}. "
        f"Whole picture instead: {escape(listed(region.fallbacks) or 'never')}.</p>"
        for one, region in looked
    )
    note = "<p class=quiet>contains: share that holds the whole true region; covers: mean share of it; areas: evaluations by share of the picture.</p>"
    return f"<h2>Where it looked</h2>{_table(head, rows)}{why}{note}"


def _readings(figures: Sequence[Figures]) -> str:
    rows = [
        (one.condition, listed(one.answers_read) or "-", listed(one.verdicts) or "-", str(one.cut_off))
        for one in figures
    ]
    return f"<h2>How replies were read</h2>{_table(('condition', 'answer found', 'graded by', 'cut off'), rows)}"


def _worst(report: Report) -> str:
    """Wrong answers with pictures, those first whose region missed the most."""
    folder, matching = report.run.path / "pictures", report.run.config["preset"]
    wrong = [row for row in report.run.rows if not row.verdict(matching).right and _pictures(folder, row)]
    wrong.sort(key=lambda row: (row.error is None, _covered(row)))
    shown = "".join(_article(folder, row) for row in wrong[:WORST])
    legend = "<p class=quiet>orange: the region named; green: the true region.</p>"
    return f"<h2>Wrong answers</h2>{legend}{shown}" if shown else ""


def _covered(row: ResultRow) -> float:
    region, true = row.region, row.true_region
    return region.coverage_of(true) if region and true else 0.0


def _pictures(folder: Path, row: ResultRow) -> list[Path]:
    paths = [picture_path(folder, row.key, look) for look in range(len(row.turns))]
    return [path for path in paths if path.is_file()]


def _article(folder: Path, row: ResultRow) -> str:
    images = "".join(
        f'<img alt="look {look + 1}" src="data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode("ascii")}"> '
        for look, path in enumerate(_pictures(folder, row))
    )
    evaluation = row.evaluation
    options = " ".join(f"({chr(65 + place)}) {choice}" for place, choice in enumerate(evaluation.choices))
    said = row.record["answer"] if row.error is None else f"failed: {row.record['error']['message']}"
    replies = "".join(f"<pre>{escape(turn['text'])}</pre>" for turn in row.turns)
    return (
        f"<article><p><b>{escape(evaluation.question)}</b> <span class=quiet>{escape(options)}<br>"
        f"{escape(evaluation.condition.name)}, sample {escape(evaluation.sample)}, {escape(evaluation.picture)}</span></p>{images}"
        f"<p>said <b class=wrong>{escape(str(said))}</b>, true <b class=right>{escape(evaluation.answer)}</b></p>{replies}</article>"
    )
