"""A recipe is a TOML file that says everything about a run; `--set a.b=c` changes one value of it.

Those that ship are found by name (`tiny-grpo`), others by path.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ergo.backends import SHIPPED, shipped_folder
from ergo.core.errors import UsageError

HERE = Path(__file__).resolve().parent


def shipped() -> tuple[str, ...]:
    """Names of the recipes inside the package."""
    return tuple(sorted(path.stem for path in HERE.glob("*.toml")))


def launch_file(name: str) -> Path | None:
    """The accelerate configuration of this name that ships, if there is one."""
    inside = HERE / f"{name.removesuffix('.yaml')}.yaml"
    return inside if inside.is_file() else None


def find(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships."""
    path = Path(name)
    if path.is_file() and path.suffix == ".toml":
        return path
    inside = HERE / f"{path.name.removesuffix('.toml')}.toml"
    if inside.is_file() and (path.parent == Path(".") or not path.parent.exists()):
        return inside
    raise UsageError(f"no recipe is called {name!r}: give a TOML file, or one of {', '.join(shipped())}")


def weights(start: str) -> str:
    """What a recipe's `start` means to transformers: a folder, or a Hub name. A shipped model goes by its name."""
    if start in SHIPPED:
        return shipped_folder(start)
    *_, run, last = ("", *Path(start).parts)
    if last == "checkpoint" and not Path(start).is_dir():
        made = f"`ergo train {run}` makes it" if run in shipped() else "train it first, or say `start`"
        raise UsageError(f"there is no checkpoint {start}: {made}")
    return start


def read_recipe(path: Path, changes: Sequence[str] = ()) -> dict[str, Any]:
    """The recipe as written, with changes of the form `rate=1e-3` or `shape.layers=6` applied.

    `base = "other"` starts from another recipe, beside it or shipped: tables are merged, all else replaced.
    """
    table = _read(path, ())
    for change in changes:
        key, separator, value = change.partition("=")
        if not separator:
            raise UsageError(f"--set wants key=value, not {change!r}")
        _put(table, key.strip(), value.strip())
    return table


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); recipes that ship: {', '.join(shipped())}"
        ) from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise UsageError(f"{path} is not TOML: {error}") from error
    if "base" not in table:
        return table
    base = str(table.pop("base"))
    beside = path.parent / f"{base.removesuffix('.toml')}.toml"
    below = beside if beside.is_file() else find(base)
    if below.resolve() in {one.resolve() for one in (*above, path)}:
        raise UsageError(f"{path} is its own base")
    return _over(_read(below, (*above, path)), table)


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
        inner = table.setdefault(name, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {key}: {name} is no table but {inner!r}; set it as a whole")
        table = inner
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value  # text needs no quotes on a command line
