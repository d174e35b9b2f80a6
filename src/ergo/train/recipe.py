"""A recipe is a TOML file that says everything about a run; `--set a.b=c` changes one value of it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ergo.backends import SHIPPED
from ergo.errors import UsageError
from ergo.train.lessons import Mix, Stage
from ergo.train.rewards import Reward


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
    soften: float
    naming: float
    looking: float
    watched: int
    loose: float = 0.0
    again: bool = False
    clip: float = 1.0
    start: str | None = None
    threads: int = 1
    workers: int = 1
    save_every: int = 200
    log_every: int = 20


@dataclass(frozen=True)
class GrpoRecipe:
    """Reinforcement learning (paper section 4, by TRL's GRPOTrainer).

    start: the policy: a checkpoint's folder or Hub name. verifier: the frozen model R, any model name
    that `open_backend` takes; None for `start` itself, frozen. seed: of data and sampling.
    data, samples: where questions come from (train/source.py), and how many of the world's.
    budget: vision tokens of each look, and of the crop that the verifier sees. budgets: those of rollouts
        instead, question by question in turn, so that no budget is forgotten. words: most tokens of each reply.
    temperature: of rollouts.
    average: how many of the last saved checkpoints the final weights are the mean of (0: the last step's alone). Near an optimum half of
        what separates two checkpoints is noise, and a mean takes it out (stochastic weight averaging, arXiv 1803.05407).
    probe: rollouts of each question before training; only questions that came out both right and wrong are trained
        on (0: all are).
    rewards: what is paid for, with weights. frozen: parts of parameter names that are not trained.
    lora: arguments of peft.LoraConfig; None to train all weights.
    validation, validate_every: a source as `data`, and steps between two measurements on
        `validation_samples` of it (0: never). show_every: steps between rollouts kept as pictures.
    patience: steps without signal, or with the whole picture as region, before the run stops itself.
    trl: arguments of trl.GRPOConfig, passed through.
    """

    kind: str
    start: str
    seed: int
    data: str
    samples: int
    budget: int
    words: int
    rewards: tuple[Reward, ...]
    trl: Mapping[str, Any]
    verifier: str | None = None
    budgets: tuple[int, ...] = ()
    temperature: float = 1.0
    average: int = 0
    probe: int = 0
    frozen: tuple[str, ...] = ()
    lora: Mapping[str, Any] | None = None
    validation: str = "world:validation"
    validation_samples: int = 200
    validate_every: int = 50
    show_every: int = 50
    patience: int = 25
    threads: int = 1


def weights(start: str) -> str:
    """What a recipe's `start` means to transformers: a folder, or a Hub name. A shipped model goes by its name."""
    return SHIPPED.get(start, start)


def read_recipe(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The recipe as written, with changes of the form `rate=1e-3` or `shape.layers=6` applied.

    `base = "other.toml"` starts from another recipe beside it: tables are merged, all else replaced.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file; recipes lie in recipes/")
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    if "base" in table:
        table = _over(read_recipe(path.parent / table.pop("base")), table)
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set wants key=value, not {change!r}")
        _put(table, key.strip(), value.strip())
    return table


def _over(base: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in table.items():
        old = merged.get(key)
        merged[key] = _over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _put(table: dict[str, Any], key: str, value: str) -> None:
    """A name that the recipe does not know is refused when the recipe is checked."""
    *path, last = key.split(".")
    for name in path:
        inner = table.get(name)
        if not isinstance(inner, dict):
            raise UsageError(f"the recipe has no table {name!r}, asked for by --set {key}")
        table = inner
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value


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


def grpo_recipe(table: dict[str, Any]) -> GrpoRecipe:
    """A checked GrpoRecipe from a recipe's table."""
    table = dict(table)
    try:
        rewards = tuple(Reward(**row) for row in table.pop("reward"))
        recipe = GrpoRecipe(rewards=rewards, frozen=tuple(table.pop("frozen", ())), budgets=tuple(table.pop("budgets", ())), **table)
    except (TypeError, KeyError) as error:
        raise UsageError(f"the recipe does not fit reinforcement learning: {error}") from error
    for reward in recipe.rewards:
        reward.scorer()
        if reward.turn and "multi_objective_aggregation" in recipe.trl:
            raise UsageError(f"the reward {reward.name} names a turn: each turn's rewards are summed, so leave out trl.multi_objective_aggregation")
    return recipe
