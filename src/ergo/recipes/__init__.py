"""A recipe is a TOML file that says everything about a run; `--set a.b=c` changes one value of it.

Those that ship are found by name (`tiny-grpo`), others by path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ergo.backends import SHIPPED
from ergo.core.errors import UsageError

HERE = Path(__file__).resolve().parent


def shipped() -> tuple[str, ...]:
    """Names of the recipes inside the package."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def find(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships."""
    path = Path(name)
    if path.is_file():
        return path
    inside = HERE / f"{path.name.removesuffix('.toml')}.toml"
    if inside.is_file() and (path.parent == Path(".") or not path.parent.exists()):
        return inside
    raise UsageError(f"no recipe is called {name!r}: give a TOML file, or one of {', '.join(shipped())}")


def weights(start: str) -> str:
    """What a recipe's `start` means to transformers: a folder, or a Hub name. A shipped model goes by its name."""
    return SHIPPED.get(start, start)


def read_recipe(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The recipe as written, with changes of the form `rate=1e-3` or `shape.layers=6` applied.

    `base = "other.toml"` starts from another recipe beside it: tables are merged, all else replaced.
    """
    if not path.is_file():
        raise UsageError(f"{path} is not a file; recipes that ship go by name: {', '.join(shipped())}")
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
