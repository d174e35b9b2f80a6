"""A report as tables: what each column is, defined once for terminal, page, Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ergo.evals.compare import Comparison
from ergo.evals.report import Report
from ergo.evals.summary import AREA_EDGES, Figures

Cells = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Cells as text. The first column names the row; `note` says how to read the others. words: leading columns of words."""

    title: str
    head: Cells
    rows: tuple[Cells, ...]
    note: str = ""
    words: int = 1


def tables(report: Report) -> tuple[Table, ...]:
    """Every table of a report that has something to show, the comparison and the figures first."""
    figures = report.figures
    made = (
        figures_table(figures),
        comparisons_table(report.comparisons),
        costs_table(figures),
        *categories_tables(figures),
        regions_table(figures),
        readings_table(figures),
    )
    return tuple(table for table in made if table.rows)


ABREAST = 3  # conditions beside each other in a table by category: as many as a printed page holds


def figures_table(figures: Sequence[Figures]) -> Table:
    """Accuracy under the run's preset, and where the model looked."""
    head = ("condition", "accuracy", "95 % interval", "failed", "vision tokens", "contains", "covers", "area")
    rows = tuple(
        (
            one.condition,
            share(one.accuracy),
            interval(one.accuracy_interval),
            f"{one.failed}/{one.answers}",
            number(one.tokens["vision"]),
            *(
                share(value)
                for value in (
                    (one.region.contains, one.region.coverage, one.region.area) if one.region else (None,) * 3
                )
            ),
        )
        for one in figures
    )
    note = "contains: regions that hold the whole true one; covers: mean share of it; area: share of the picture"
    return Table("Figures", head, rows, note)


def comparisons_table(comparisons: Sequence[Comparison]) -> Table:
    """Paired differences, one line each."""
    head = ("compared", "with", "pairs", "points", "95 % interval", "McNemar p", "vision tokens", "seconds here")
    rows = tuple(
        (
            one.second,
            one.first,
            str(one.pairs) + (f" (+{one.unpaired} unpaired)" if one.unpaired else ""),
            f"{100 * one.difference:+.1f}",
            f"[{100 * one.interval[0]:+.1f}, {100 * one.interval[1]:+.1f}]",
            "-" if one.mcnemar is None else f"{one.mcnemar:.2g}",
            "-" if one.token_ratio is None else f"x {one.token_ratio[0]:.2f}",
            "-" if one.seconds_ratio is None else f"x {one.seconds_ratio[0]:.2f}",
        )
        for one in comparisons
    )
    return Table("Paired differences", head, rows, "points: accuracy of the first column minus that of the second", 2)


def costs_table(figures: Sequence[Figures]) -> Table:
    """Tokens and seconds of a sample."""
    head = ("condition", "prompt", "cached", "output", "seconds", "by look", "samples/s")
    rows = tuple(
        (
            one.condition,
            *(number(one.tokens[name]) for name in ("prompt", "cached", "generated")),
            "-" if one.seconds is None else f"{one.seconds:.2f}",
            " + ".join(f"{seconds:.2f}" for seconds in one.seconds_by_turn) or "-",
            "-" if one.throughput is None else f"{one.throughput:.1f}",
        )
        for one in figures
    )
    return Table("Cost of a sample", head, rows, "tokens and seconds: means over what was answered, under this load")


def categories_tables(figures: Sequence[Figures]) -> list[Table]:
    """Accuracy by category, one column a condition; subtotals first, as the benchmark defines them."""
    groups = [figures[start : start + ABREAST] for start in range(0, len(figures), ABREAST)]
    return [
        _categories_table(group, f" ({number} of {len(groups)})" if len(groups) > 1 else "")
        for number, group in enumerate(groups, 1)
    ]


def _categories_table(figures: Sequence[Figures], part: str) -> Table:
    scores = [dict(one.parts()) for one in figures]
    names = tuple(dict.fromkeys(name for parts in scores for name in parts))
    rows = tuple(
        (
            name or "(none)",
            str(max(parts[name].samples for parts in scores if name in parts)),
            *(
                f"{share(parts[name].accuracy)} {interval(parts[name].accuracy_interval)}" if name in parts else "-"
                for parts in scores
            ),
        )
        for name in names
    )
    head = ("category", "samples", *(one.condition for one in figures))
    return Table(f"By category{part}", head, rows if len(rows) > 1 else (), "accuracy, and its 95 % interval")


