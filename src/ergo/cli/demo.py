"""Ask the bundled questions about the bundled pictures with the bundled model, in two looks and in one; save both."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ergo.cli.screen import say

if TYPE_CHECKING:
    from ergo.api import Result
    from ergo.samples.sample import Sample

MODEL = "ergo-photo"
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
    """Each question as the command that a person would type, then its answers and the truth; how many were right."""
    from ergo.api import BUNDLED
    from ergo.cli.ask import printed_results, status_of
    from ergo.cli.main import parser
    from ergo.samples.reader import read_samples

    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    statuses, two, one = [], 0, 0
    for number, sample in enumerate(read_samples(BUNDLED / "samples.jsonl"), 1):
        name = Path(str(sample.image)).name
        picture = str(sample.image) if Path(name).exists() else name  # a file of that name here would be asked about
        saved = str(args.out / f"look-{number}.png")
        command = ["ask", picture, sample.question, "--model", MODEL, "--compare", "--save", saved]
        command += ["--options", *sample.choices] if sample.choices else []
        say(f"{'' if number == 1 else chr(10)}$ ergo {shlex.join(command)}")
        [result] = printed_results(parser("ask").parse_args(command))
        statuses.append(status_of(result))
        two, one = two + _is_right(sample, result), one + _is_right(sample, result.compared)
        say(f"truth     {sample.answer}" + (f", within {sample.region}" if sample.region else ""))
    say(f"\ntwo looks {two} of {len(statuses)} right, one look {one} of {len(statuses)} right")
    say(f"took      {time.perf_counter() - started:.1f} s{_peak_memory()}")
    return max(statuses)


def _is_right(sample: Sample, result: Result | None) -> bool:
    from ergo.grading import is_right

    return bool(result and result.answer and is_right(sample, result.answer.text))


def _peak_memory() -> str:
    """Of this process until now; nothing where the system does not count it."""
    try:
        import resource
    except ImportError:  # Windows
        return ""
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return f", at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / (1 << 20):.0f} MiB of memory"
