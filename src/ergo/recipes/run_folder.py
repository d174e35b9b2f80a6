"""The folder of a training run: what it is stands there before anything is learnt, and only that run goes on in it.

OUT/config.json   {"config": the recipe by dotted keys, and what the data is, "made_with": versions, machine, commit}
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ergo.core.errors import UsageError
from ergo.recipes.schema import RecipeTable
from ergo.traces.folder import read_config
from ergo.traces.provenance import environment

log = logging.getLogger(__name__)

LIBRARIES = ("trl", "peft", "accelerate", "datasets")
"""What a training's figures depend on beside the libraries that every figure does."""


@contextmanager
def training_run(
    out: Path, recipe: RecipeTable, data: str, may_change: Collection[str] = (), allow_changed: bool = False
) -> Iterator[None]:
    """Hold folder `out` for this recipe on this data; a run that was begun with another is refused, by the keys.

    data: what the training data is, so that a changed file is noticed. may_change: dotted keys on which nothing that is
    learnt depends. allow_changed: go on all the same, and write down that it was changed.
    """
    out.mkdir(parents=True, exist_ok=True)
    if int(os.environ.get("RANK", "0")):  # of several processes the first holds the folder for all
        yield
        return
    try:
        with FileLock(out / ".lock", timeout=0):
            _write(out, _dotted(json.loads(recipe.model_dump_json(by_alias=True))) | {"data_is": data},
                   may_change, allow_changed)  # fmt: skip
            yield
    except Timeout:
        raise UsageError(f"another process is training in {out}: wait for it, or choose another --out") from None


def _write(out: Path, config: dict[str, Any], may_change: Collection[str], allow_changed: bool) -> None:
    path = out / "config.json"
    versions = {name: _version(name) for name in LIBRARIES}
    written: dict[str, Any] = {"config": config, "made_with": environment() | {"training": versions}}
    if path.is_file():
        before = read_config(out)["config"]
        keys = sorted(before.keys() | config.keys())
        changed = [key for key in keys if before.get(key) != config.get(key) and key not in may_change]
        what = "; ".join(f"{key} was {before.get(key)!r}, is {config.get(key)!r}" for key in changed)
        if changed and not allow_changed:
            raise UsageError(
                f"{out} was begun with another recipe ({what}): choose another --out, or go on with --allow-changed"
            )
        if changed:
            log.warning("%s goes on with another recipe: %s", out, what)
            written["before"] = json.loads(path.read_text())
    new = path.with_suffix(".new")
    new.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    new.replace(path)


def _dotted(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """{"trl": {"beta": 0}} -> {"trl.beta": 0}: one key a value, so that a change names what was changed."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _dotted(value, f"{above}{key}.") if isinstance(value, dict) and value else {f"{above}{key}": value}
    return flat


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
