"""Make pictures and questions of known truth, as a data set that `ergo eval` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo world photographs
  ergo world photographs --split validation --limit 500 --megapixels 8 12
  ergo world scenes --kind drawn
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo world`."""
    parser.add_argument(
        "--kind",
        default="photographs",
        choices=("photographs", "drawn"),
        help="nameable things with small texts on photographs, or flat shapes on coloured clouds, which ergo-tiny "
        "knows (default: %(default)s)",
    )
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
        metavar=("LEAST", "MOST"),
        help="size of the pictures (default: 4 10 of photographs, 1.05 2 of drawn scenes)",
    )


def run(args: argparse.Namespace) -> int:
    """Make them."""
    if args.kind == "drawn":
        from ergo.world.dataset import write

        count = write(args.out, args.split, args.limit, tuple(args.megapixels or (1.05, 2.0)))
    else:
        from ergo.photo_world import dataset

        count = dataset.write(args.out, args.split, args.limit, tuple(args.megapixels or dataset.MEGAPIXELS))
    say(f"{count} samples in {args.out / 'samples.jsonl'}")
    return ALL_ANSWERED
