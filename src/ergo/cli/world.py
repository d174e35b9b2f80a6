"""`ergo world`: draw scenes with known truth."""

from __future__ import annotations

import argparse
from pathlib import Path

from ergo.cli.screen import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo world`."""
    parser.add_argument("out", help="folder for samples.jsonl and its pictures")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--limit", type=int, default=100, help="number of samples")
    parser.add_argument("--megapixels", type=float, nargs=2, default=(1.05, 2.0), metavar=("LEAST", "MOST"))


def run(args: argparse.Namespace) -> int:
    """Draw them."""
    from ergo.world.dataset import write

    count = write(Path(args.out), args.split, args.limit, tuple(args.megapixels))
    say(f"{count} samples in {args.out}/samples.jsonl")
    return 0
