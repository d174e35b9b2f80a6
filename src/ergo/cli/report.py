"""`ergo report`: report on runs of `ergo eval`, and compare them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ergo.cli.screen import say_all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo report`."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; each is compared with the first"
    )
    parser.add_argument("--against", metavar="CONDITION", help="what the others of a run are compared with")


def run(args: argparse.Namespace) -> int:
    """Print each report, then the comparisons."""
    return say_all(run_report(args))


def run_report(args: argparse.Namespace) -> Iterator[str]:
    """Each run compared with the first, then the report of each."""
    from ergo.evals.compare import between
    from ergo.evals.render import columns
    from ergo.evals.rows import read_run
    from ergo.evals.tables import comparisons_table

    first, *others = (read_run(folder) for folder in args.runs)
    for other in others:
        yield columns(comparisons_table(between(first, other))) + "\n"
    for folder in args.runs:
        yield from report_lines(folder, args.against)


def report_lines(folder: Path, baseline: str | None = None) -> Iterator[str]:
    """Write the report of a run; the table, and where the files lie."""
    from ergo.evals.files import write_report
    from ergo.evals.render import as_text

    yield as_text(write_report(folder, baseline))
    yield f"report: {folder / 'report.html'}, and .md, .tex, .csv, .svg, .json beside it"
