"""The ablation that can say no: what the rewards do to where the policy looks, with a verifier that makes no mistakes.

    python tools/oracle_ablation.py run OUT --start CHECKPOINT     # goes on where it stopped; seeds outermost
    python tools/oracle_ablation.py table OUT                      # from whatever is finished

From one start (`ergo train tiny-poor-localisation`), for each seed and arm: 120 steps of 32 rollouts that end with
the region (two looks where the answer is rewarded), then unseen scenes, greedy. All arms of a seed see the same
questions in the same order.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ergo.evals.statistics import t_quantile
from ergo.viz.palette import LIGHT

GAMMA = 0.05  # the 85 % quantile of true areas over 1,000 training questions is 0.051
STEPS = 120
SCENES = 200  # of the table, in two looks
BLURRED_SCENES = 500  # of first looks at other budgets
BUDGETS = (30, 60, 100, 140)
REFERENCE = "V=100"


def oracle(budget: int) -> str:
    """The oracle's reward as a recipe writes it; a budget of 0 is without limit."""
    return f"{{name='oracle', options={{budget={budget}}}}}"


def box(weight: float) -> str:
    """Box adjustment with a gamma that binds."""
    return f"{{name='box', weight={weight}, options={{gamma={GAMMA}}}}}"


@dataclass(frozen=True)
class Arm:
    """What is rewarded. looks: in its rollouts. blurred: first looks are measured at other budgets too."""

    rewards: tuple[str, ...]
    looks: int = 1
    blurred: bool = False

    @property
    def changes(self) -> list[str]:
        return [f"reward=[{', '.join(self.rewards)}]", f"looks={self.looks}"]


ARMS = {
    "V=100": Arm((oracle(100),), blurred=True),
    "unlimited": Arm((oracle(0),)),
    "unlimited + 0.5 box": Arm((oracle(0), box(0.5))),
    "V=400": Arm((oracle(400),)),
    "V=1600": Arm((oracle(1600),)),
    "unlimited + 0.25 box": Arm((oracle(0), box(0.25))),
    "unlimited + 1 box": Arm((oracle(0), box(1.0))),
    "unlimited + 2 box": Arm((oracle(0), box(2.0))),
    "IoU": Arm(("{name='iou'}",), blurred=True),
    "unlimited + 0.5 box + answer": Arm((oracle(0), box(0.5), "{name='accuracy'}"), looks=2),
    "unlimited + answer": Arm((oracle(0), "{name='accuracy'}"), looks=2),
}


# ── running ────────────────────────────────────────────────────────────────────────────────────


def run(out: Path, start: str, seeds: Sequence[int], arms: Sequence[str], steps: int) -> None:
    """Whatever is not finished, seed by seed."""
    if not result(out, "start", 0).is_file():
        measure(out, "start", 0, start, blurred=True, seconds=0.0)
    for seed in seeds:
        for arm in arms:
            if result(out, arm, seed).is_file():
                continue
            began = time.process_time()
            checkpoint = train(out / "runs" / slug(arm, seed), start, ARMS[arm], seed, steps)
            measure(out, arm, seed, str(checkpoint), ARMS[arm].blurred, time.process_time() - began)


def train(folder: Path, start: str, arm: Arm, seed: int, steps: int) -> Path:
    """One run; returns its checkpoint."""
    from ergo.recipes import find, read_recipe
    from ergo.rl import trainer
    from ergo.rl.recipe import grpo_recipe

    if folder.exists():  # stopped in the middle: a minute is lost
        shutil.rmtree(folder)
    changes = [f"start='{start}'", f"seed={seed}", f"trl.max_steps={steps}", *arm.changes]
    return trainer.train(grpo_recipe(read_recipe(find("ablation-oracle"), changes)), folder)


