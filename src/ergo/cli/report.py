"""Report on runs of `ergo eval`, and compare them: tables here, and report.html and others in each folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo report runs/vstar-ergo-tiny
  ergo report runs/before runs/after --against one_look@full
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo report`."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; each is compared with the first"
    )
    parser.add_argument(
        "--against", metavar="CONDITION", help="what the others of a run are compared with (default: its first)"
    )


def run(args: argparse.Namespace) -> int:
    """Each run compared with the first, then the report of each."""
    from ergo.evals.compare import between
    from ergo.evals.render import columns
    from ergo.evals.rows import read_run
    from ergo.evals.tables import comparisons_table

    first, *others = (read_run(folder) for folder in args.runs)
    for other in others:
        say(columns(comparisons_table(between(first, other))) + "\n")
    for folder in args.runs:
        print_report(folder, args.against)
    return ALL_ANSWERED


def print_report(folder: Path, baseline: str | None = None) -> None:
    """Write the report of a run; print the table, and where the files lie."""
    from ergo.evals.files import write_report
    from ergo.evals.render import as_text

    say(as_text(write_report(folder, baseline)))
    say(f"report: {folder / 'report.html'}, and .md, .tex, .csv, .svg, .json beside it")
