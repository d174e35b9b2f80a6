"""`python -m ergo.demo FOLDER`: ask the bundled questions with the bundled model, save what was looked at."""

from __future__ import annotations

import sys
from pathlib import Path

from ergo.cli.main import main
from ergo.samples.sample import read_samples

HERE = Path(__file__).resolve().parent.parent / "demo"


def demo(out: Path) -> int:
    """Ask each bundled question through the command line; returns the number that failed."""
    out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for number, sample in enumerate(read_samples(HERE / "samples.jsonl"), 1):
        saved = out / f"look-{number}.png"
        command = ["ask", str(sample.image), sample.question, "--options", *sample.choices, "--save", str(saved)]
        shown = " ".join(f'"{word}"' if " " in word else word for word in command)
        print(f"{'' if number == 1 else chr(10)}$ ergo {shown}")
        failed += main(command) != 0
        print(f"truth     {sample.answer}, within {sample.region}")
    return failed


if __name__ == "__main__":
    sys.exit(demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")))
