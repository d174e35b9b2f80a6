"""Teaching a policy where to look: the cold start (sft) and reinforcement learning (grpo)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ergo.errors import MissingExtra, UsageError


def train(recipe: Path, out: Path, changes: Sequence[str] = ()) -> Path:
    """Run, or go on with, what a recipe file says; returns the folder of the checkpoint."""
    from ergo.train.recipe import grpo_recipe, read_recipe, sft_recipe

    table = read_recipe(recipe, changes)
    kind = table.get("kind")
    if kind == "sft":
        from ergo.train import sft

        return sft.train(sft_recipe(table), out)
    if kind == "grpo":
        try:
            from ergo.train import grpo
        except ImportError as error:
            raise MissingExtra("reinforcement learning", "train") from error
        return grpo.train(grpo_recipe(table), out)
    raise UsageError(f"{recipe}: no training is called {kind!r}; there are sft and grpo")
