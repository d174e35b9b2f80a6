"""Draw scenes with known truth, as a data set that `ergo eval` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo world scenes
  ergo world scenes --split validation --limit 500 --megapixels 4 12
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo world`."""
    parser.add_argument("out", type=Path, help="folder for samples.jsonl and its pictures")
    parser.add_argument(
        "--split",
        default="test",
        choices=("train", "validation", "test"),
        help="no scene stands in two of them (default: %(default)s)",
    )
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="number of samples (default: %(default)s)")
    parser.add_argument(
        "--megapixels",
        type=float,
        nargs=2,
        default=(1.05, 2.0),
        metavar=("LEAST", "MOST"),
        help="size of the pictures (default: 1.05 2)",
    )


def run(args: argparse.Namespace) -> int:
    """Draw them."""
    from ergo.world.dataset import write

    count = write(args.out, args.split, args.limit, tuple(args.megapixels))
    say(f"{count} samples in {args.out / 'samples.jsonl'}")
    return ALL_ANSWERED
