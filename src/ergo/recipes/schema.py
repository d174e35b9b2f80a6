"""What a recipe may hold: pydantic models that refuse an unknown key by name, and every fault in one line."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ergo.core.errors import UsageError


class RecipeTable(BaseModel):
    """A table of a recipe: no key that it does not know, no text where it wants a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Table = TypeVar("Table", bound=RecipeTable)


def checked(schema: type[Table], table: Mapping[str, Any]) -> Table:
    """The table as `schema` has it; anything else is a UsageError that names the key."""
    check_finite(table)
    try:
        # as JSON: strict about numbers and texts, and a TOML array may become a tuple
        return schema.model_validate_json(json.dumps(table, default=str))
    except ValidationError as error:
        found = error.errors()
        places = [fault["loc"] for fault in found]
        faults = [  # of a list whose only item is wrong, that it holds no item is not the fault
            _fault(schema, dict(fault))
            for fault in found
            if not any(place[: len(fault["loc"])] == fault["loc"] != place for place in places)
        ]
        raise UsageError(f"the recipe does not fit: {'; '.join(faults)}") from error


def check_finite(table: Mapping[str, Any], inside: str = "") -> None:
    """TOML has nan and inf; no value of a recipe may be one."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            check_finite(value, f"{inside}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"the recipe does not fit: {inside}{key} should be a finite number, not {value}")


def _fault(schema: type[BaseModel], fault: Mapping[str, Any]) -> str:
    *inside, last = fault["loc"] or ("recipe",)
    key = ".".join(map(str, (*inside, last)))
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown(key, str(last), _keys(schema, inside))
    if fault["type"] in ("missing", "missing_argument"):
        return f"{key} is missing"
    wrong = "" if isinstance(fault["input"], dict | list) else f", not {fault['input']!r}"
    return f"{key}: {fault['msg'].removeprefix('Value error, ').replace('Input should be', 'should be')}{wrong}"


def _keys(schema: Any, inside: Iterable[str | int]) -> list[str]:
    """The keys that a table `inside` a recipe may have."""
    for name in inside:
        if isinstance(name, str) and issubclass(schema, BaseModel):
            fields = schema.model_fields
            hint = next((field.annotation for own, field in fields.items() if name in (own, field.alias)), None)
            schema = next((inner for inner in (hint, *typing.get_args(hint)) if isinstance(inner, type)), None)
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return [field.alias or name for name, field in schema.model_fields.items()]
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def unknown(key: str, last: str, known: Collection[str]) -> str:
    """One line for a key that is not known: the nearest that is, or all of a short list."""
    near = difflib.get_close_matches(last, known, 1)
    if near:
        return f"{key} is not known; did you mean {near[0]}?"
    return f"{key} is not known" + (f"; there are {', '.join(sorted(known))}" if known and len(known) <= 40 else "")


def check_arguments(table: Mapping[str, Any], config: type, name: str, ours: Mapping[str, str]) -> None:
    """Check a table that is handed on to a dataclass of another library: its keys, and the types of its values.

    ours: arguments that a recipe says by a key of its own, or that must be as they are, and which.
    """
    hints = typing.get_type_hints(config)
    known = {field.name for field in dataclasses.fields(config) if field.init}
    for key, value in table.items():
        if key in ours:
            raise UsageError(f"{name}.{key} is set by ergo: {ours[key]}")
        if key not in known:
            raise UsageError(f"the recipe does not fit: {unknown(f'{name}.{key}', key, known - set(ours))}")
        check_value(value, hints[key], f"{name}.{key}")


def check_value(value: Any, hint: Any, key: str) -> None:
    """Refuse a value that is not what the type hint of an argument says."""
    try:
        TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        wanted = hint.__name__ if isinstance(hint, type) else str(hint)
        raise UsageError(f"the recipe does not fit: {key} should be {wanted}, not {value!r}") from error