def measure(out: Path, arm: str, seed: int, checkpoint: str, blurred: bool, seconds: float) -> None:
    """Greedy looks at unseen scenes: [category, area, coverage of the truth, right] of each; areas at other budgets."""
    from ergo.backends import open_backend
    from ergo.core.messages import Sampling
    from ergo.rl.evidence import answered_right
    from ergo.rl.source import source_of
    from ergo.rl.step import roll_out

    source = source_of("world:test", BLURRED_SCENES)
    model = open_backend(f"hf:{checkpoint}", batch_size=32)

    def looked(scenes: int, budget: int, looks: int) -> Iterator[tuple[str, float, float, bool]]:
        for first in range(0, scenes, 32):
            samples = [source[number] for number in range(first, min(first + 32, scenes))]
            for one in roll_out(model, samples, [budget] * len(samples), [Sampling(48)] * len(samples), looks=looks):
                region = one.trace.answer.region if one.trace.answer else None
                assert one.picture
                assert one.sample.region
                area = region.area / one.picture.size.area if region else 1.0
                covered = region.coverage_of(one.sample.region) if region else 0.0
                yield one.sample.category, area, covered, answered_right(one.sample, one.trace)

    rows = [
        [kind, round(area, 5), round(covered, 4), int(right)] for kind, area, covered, right in looked(SCENES, 100, 2)
    ]
    at_budgets = {
        budget: [[round(area, 5), round(covered, 4)] for _, area, covered, _ in looked(BLURRED_SCENES, budget, 1)]
        for budget in (BUDGETS if blurred else ())
    }
    found = {"arm": arm, "seed": seed, "cpu_seconds": round(seconds, 1), "rows": rows, "budgets": at_budgets}
    result(out, arm, seed).parent.mkdir(parents=True, exist_ok=True)
    result(out, arm, seed).write_text(json.dumps(found) + "\n")
    print(f"{arm}, seed {seed}: {line_of(found)}", flush=True)


def slug(arm: str, seed: int) -> str:
    """For file names."""
    return f"{arm.replace(' + ', '+').replace(' ', '-')}-{seed}"


def result(out: Path, arm: str, seed: int) -> Path:
    """Where the measurements of a run lie; it is there once the run is finished."""
    return out / "results" / f"{slug(arm, seed)}.json"


# ── reading the results ────────────────────────────────────────────────────────────────────────


def numbers_of(rows: Sequence[Sequence[Any]]) -> dict[str, float]:
    """rows: [.., area, coverage, right]. log_area: mean of the natural logarithm."""
    return {
        "log_area": statistics.mean(math.log(max(row[1], 1e-5)) for row in rows),
        "contains": 100 * statistics.mean(row[2] > 0.99 for row in rows),
        "accuracy": 100 * statistics.mean(row[3] for row in rows),
    }


def line_of(found: dict[str, Any]) -> str:
    """One run in a line."""
    numbers = numbers_of(found["rows"])
    return (f"area {100 * math.exp(numbers['log_area']):.1f} %, contains {numbers['contains']:.1f} %, "
            f"accuracy {numbers['accuracy']:.1f} %, {found['cpu_seconds']:.0f} CPU s")  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval; an infinite one of a single value."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def read(out: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """What is finished: arm -> seed -> measurements."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for path in sorted((out / "results").glob("*.json")):
        one = json.loads(path.read_text())
        found.setdefault(one["arm"], {})[one["seed"]] = one
    return found


def difference(arm: dict[int, dict[str, float]], other: dict[int, dict[str, float]], key: str) -> str:
    """Over the seeds that both have; of areas as a factor."""
    seeds = sorted(set(arm) & set(other))
    if not seeds:
        return ""
    mean, low, high = interval([arm[seed][key] - other[seed][key] for seed in seeds])
    if key == "log_area":
        mean, low, high = (math.exp(min(value, 50)) for value in (mean, low, high))
        return f"x {mean:.2f}" if len(seeds) < 2 else f"x {mean:.2f} [{low:.2f}, {high:.2f}]"
    return f"{mean:+.1f}" if len(seeds) < 2 else f"{mean:+.1f} [{low:.1f}, {high:.1f}]"


