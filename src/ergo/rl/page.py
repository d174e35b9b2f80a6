"""OUT/run.html: where a run stands, and what some of its rollouts saw, said and earned; a browser refreshes it by itself.

Rollouts are pictures in OUT/rollouts/ and lines of OUT/rollouts/examples.jsonl, so that a resumed run goes on with them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ergo.core.flows import Question
from ergo.rl.evidence import Failure, Rollout
from ergo.rl.rewards import Evidence
from ergo.viz import picture_of
from ergo.viz.html import render

EXAMPLES = 3  # rollouts saved each time
SHOWN = 60  # of them on the page, the latest first
MEASURED = ("region/area", "region/coverage", "tokens/vision", "frac_reward_zero_std")
VALIDATED = ("validation/accuracy", "validation/area", "validation/coverage")


def save_examples(
    folder: Path,
    step: int,
    rollouts: Sequence[Rollout],
    evidence: Sequence[Evidence | Failure],
    scores: Sequence[Sequence[float]],
) -> None:
    """A few rollouts of this step: how they went as pictures, truth, verdict and scores as lines."""
    folder.mkdir(exist_ok=True)
    every = max(1, len(rollouts) // EXAMPLES)
    chosen = list(zip(rollouts, evidence, scores, strict=True))[::every][:EXAMPLES]
    with (folder / "examples.jsonl").open("a", encoding="utf-8") as lines:
        for number, (one, known, earned) in enumerate(chosen):
            name = f"step-{step:05}-{number}.png" if one.picture else None
            if one.picture and name:
                question = Question(one.sample.question, one.sample.choices)
                picture_of(one.trace, one.picture, question).save(folder / name)
            lines.write(json.dumps(_line(step, name, one, known, earned), ensure_ascii=False) + "\n")


def _line(
    step: int, name: str | None, one: Rollout, known: Evidence | Failure, earned: Sequence[float]
) -> dict[str, Any]:
    failed = known.kind if isinstance(known, Failure) else "no second look" if known.early else None
    return {
        "step": step,
        "picture": name,
        "question": one.sample.question,
        "truth": one.sample.answer,
        "answer": one.trace.answer.text if one.trace.answer else "",
        "right": isinstance(known, Evidence) and known.right,
        "verdict": failed or ("right" if isinstance(known, Evidence) and known.verified else "wrong"),
        "area": "" if isinstance(known, Failure) or known.early else f"{100 * known.area:.1f} %",
        "scores": ["" if math.isnan(score) else f"{score:.2f}" for score in earned],
    }


def write_page(out: Path, rewards: Sequence[str], running: bool) -> None:
    """From log.jsonl and the saved rollouts; replaced whole, so that a browser never sees half of it."""
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = out / "rollouts" / "examples.jsonl"
    examples = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()] if kept.is_file() else []
    head = ("step", "what was looked at", "question", "truth", "answer", "verifier, from the crop", "area", *rewards)
    curves = (*VALIDATED, "reward", *(f"rewards/{reward}/mean" for reward in rewards), *MEASURED)
    step = max((row["step"] for row in rows), default=0)
    page = render(
        "run.html",
        title=out.resolve().name,
        caption=f"step {step}; {'this page asks again by itself' if running else 'finished'}",
        running=running,
        curves=[curve for name in curves if (curve := _curve(name, rows))],
        head=head,
        examples=examples[: -SHOWN - 1 : -1],
    )
    part = out / "run.html.part"
    part.write_text(page, encoding="utf-8")
    part.replace(out / "run.html")


def _curve(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, str] | None:
    """One measurement over the steps, as the points of a line 600 x 80; None where it has fewer than two.

    first, last: means of its first and last tenth, for single steps are of a few questions each.
    """
    found = [
        (row["step"], row[name]) for row in rows if isinstance(row.get(name), int | float) and row[name] == row[name]
    ]
    if len(found) < 2:
        return None
    steps, values = zip(*found, strict=True)
    wide, high = max(steps) - min(steps) or 1, max(values) - min(values) or 1
    points = " ".join(
        f"{600 * (step - min(steps)) / wide:.1f},{76 - 72 * (value - min(values)) / high:.1f}" for step, value in found
    )
    few = math.ceil(len(values) / 10)
    first, last = fmean(values[:few]), fmean(values[-few:])
    return {"name": name, "first": f"{first:.3g}", "last": f"{last:.3g}", "points": points}
