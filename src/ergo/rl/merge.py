"""An adapter folded into the weights it was trained on: what a server that takes no adapters can load."""

from __future__ import annotations

from pathlib import Path

from peft import PeftModel
from transformers import AutoModelForImageTextToText

from ergo.core.errors import UsageError
from ergo.recipes import weights
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.trl_bridge import TrlProcessor


def check_merge(recipe: GrpoRecipe) -> None:
    """Before a run: there will be something to merge."""
    if recipe.lora is None:
        raise UsageError("--merge: the recipe has no `lora`, so its checkpoint is whole already")


def merge(recipe: GrpoRecipe, adapter: Path, out: Path) -> Path:
    """Write the start's weights, in their own precision, with the adapter's products added; returns `out`."""
    from ergo.backends.transformers.loading import load_processor

    start = weights(recipe.start)
    base = AutoModelForImageTextToText.from_pretrained(start, dtype="auto")
    merged = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    merged.save_pretrained(out)
    TrlProcessor(load_processor(start), start).save_pretrained(str(out))
    return out
