"""`ergo train`: run, or go on with, what a recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ergo import recipes
from ergo.core.errors import MissingExtra, UsageError


def train(recipe: Path, out: Path, changes: Sequence[str] = ()) -> Path:
    """Run, or go on with, what a recipe file says; returns the folder of the checkpoint."""
    table = recipes.read_recipe(recipe, changes)
    kind = table.get("kind")
    if kind == "sft":
        try:
            from ergo.tiny import cold_start
            from ergo.tiny.recipe import sft_recipe
        except ImportError as error:
            raise MissingExtra("a cold start", "train") from error
        return cold_start.train(sft_recipe(table), out)
    if kind == "grpo":
        try:
            from ergo.rl import trainer
            from ergo.rl.recipe import grpo_recipe
        except ImportError as error:
            raise MissingExtra("reinforcement learning", "train") from error
        return trainer.train(grpo_recipe(table), out)
    raise UsageError(f"{recipe}: no training is called {kind!r}; there are sft and grpo")
