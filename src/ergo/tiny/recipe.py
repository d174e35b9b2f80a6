"""The recipe of a cold start: the shape of the small model, and its lessons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from ergo.core.errors import UsageError
from ergo.recipes.schema import RecipeTable, checked
from ergo.tiny.lessons import Stage


class Shape(RecipeTable):
    """Hidden sizes (text and vision), numbers of blocks (depth: of vision) and heads of ergo-tiny (tiny/model.py)."""

    vision: PositiveInt
    depth: PositiveInt
    text: PositiveInt
    layers: PositiveInt
    heads: PositiveInt


class SftRecipe(RecipeTable):
    """A cold start: supervised learning of both looks.

    seed: of weights and data. start: a checkpoint folder, or a model of this package, to go on from; None for fresh
        weights of `shape`.
    stages: `[[stage]]` in the file: what is taught until which step.
    budgets: vision tokens of the coarse and the close view; each batch draws one. full: of the direct look.
    rate, matrix_rate: highest learning rates of AdamW, and of Muon (in AdamW's measure) for the hidden matrices;
        both rise over `warmup` steps and fall as a cosine to a twentieth. decay: weight decay. clip: of gradients.
    label_smoothing: deviation, in thousandths, over which the target of a coordinate is spread.
    patch_label_weight: weight of predicting what lies under each vision token.
    attention_weight: weight of attending, in layer `attention_layer`, to what is being read off the picture.
    box_jitter: largest shift of a taught region, as a share of its own sides: the policy then has poor
        localisation, for reinforcement learning to mend.
    repeat_location: whether a place in the picture is written again before an answer that is a place.
    threads: CPU threads of the trainer. workers: processes that draw ahead. save_every, log_every: steps.
    """

    kind: Literal["sft"]
    seed: NonNegativeInt
    shape: Shape
    stages: Annotated[tuple[Stage, ...], Field(alias="stage", min_length=1)]
    budgets: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    full: PositiveInt
    rate: PositiveFloat
    matrix_rate: PositiveFloat
    warmup: NonNegativeInt
    decay: NonNegativeFloat
    label_smoothing: NonNegativeFloat
    patch_label_weight: NonNegativeFloat
    attention_weight: NonNegativeFloat
    attention_layer: NonNegativeInt
    box_jitter: NonNegativeFloat = 0.0
    repeat_location: bool = False
    clip: PositiveFloat = 1.0
    start: str | None = None
    threads: PositiveInt = 1
    workers: NonNegativeInt = 1
    save_every: PositiveInt = 200
    log_every: PositiveInt = 20

    def model_post_init(self, _: Any) -> None:
        if self.attention_layer >= self.shape.layers:
            raise UsageError(f"attention_layer: the model has layers 0 to {self.shape.layers - 1}")
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)) or ends[0] < 1:
            raise UsageError(f"stage: each `until` must be after the one before it, not {ends}")


def sft_recipe(table: Mapping[str, Any]) -> SftRecipe:
    """A checked SftRecipe from a recipe's table."""
    return checked(SftRecipe, table)
