"""What the harness itself costs a sample: CPU time of `ergo eval` around a model that takes none.

    python tools/overhead.py [--samples 2000] [--profile]

2,000 questions of one TSV with options in several forms, each with a picture of 64 x 64 in a file of its own;
coarse_to_fine, so two exchanges; replies as models write them; graded, written to a run folder, read back. Pixels apart:
opening the same files is timed alone and taken off. Columns are CPU milliseconds a sample, the least of three runs.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import pstats
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.messages import Request
from ergo.evals.benchmarks import find
from ergo.evals.conditions import Condition, Protocol
from ergo.evals.run import evaluate
from ergo.images.address import open_picture
from ergo.traces.folder import RunFolder

REPLIES = (
    "<answer>B</answer>",
    "<think>The sign above the door is red, so it is the second one.</think><answer>(B) red</answer>",
    "<answer>B. red</answer>",
    "The sign above the door is red. Therefore the correct answer is option B.",
    "<think>Perhaps blue? No: it is green.</think>\n<answer>C</answer>",
)
REGION = "<think>The door is on the left, its sign above it.</think> <zoom>[8, 8, 40, 40]</zoom>"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        table = _written(place, args.samples)
        opened = min(_cpu(partial(_open_all, table)) for _ in range(3))
        print(f"{'CPU ms a sample':24}{'all':>8}{'pictures':>10}{'harness':>9}")
        for name, parallel in (("threads (a server)", True), ("batches (in process)", False)):
            whole = min(_cpu(partial(_evaluated, table, place / "run", parallel)) for _ in range(3))
            spent = [1000 * seconds / args.samples for seconds in (whole, opened, whole - opened)]
            print(f"{name:24}{spent[0]:8.2f}{spent[1]:10.2f}{spent[2]:9.2f}")
        if args.profile:
            _profiled(partial(_evaluated, table, place / "run", parallel=False), args.samples)


def _written(place: Path, samples: int) -> Path:
    options = ("blue", "red", "green", "yellow")
    rows = ["index\timage\tquestion\tA\tB\tC\tD\tanswer\tcategory"]
    for number in range(samples):
        name = f"{number:05}.png"
        Image.new("RGB", (64, 64), (number % 256, 80, 80)).save(place / name)
        cells = (str(number), name, f"What colour is the sign above door {number}?", *options, "B", "colour")
        rows.append("\t".join(cells))
    table = place / "signs.tsv"
    table.write_text("\n".join(rows) + "\n")
    return table


def _open_all(table: Path) -> None:
    for sample in find(str(table)).samples():
        open_picture(sample.image)


def _evaluated(table: Path, out: Path, parallel: bool) -> None:
    shutil.rmtree(out, ignore_errors=True)
    turns = itertools.count()

    def script(request: Request) -> str:
        return REGION if request.expect == "region" else REPLIES[next(turns) % len(REPLIES)]

    model = Model.of(ScriptedBackend(script, parallel=parallel, record=False), "qwen2_5_vl")
    data = find(str(table))
    with RunFolder(out, {"benchmark": data.name}) as folder:
        for _ in evaluate(data.samples, (Condition("coarse_to_fine", 640),), Protocol(), model, folder):
            pass


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _profiled(work: Callable[[], None], samples: int) -> None:
    profile = cProfile.Profile(time.process_time)  # CPU, whatever else the machine does
    profile.runcall(work)
    stats = pstats.Stats(profile)
    print(
        f"\nprofile of the batches: ms a sample, calls a sample ({samples} samples; the profiler itself adds to both)"
    )
    listed = sorted(stats.stats.items(), key=lambda item: -item[1][3])  # type: ignore[attr-defined]
    for (path, _, name), (_, calls, own, whole, _) in listed[:36]:
        where = "/".join(Path(path).parts[-2:]) if path != "~" else ""
        print(
            f"{1000 * own / samples:8.3f} own {1000 * whole / samples:8.3f} in all {calls / samples:8.1f} x  {where} {name}"
        )


if __name__ == "__main__":
    main()
