"""A short run of reinforcement learning: ergo-tiny on the world, a few rollouts a step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ergo.backends import TINY, Model, open_backend
from ergo.backends.scripted import ScriptedBackend
from ergo.backends.transformers.loading import load_processor
from ergo.core.errors import BackendError
from ergo.core.geometry import Box, Size
from ergo.families import ERGO_TINY
from ergo.recipes import find, read_recipe
from ergo.rl.evidence import Verifier
from ergo.rl.recipe import GrpoRecipe, grpo_recipe
from ergo.rl.rewards import Evidence
from ergo.rl.source import source_of
from ergo.rl.step import GrpoStep
from ergo.rl.trl_bridge import TrlTrainer

RECIPE = find("tiny-grpo")
SMALL = (
    "start='ergo-tiny'", "verifier='ergo-tiny'", "samples=40", "budget=40", "budgets=[]", "max_completion_length=24",
    "validate_every=0", "show_every=0", "trl.report_to='none'", "trl.num_generations=4",
    "trl.per_device_train_batch_size=8", "trl.gradient_accumulation_steps=1", "trl.save_steps=2",
)  # fmt: skip


def recipe(*changes: str) -> GrpoRecipe:
    return grpo_recipe(read_recipe(RECIPE, [*SMALL, *changes]))


def make_step(chosen: GrpoRecipe, verifier: Verifier | None = None) -> GrpoStep:
    shown = verifier or Verifier(open_backend("ergo-tiny"), chosen.budget)
    return GrpoStep(chosen, source_of(chosen.data, chosen.samples), shown, load_processor(TINY))


def make_trainer(chosen: GrpoRecipe, out: Path, verifier: Verifier | None = None) -> TrlTrainer:
    trainer = TrlTrainer(make_step(chosen, verifier), TINY, out)
    trainer.model.train()
    return trainer


def scripted_verifier(replies: Sequence[str | BackendError], budget: int = 40) -> Verifier:
    """R from a script: replies in the order in which crops come."""
    return Verifier(Model(ScriptedBackend(list(replies), parallel=False), ERGO_TINY, 28, "scripted"), budget)


def rows(out: Path) -> dict[int, dict[str, float]]:
    """The last row of each step, without the clock's part of it."""
    found = {}
    for line in (out / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "reward" in row:
            found[row["step"]] = {
                name: value for name, value in row.items() if "seconds" not in name and "time" not in name
            }
    return found


def seen(**changes: object) -> Evidence:
    """Evidence of a good rollout about a picture of 100 x 100, but for `changes`."""
    good: dict[str, object] = {
        "picture": Size(100, 100), "region": Box(0, 0, 50, 50), "right": True, "verified": True, "well_formed": True,
        "truth": Box(10, 10, 20, 20), "vision_tokens": 60, "allowed_tokens": 80,
    }  # fmt: skip
    return Evidence(**(good | changes))  # type: ignore[arg-type]
