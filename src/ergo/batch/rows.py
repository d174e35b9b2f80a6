"""Which question about which picture. A row's id depends on the input alone, so a restart knows what is done."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow.parquet as pq

from ergo.core.errors import DataError, UsageError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2")
TABLES = (".jsonl", ".csv", ".parquet")
PICTURE_COLUMNS = ("image", "picture", "path", "url")


@dataclass(frozen=True)
class BatchRow:
    """One question. address: where the picture lies, as fsspec takes it, or a data URI. problem: why it cannot be answered."""

    id: str
    address: str
    question: str
    options: tuple[str, ...] = ()
    problem: str = ""


def read_rows(source: str, question: str | None, options: Sequence[str] = ()) -> Iterator[BatchRow]:
    """Rows of `source`, streamed.

    question: for every picture; None for a table's own `question` column (and `options` or `choices`).
    A row that is not one comes with its `problem`: it is answered by an error, not left out.
    """
    suffix = next((ending for ending in TABLES if source.lower().endswith(ending)), None)
    if suffix is None:
        if question is None:
            raise UsageError("a folder of pictures needs --question")
        yield from (BatchRow(address, address, question, tuple(options)) for address in _pictures(source))
        return
    seen: set[str] = set()
    for number, record in enumerate(_records(source, suffix)):
        row = _row(record, number, source, question, tuple(options))
        if row.id in seen:
            raise DataError(f"{source}: the id {row.id!r} stands twice")
        seen.add(row.id)
        yield row


def _pictures(source: str) -> list[str]:
    """A glob, or every picture under a folder; sorted, with their full addresses."""
    system, path = fsspec.core.url_to_fs(source)
    glob = any(sign in path for sign in "*?[")
    found = system.glob(path) if glob else system.find(path) if system.isdir(path) else [path]
    pictures = sorted(system.unstrip_protocol(one) for one in found if glob or one.lower().endswith(PICTURES))
    pictures = [one.removeprefix("file://").removeprefix("local://") for one in pictures]
    if not pictures or not system.exists(found[0]):
        raise DataError(f"{source} holds no pictures; it may be a folder, a glob, or a {', '.join(TABLES)} file")
    return pictures


def _records(source: str, suffix: str) -> Iterator[dict[str, Any] | str]:
    """A table's rows as dictionaries, or what is wrong with one."""
    try:
        with fsspec.open(source, "rb") as file:
            if suffix == ".parquet":
                for batch in pq.ParquetFile(file).iter_batches(256):
                    yield from batch.to_pylist()
            elif suffix == ".csv":
                yield from csv.DictReader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            else:
                yield from (_line(line) for line in file if line.strip())
    except FileNotFoundError as error:
        raise DataError(f"{source} is not there") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source} cannot be read: {error}") from error


def _line(line: bytes) -> dict[str, Any] | str:
    try:
        record = json.loads(line)
    except ValueError:
        return "the line is not JSON"
    return record if isinstance(record, dict) else "the line is not an object"


def _row(
    record: dict[str, Any] | str, number: int, source: str, question: str | None, options: tuple[str, ...]
) -> BatchRow:
    own = f"{source.rsplit('/', 1)[-1]}:{number}"
    if isinstance(record, str):
        return BatchRow(own, "", "", problem=record)
    identity = str(record.get("id") or own)
    address = next((str(record[name]) for name in PICTURE_COLUMNS if record.get(name)), "")
    text = question if question is not None else str(record.get("question") or "")
    given = record.get("options") or record.get("choices") or options
    choices = tuple(given.split("|")) if isinstance(given, str) else tuple(str(one) for one in given)
    if not address:
        return BatchRow(identity, "", text, problem=f"no picture in any of the columns {', '.join(PICTURE_COLUMNS)}")
    if not text.strip():
        return BatchRow(identity, address, "", problem="no question: give --question or a column of that name")
    if "://" not in address and not address.startswith(("/", "data:")):
        address = f"{source.rsplit('/', 1)[0]}/{address}" if "/" in source else address
    return BatchRow(identity, address, text, choices)
