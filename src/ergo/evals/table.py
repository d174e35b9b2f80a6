"""The report as text for a terminal, and the words that it shares with the page."""

from __future__ import annotations

from collections.abc import Sequence

from ergo.evals.compare import Comparison
from ergo.evals.report import Report
from ergo.evals.summary import Figures


def table(report: Report) -> str:
    """What a terminal shows."""
    config = report.run.config
    samples = max(figures.samples for figures in report.figures)
    parts = [
        f"{config['benchmark']} {config['split']}: {samples} samples, {config['model']}, scored as {config['preset']}",
        "" if report.complete else "NOT COMPLETE: the run was stopped; the same command goes on with it",
        _columns(HEAD, [_cells(figures) for figures in report.figures]),
        *remarks(report),
        comparison_table(report.comparisons),
    ]
    return "\n".join(part for part in parts if part)


HEAD = ("condition", "accuracy  95 % interval", "failed", "vision", "prompt", "cached", "output", "seconds",
        "contains", "covers", "area")  # fmt: skip


def _cells(figures: Figures) -> tuple[str, ...]:
    low, high = figures.accuracy_interval
    region = figures.region
    return (
        figures.condition,
        f"{figures.accuracy:6.1%}  [{low:.1%}, {high:.1%}]",
        f"{figures.failed}/{figures.answers}",
        *(number(figures.tokens[name]) for name in ("vision", "prompt", "cached", "generated")),
        "-" if figures.seconds is None else f"{figures.seconds:.2f}",
        *(share(value) for value in ((region.contains, region.coverage, region.area) if region else (None,) * 3)),
    )


def number(value: float | None) -> str:
    """A count, or a dash where nobody counted."""
    return "-" if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """A share of 1 as per cent."""
    return "-" if value is None else f"{value:.1%}"


def remarks(report: Report) -> list[str]:
    """What a reader of the figures must know, one line each."""
    lines = []
    for figures in report.figures:
        said = []
        if figures.failures:
            said.append("failed, and wrong: " + listed(figures.failures))
        if figures.cut_off:
            said.append(f"{figures.cut_off} replies cut off at the token limit")
        if figures.region and figures.region.fallbacks:
            said.append("second look at the whole picture: " + listed(figures.region.fallbacks))
        if figures.consistency:
            same = figures.consistency
            said.append(f"asked several times: {same.all_right:.1%} always right, {same.same:.1%} always the same")
        if report.run.config["preset"] == "published" and figures.failed and figures.as_reference_prints is not None:
            said.append(f"the released code would drop the failures and print {figures.as_reference_prints:.1%}")
        if report.run.config["mask"] and figures.region and figures.region.coverage is not None:
            said.append(f"masked: regions cover {figures.region.coverage:.1%} of the hidden target, "
                        f"with {figures.region.area or 0:.1%} of the picture")  # fmt: skip
        lines += [f"{figures.condition}: {one}" for one in said]
    return lines


def listed(counts: dict[str, int]) -> str:
    """`3 timeout, 1 refused`."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Paired differences, one line each; nothing if there are none."""
    if not comparisons:
        return ""
    head = (
        "compared",
        "with",
        "pairs",
        "difference, points",
        "95 % interval",
        "McNemar p",
        "vision tokens",
        "seconds here",
    )
    return "\n" + _columns(head, [comparison_cells(one) for one in comparisons])


def comparison_cells(one: Comparison) -> tuple[str, ...]:
    """One comparison, a cell per column."""
    low, high = one.interval
    return (
        one.second,
        one.first,
        str(one.pairs) + (f" (+{one.unpaired} unpaired)" if one.unpaired else ""),
        f"{100 * one.difference:+.1f}",
        f"[{100 * low:+.1f}, {100 * high:+.1f}]",
        "-" if one.mcnemar is None else f"{one.mcnemar:.2g}",
        "-" if one.token_ratio is None else f"x {one.token_ratio[0]:.2f}",
        "-" if one.seconds_ratio is None else f"x {one.seconds_ratio[0]:.2f}",
    )


def _columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned first column, the others right."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (head, *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)
