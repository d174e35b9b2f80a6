"""Train a policy by a recipe; the same command goes on where it stopped."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from ergo.cli.screen import ALL_ANSWERED, hide_loading_bars, say
from ergo.core.errors import MissingExtra, UsageError

EXAMPLES = """\
  ergo train tiny-grpo
  ergo train tiny-grpo --dry-run
  ergo train mine.toml --set trl.learning_rate=1e-5 trl.max_steps=100 --out runs/mine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo train`."""
    parser.add_argument("recipe", help="one that ships, by name (see `ergo recipes`), or a TOML file")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/RECIPE)")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="change values of the recipe, as trl.max_steps=100 (default: none)",
    )
    parser.add_argument(
        "--allow-changed",
        action="store_true",
        help="go on although the recipe or its data is another (default: refuse)",
    )
    parser.add_argument(
        "--merge", action="store_true", help="with `lora`, write OUT/merged too, for servers that take no adapters"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print memory, data, verifier, first step and cost of reinforcement learning, and train nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Train, then say where the checkpoint lies."""
    from ergo import recipes
    from ergo.images.memory import give_freed_memory_back

    logging.getLogger("ergo").setLevel(logging.INFO)
    give_freed_memory_back()
    hide_loading_bars()
    recipe = recipes.find(args.recipe)
    if args.dry_run:
        for line in plan(recipe, args.set):
            say(line)
        return ALL_ANSWERED
    folder = train(recipe, args.out or Path("runs") / recipe.stem, args.set, args.allow_changed, args.merge)
    say(f"checkpoint in {folder}")
    return ALL_ANSWERED


def plan(recipe: Path, changes: Sequence[str] = ()) -> Iterator[str]:
    """What a recipe's run would need, in lines."""
    from ergo import recipes

    table = recipes.read_recipe(recipe, changes)
    if table.get("kind") != "grpo":
        raise UsageError(f"{recipe}: only reinforcement learning (kind grpo) has a dry run")
    try:
        from ergo.rl.dry_run import dry_run
        from ergo.rl.recipe import grpo_recipe
    except ImportError as error:
        raise MissingExtra("reinforcement learning", "train") from error
    yield from dry_run(grpo_recipe(table))


def train(
    recipe: Path, out: Path, changes: Sequence[str] = (), allow_changed: bool = False, merged: bool = False
) -> Path:
    """Run, or go on with, what a recipe file says; returns the folder of the checkpoint, merged where that is asked for."""
    from ergo import recipes

    table = recipes.read_recipe(recipe, changes)
    kind = table.get("kind")
    if kind == "sft" and merged:
        raise UsageError("--merge is for reinforcement learning with `lora`")
    if kind == "sft":
        try:
            from ergo.tiny import cold_start
            from ergo.tiny.recipe import sft_recipe
        except ImportError as error:
            raise MissingExtra("a cold start", "train") from error
        return cold_start.train(sft_recipe(table), out, allow_changed)
    if kind == "grpo":
        try:
            from ergo.rl import trainer
            from ergo.rl.merge import check_merge, merge
            from ergo.rl.recipe import grpo_recipe
        except ImportError as error:
            raise MissingExtra("reinforcement learning", "train") from error
        checked = grpo_recipe(table)
        if not merged:
            return trainer.train(checked, out, allow_changed)
        check_merge(checked)
        return merge(checked, trainer.train(checked, out, allow_changed), out / "merged")
    raise UsageError(f"{recipe}: no training is called {kind!r}; there are sft and grpo")
