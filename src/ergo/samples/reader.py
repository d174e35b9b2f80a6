"""The ONE reader of tables: any of them -> Samples, for `eval`, `batch`, `data` and `train`.

read_rows      every row, as a Sample or as Refused with its place and reason
read_samples   the same, but the first row that is none ends the reading with one line
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError
from ergo.core.geometry import Box
from ergo.samples.columns import Columns, columns_of, needed
from ergo.samples.options import Answer, Options, answer_of, checked, from_columns, is_missing, options_of, split_prompt
from ergo.samples.pictures import REFERENCE, is_encoded, picture_of
from ergo.samples.sample import Sample
from ergo.samples.tables import ending_of, records

log = logging.getLogger(__name__)

BY_OBJECT = (".jsonl", ".ndjson", ".json")  # each row names its own columns


@dataclass(frozen=True)
class Refused:
    """A row that is no sample. where: file and row. reason: in a few words, for a person."""

    id: str
    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True)
class ReaderConfig:
    """What a row must bring. answers: a truth to score by. question: asked of every picture, instead of the table's own.

    options: with it. name: makes the id of a row that brings none from its number, counted from 0.
    """

    answers: bool = True
    question: str | None = None
    options: tuple[str, ...] = ()
    name: Callable[[int], str] = str


def read_samples(path: str | Path) -> Iterator[Sample]:
    """Samples of a table, streamed; pictures stay on disk."""
    for row in read_rows(str(path)):
        if isinstance(row, Refused):
            raise DataError(str(row))
        yield row


def read_rows(source: str, config: ReaderConfig = ReaderConfig()) -> Iterator[Sample | Refused]:
    """Every row of a table, in its order."""
    base = source.rpartition("/")[0] if "://" in source else str(Path(source).parent)
    kept = _Referred(source)
    layouts: dict[tuple[str, ...], Columns] = {}
    count = 0
    for number, (where, row) in enumerate(records(source)):
        count += 1
        name = config.name(number)
        if isinstance(row, str):
            yield Refused(name, where, row)
            continue
        names = tuple(row)
        if names not in layouts:
            first = not layouts
            try:
                layouts[names] = _layout(names, where if ending_of(source) in BY_OBJECT else source, config)
            except DataError as error:
                if ending_of(source) not in BY_OBJECT:
                    raise
                yield Refused(name, where, str(error).removeprefix(f"{where}: "))
                continue
            if first and (aside := layouts[names].aside):
                log.info("%s: columns that are kept but not used: %s", source, ", ".join(aside))
        columns = layouts[names]
        try:
            yield _sample(kept.resolved(row, columns), columns, base, name, config)
        except (ValueError, TypeError) as error:
            yield Refused(_id(row, columns) or name, where, str(error))
    if not count:
        raise DataError(f"{source} holds no rows (the first line of a CSV or TSV names its columns)")


def _layout(names: Sequence[str], where: str, config: ReaderConfig) -> Columns:
    columns = columns_of(names, where)
    must = ["image", *(["question"] if config.question is None else []), *(["answer"] if config.answers else [])]
    needed(columns, must, where, names)
    return columns


def _sample(row: dict[str, Any], columns: Columns, base: str, name: str, config: ReaderConfig) -> Sample:
    """ValueError says why a row is none."""
    image = next(
        (one for column in columns.named["image"] if (one := picture_of(row.get(column), base)) is not None), None
    )
    if image is None:
        raise ValueError(f"no picture in {', '.join(columns.named['image'])}")
    question = config.question if config.question is not None else _cell_text(row, columns, "question")
    question = question.replace("<image>", "").strip()
    if not question:
        raise ValueError("no question")
    options = _options(row, columns, config)
    if not options.texts:
        prompt = split_prompt(question)
        if prompt.options:
            question, options = prompt.question, replace(checked(prompt.options), lettered=True)
    hint = _cell_text(row, columns, "hint")
    found = Answer("") if not config.answers else answer_of(_first(row, columns, "answer"), options)
    right = _first(row, columns, "right_choice")
    info = _info(row, columns)
    cluster = _cell_text(row, columns, "cluster")
    return Sample(
        id=_id(row, columns) or name,
        image=image,
        question=f"{hint}\n{question}" if hint and hint.casefold() != "nan" else question,
        answer=found.text,
        choices=options.texts,
        region=_region(_first(row, columns, "region")),
        category=_cell_text(row, columns, "category"),
        info=info | {"cluster": cluster} if cluster else info,
        also_right=found.also,
        right_choice=int(right) if right is not None else found.place,
    )


def _first(row: dict[str, Any], columns: Columns, what: str) -> Any:
    """The first filled cell of what is read; None for none."""
    return next((row[name] for name in columns.named.get(what, ()) if not is_missing(row.get(name))), None)


def _cell_text(row: dict[str, Any], columns: Columns, what: str) -> str:
    cell = _first(row, columns, what)
    if cell is not None and not isinstance(cell, str | int | float):
        raise ValueError(f"the {what} is text, not {cell!r}")
    return "" if cell is None else str(cell)


def _id(row: dict[str, Any], columns: Columns) -> str:
    cell = _first(row, columns, "id")
    return "" if cell is None else str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _options(row: dict[str, Any], columns: Columns, config: ReaderConfig) -> Options:
    if config.options:
        return Options(config.options)
    for name in columns.named.get("choices", ()):
        found = options_of(row.get(name))
        if found.texts:
            return found
    return from_columns([(letter, row.get(name)) for letter, name in columns.letters])


def _region(cell: Any) -> Box | None:
    if cell is None or (isinstance(cell, list | tuple) and not cell):
        return None
    numbers = cell.strip(" []()").replace(",", " ").split() if isinstance(cell, str) else cell
    try:
        left, top, right, bottom = (int(float(number)) for number in numbers)
        if any(float(number) % 1 for number in numbers):
            raise ValueError
        return Box(left, top, right, bottom)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the region {cell!r} is not `left top right bottom` in whole pixels") from error


def _info(row: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """What else the row says: its own `info`, and columns that are not read."""
    given = _first(row, columns, "info")
    if isinstance(given, str):
        given = json.loads(given)
    if given is not None and not isinstance(given, dict):
        raise ValueError(f"info is an object, not {given!r}")
    aside = {name: row[name] for name in columns.aside if not is_missing(row.get(name))}
    return {name: value for name, value in aside.items() if not isinstance(value, bytes)} | (given or {})


class _Referred:
    """VLMEvalKit's tables may hold a picture once: other rows then name the row that has it.

    Only pictures that are named are kept, encoded, until the end.
    """

    def __init__(self, source: str) -> None:
        self._named: set[str] = set()
        self._kept: dict[str, str] = {}
        if ending_of(source) in (".tsv", ".csv"):
            for place, (_, row) in enumerate(records(source, quiet=True)):
                cell = row.get("image") if isinstance(row, dict) else None
                if not isinstance(cell, str) or (place == 0 and not is_encoded(cell)):
                    break  # pictures are not inside this table
                if 0 < len(cell) <= REFERENCE and "." not in cell:
                    self._named.add(cell)

    def resolved(self, row: dict[str, Any], columns: Columns) -> dict[str, Any]:
        """The row, with the picture that it names."""
        cell = row.get("image")
        if not self._named or not isinstance(cell, str):
            return row
        index = _id(row, columns)
        if is_encoded(cell) and index in self._named:
            self._kept[index] = cell
        if cell in self._named:
            if cell not in self._kept:
                raise ValueError(f"no picture, and no row {cell!r} before it that holds one")
            return row | {"image": self._kept[cell]}
        return row
