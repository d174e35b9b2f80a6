"""A recipe is a TOML file that says everything about a run; `--set a.b=c` changes one value of it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ergo.errors import UsageError
from ergo.train.lessons import Mix, Stage


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
    clip: float = 1.0
    start: str | None = None
    threads: int = 1
    workers: int = 1
    save_every: int = 200
    log_every: int = 20


def read_recipe(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The recipe as written, with changes of the form `rate=1e-3` or `shape.layers=6` applied."""
    if not path.is_file():
        raise UsageError(f"{path} is not a file; recipes lie in recipes/")
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set wants key=value, not {change!r}")
        _put(table, key.strip(), value.strip())
    return table


def _put(table: dict[str, Any], key: str, value: str) -> None:
    *path, last = key.split(".")
    for name in path:
        inner = table.get(name)
        if not isinstance(inner, dict):
            raise UsageError(f"the recipe has no table {name!r}, asked for by --set {key}")
        table = inner
    if last not in table:
        raise UsageError(f"the recipe has no value {key!r}; it has {', '.join(table)}")
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
