"""Ask the bundled questions about the bundled pictures with the bundled model; save what was looked at."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ergo.cli.screen import SOME_FAILED, say

EXAMPLES = """\
  ergo demo
  ergo demo looks
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo demo`."""
    parser.add_argument(
        "out", nargs="?", type=Path, default=Path("demo-out"), help="folder to save to (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Each question as the command that a person would type, then its answer and the truth."""
    from ergo.api import BUNDLED
    from ergo.cli.main import main
    from ergo.samples.reader import read_samples

    args.out.mkdir(parents=True, exist_ok=True)
    status = 0
    for number, sample in enumerate(read_samples(BUNDLED / "samples.jsonl"), 1):
        name = Path(str(sample.image)).name
        picture = str(sample.image) if Path(name).exists() else name  # a file of that name here would be asked about
        saved = str(args.out / f"look-{number}.png")
        command = ["ask", picture, sample.question, "--model", "ergo-tiny", "--save", saved]
        command += ["--options", *sample.choices]
        say(f"{'' if number == 1 else chr(10)}$ ergo {shlex.join(command)}")
        status = max(status, main(command))
        say(f"truth     {sample.answer}, within {sample.region}")
    return min(status, SOME_FAILED)
