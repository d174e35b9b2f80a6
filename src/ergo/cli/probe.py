"""Measure what a model and its server really do, on four small pictures of known truth, and say which flags to use."""

from __future__ import annotations

import argparse

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, SOME_FAILED, note, say

EXAMPLES = """\
  ergo probe --model openai:http://localhost:8000/v1
  ergo probe --model ollama:qwen3-vl:8b --json > probe.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo probe`."""
    parser.add_argument(
        "--budget", type=int, metavar="N", help="most vision tokens of each look (default: the model family's)"
    )
    parser.add_argument(
        "--concurrency", type=int, default=4, metavar="N", help="questions at once (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print what was seen as JSON (default: as text)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask six questions, print what came of them; 1 where something needs attention."""
    from ergo.backends.probe import examine
    from ergo.families import UnknownFamily

    try:
        model = model_from(args, batch_size=args.concurrency)
    except UnknownFamily as error:
        note(f"{error}; here it is asked as --family hosted, whose prompt says what the numbers count")
        args.family = "hosted"
        model = model_from(args, batch_size=args.concurrency)
    report = examine(model, args.budget, getattr(args, "force_region", False), args.concurrency)
    say(report.to_json() if args.json else str(report))
    return SOME_FAILED if report.problems else ALL_ANSWERED