def table(found: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Means over seeds, and paired differences from the reference with 95 % intervals."""
    numbers = {arm: {seed: numbers_of(one["rows"]) for seed, one in runs.items()} for arm, runs in found.items()}
    lines = [
        f"| rewarded | seeds | area % | against {REFERENCE} | holds the truth % | against {REFERENCE} | accuracy % | against {REFERENCE} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm in ("start", *ARMS):
        runs = numbers.get(arm)
        if not runs:
            continue
        cells = []
        for key in ("log_area", "contains", "accuracy"):
            mean = statistics.mean(one[key] for one in runs.values())
            cells.append(f"{100 * math.exp(mean):.1f}" if key == "log_area" else f"{mean:.1f}")
            compared = arm not in ("start", REFERENCE)
            cells.append(difference(runs, numbers.get(REFERENCE, {}), key) if compared else "")
        lines.append(f"| {arm} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def blurred(found: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Area of first looks by budget: does it grow where less can be seen?"""
    lines = ["| rewarded | " + " | ".join(f"{budget} tokens" for budget in BUDGETS) + " | 30 against 140 |",
             "|---" * (len(BUDGETS) + 2) + "|"]  # fmt: skip
    for arm, runs in found.items():
        logs: dict[int, list[float]] = {budget: [] for budget in BUDGETS}
        for one in runs.values():
            for budget, seen in one["budgets"].items():
                logs[int(budget)].append(statistics.mean(math.log(max(area, 1e-5)) for area, _ in seen))
        if not logs[30]:
            continue
        means = [f"{100 * math.exp(statistics.mean(logs[budget])):.1f}" for budget in BUDGETS]
        ratio, low, high = (
            math.exp(min(value, 50)) for value in interval([a - b for a, b in zip(logs[30], logs[140], strict=True)])
        )
        lines.append(
            f"| {arm} | {' | '.join(means)} | x {ratio:.2f}"
            + (f" [{low:.2f}, {high:.2f}] |" if len(logs[30]) > 1 else " |")
        )
    return lines


def csv(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Each run's means, for whoever analyses them otherwise."""
    lines = ["arm,seed,scenes,log_area,contains_percent,accuracy_percent,cpu_seconds"]
    for arm, runs in found.items():
        for seed, one in sorted(runs.items()):
            numbers = ",".join(f"{value:.4f}" for value in numbers_of(one["rows"]).values())
            lines.append(f"{arm},{seed},{len(one['rows'])},{numbers},{one['cpu_seconds']}")
    return "\n".join(lines) + "\n"


def figure(found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Areas on a logarithmic scale, one dot a seed, a bar at the mean: SVG."""
    arms = [arm for arm in ("start", *ARMS) if arm in found]
    height, left, width = 26 * len(arms) + 50, 230, 720

    def x(area: float) -> float:
        return left + (width - left - 20) * (math.log10(max(area, 0.005)) - math.log10(0.005)) / -math.log10(0.005)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="{LIGHT.ink}">'
    ]
    for area in (0.01, 0.03, 0.1, 0.3, 1.0):
        parts.append(f'<line x1="{x(area):.0f}" x2="{x(area):.0f}" y1="10" y2="{height - 32}" stroke="{LIGHT.line}" stroke-width="0.5"/>'
                     f'<text x="{x(area):.0f}" y="{height - 14}" text-anchor="middle">{100 * area:g} %</text>')  # fmt: skip
    for place, arm in enumerate(arms):
        y = 26 * place + 24
        areas = [math.exp(numbers_of(one["rows"])["log_area"]) for one in found[arm].values()]
        mean = x(math.exp(statistics.mean(math.log(area) for area in areas)))
        parts.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{arm}</text>')
        parts += [
            f'<circle cx="{x(area):.1f}" cy="{y}" r="4" fill="{LIGHT.accent}" fill-opacity="0.6"/>' for area in areas
        ]
        parts.append(
            f'<line x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 9}" y2="{y + 9}" stroke="{LIGHT.ink}" stroke-width="2"/>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["run", "table"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", default="runs/tiny-poor-localisation/checkpoint", help="the policy's checkpoint")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--csv", type=Path, help="a line for each run, with `table`")
    parser.add_argument("--figure", type=Path, help="SVG file of the areas, with `table`")
    args = parser.parse_args()
    if args.verb == "run":
        run(args.out, args.start, args.seeds, args.arms, args.steps)
        return
    found = read(args.out)
    if not found:
        sys.exit(f"{args.out} holds no results yet")
    print("\n".join([*table(found), "", *blurred(found)]))
    if args.csv:
        args.csv.write_text(csv(found))
    if args.figure:
        args.figure.write_text(figure(found))


if __name__ == "__main__":
    main()
