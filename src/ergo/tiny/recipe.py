"""The recipe of a cold start: the shape of the small model, and its lessons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ergo.core.errors import UsageError
from ergo.tiny.lessons import Mix, Stage


@dataclass(frozen=True)
class Shape:
    """Hidden sizes, numbers of blocks and heads of ergo-tiny (train/tiny.py)."""

    vision: int
    depth: int
    text: int
    layers: int
    heads: int


@dataclass(frozen=True)
class SftRecipe:
    """A cold start.

    seed: of weights and data. start: a checkpoint folder to go on from, instead of fresh weights.
    budgets: vision tokens of the coarse and the close view; each batch draws one. full: of the direct look.
    rate, matrix_rate: highest learning rates of AdamW, and of Muon (in AdamW's measure) for the hidden
        matrices; both rise over `warmup` steps and fall as a cosine to a twentieth.
    soften: deviation, in thousandths, over which the target of a coordinate is spread.
    naming: weight of naming what lies under each vision token.
    loose: share of its sides by which a taught region is moved at most, either way: a start that does not yet know
        where to look, for reinforcement learning to find out.
    again: whether a place in the picture is said again before an answer that is a place.
    looking: weight of attending, in layer `watched`, to what is being read off the picture.
    threads: CPU threads of the trainer. workers: processes that draw ahead. save_every: steps.
    """

    kind: str
    seed: int
    shape: Shape
    stages: tuple[Stage, ...]
    budgets: tuple[int, ...]
    full: int
    rate: float
    matrix_rate: float
    warmup: int
    decay: float
    label_smoothing: float
    patch_label_weight: float
    attention_weight: float
    attention_layer: int
    box_jitter: float = 0.0
    repeat_location: bool = False
    clip: float = 1.0
    start: str | None = None
    threads: int = 1
    workers: int = 1
    save_every: int = 200
    log_every: int = 20


def sft_recipe(table: dict[str, Any]) -> SftRecipe:
    """A checked SftRecipe from a recipe's table."""
    table = dict(table)
    try:
        shape = Shape(**table.pop("shape"))
        stages = tuple(
            Stage(int(stage["until"]), tuple(Mix(**mix) for mix in stage["mix"])) for stage in table.pop("stage")
        )
        return SftRecipe(shape=shape, stages=stages, budgets=tuple(table.pop("budgets")), **table)
    except (TypeError, KeyError) as error:
        raise UsageError(f"the recipe does not fit a cold start: {error}") from error