def regions_table(figures: Sequence[Figures]) -> Table:
    """How large the regions were."""
    edges = [f"{low:.0%}-{high:.0%}" for low, high in pairwise(AREA_EDGES)]
    head = ("condition", "IoU", *edges)
    rows = tuple(
        (one.condition, share(one.region.iou), *(str(count) for count in one.region.areas))
        for one in figures
        if one.region
    )
    return Table("Where it looked", head, rows, "samples by the region's share of the picture")


def readings_table(figures: Sequence[Figures]) -> Table:
    """How regions and answers were read, and what they were graded by."""
    head = ("condition", "region", "answer", "graded by", "cut off")
    rows = tuple(
        (
            one.condition,
            listed(one.region.readings) if one.region else "-",
            listed(one.answers_read) or "-",
            listed(one.verdicts) or "-",
            str(one.cut_off),
        )
        for one in figures
    )
    return Table("How replies were read", head, rows, words=4)


def remarks(report: Report) -> list[str]:
    """What a reader of the figures must know, one line each."""
    lines = []
    for one in report.figures:
        notes = []
        if one.failures:
            notes.append("failed, and wrong: " + listed(one.failures))
        if one.cut_off:
            notes.append(f"{one.cut_off} replies cut off at the token limit")
        if one.region and one.region.fallbacks:
            notes.append("second look at the whole picture: " + listed(one.region.fallbacks))
        if one.consistency:
            same = one.consistency
            notes.append(f"repeated: {same.all_right:.1%} always right, {same.same:.1%} always the same")
        if report.run.config["preset"] == "published" and one.failed and one.as_reference_prints is not None:
            notes.append(f"the released code would drop the failures and print {one.as_reference_prints:.1%}")
        if report.run.config["mask"] and one.region and one.region.coverage is not None:
            notes.append(
                f"masked: regions cover {one.region.coverage:.1%} of the hidden target, "
                f"with {one.region.area or 0:.1%} of the picture"
            )
        lines += [f"{one.condition}: {note}" for note in notes]
    if not report.complete:
        lines.insert(0, "NOT COMPLETE: the run was stopped; the same command goes on with it")
    return lines


def caption(report: Report) -> str:
    """Protocol, number of samples, interval method and commit: what a table needs to stand alone."""
    config = report.run.config
    methods = ", ".join(dict.fromkeys(one.interval_method for one in report.figures))
    samples = max(one.samples for one in report.figures)
    commit = re.sub(r"^(\w{12})\w+", r"\1", str(report.run.made_with.get("commit") or "unknown"))  # `+`: with changes
    return (
        f"{data_of(config)}, {model_of(config)}: {samples} samples, "
        f"scored as {config['preset']}, options {config['option_order']}; 95 % intervals: {methods}; commit {commit}"
    )


def data_of(config: Mapping[str, Any]) -> str:
    """The data set and its split."""
    return f"{config['benchmark']} {config['split']}".strip()


def model_of(config: Mapping[str, Any]) -> str:
    """What a model is called in print: as it is served, or as it was named; never by a path of one machine.

    >>> model_of({"model": "openai:http://10.0.0.7:8000/v1", "model_name": "Qwen/Qwen3-VL-8B-Instruct"})
    'Qwen/Qwen3-VL-8B-Instruct'
    >>> model_of({"model": "ergo-tiny", "model_name": "/somewhere/weights/ergo-tiny"})
    'ergo-tiny'
    >>> model_of({"model": "hf:/somewhere/runs/mine/checkpoint", "model_name": "/somewhere/runs/mine/checkpoint"})
    'mine/checkpoint'
    """
    spec, name = str(config["model"]), str(config.get("model_name") or config["model"])
    if not Path(name).is_absolute():
        return name
    return spec if ":" not in spec and not Path(spec).is_absolute() else "/".join(Path(name).parts[-2:])


def number(value: float | None) -> str:
    """A count, or a dash where nobody counted."""
    return "-" if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share of 1 as per cent."""
    return "-" if value is None else f"{value:.1%}"


def interval(ends: tuple[float, float]) -> str:
    """`[89.7, 94.4]`, in per cent."""
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def listed(counts: dict[str, int]) -> str:
    """`3 timeout, 1 refused`."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())
