"""`ergo train`: run, or go on with, what a recipe says."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from ergo.cli.screen import say
from ergo.core.errors import MissingExtra, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo train`."""
    parser.add_argument("recipe", help="a TOML file, see recipes/")
    parser.add_argument("--out", default=None, help="run folder; the same command goes on where it stopped")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the recipe")


def run(args: argparse.Namespace) -> int:
    """Train, then say where the checkpoint lies."""
    from ergo import recipes
    from ergo.images.memory import give_freed_memory_back

    logging.getLogger("ergo").setLevel(logging.INFO)
    give_freed_memory_back()
    recipe = recipes.find(args.recipe)
    folder = train(recipe, Path(args.out or f"runs/{recipe.stem}"), args.set)
    say(f"checkpoint in {folder}")
    return 0


def train(recipe: Path, out: Path, changes: Sequence[str] = ()) -> Path:
    """Run, or go on with, what a recipe file says; returns the folder of the checkpoint."""
    from ergo import recipes

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
