"""Rows of a table, one at a time: JSONL, JSON, CSV, TSV, Parquet; on disk or at any fsspec address."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ergo.core.errors import DataError, MissingExtra
from ergo.images.address import filesystem
from ergo.samples.encodings import SAMPLE, encoding_of

log = logging.getLogger(__name__)

ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
ROWS = 4  # of a Parquet file held at once, where pictures are inside; a row of HR-Bench 8K is about 20 MB
PLAIN_ROWS = 256  # where they are not
LONGEST_CELL = 1 << 30  # csv's limit is one number for the process; pictures are longer than its default


def ending_of(source: str) -> str | None:
    """Which kind of table an address is, by its ending; None for anything else."""
    return next((ending for ending in ENDINGS if source.lower().endswith(ending)), None)


def records(source: str, quiet: bool = False) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """(where, row) of each row; in place of a row that is not one, what is wrong with it.

    where: `file.csv, row 3` counts rows below the header from 1; `file.jsonl:3` counts lines. quiet: a guessed
    encoding is not logged.
    """
    ending = ending_of(source)
    if ending is None:
        raise DataError(f"{source} is no table: their names end in {', '.join(ENDINGS)}")
    if ending == ".parquet":
        yield from _parquet_records(source)
        return
    try:
        with opened(source) as file:
            start = file.read(SAMPLE)
            if not start.strip():
                raise DataError(f"{source} is empty")
            encoding = encoding_of(start)
            if not quiet and not encoding.startswith("utf"):
                log.warning("%s is not UTF-8; it is read as %s", source, encoding)
            file.seek(0)
            if ending in (".csv", ".tsv"):
                yield from _csv_records(source, file, encoding, "\t" if ending == ".tsv" else None)
            elif ending == ".json":
                yield from _json_records(source, file, encoding)
            else:
                yield from _jsonl_records(source, file, encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not {error.encoding} throughout ({error.reason}): save it as UTF-8") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{source} cannot be read: {error}") from error


@contextmanager
def opened(source: str) -> Iterator[IO[bytes]]:
    """A file on disk or at an address."""
    if "://" not in source:
        path = Path(source)
        if not path.is_file():
            raise DataError(f"{source} is not there")
        with path.open("rb") as file:
            yield file
        return
    system, place = filesystem(source)
    try:
        with system.open(place, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{source} is not there") from error


def _jsonl_records(source: str, file: IO[bytes], encoding: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    lines: Iterable[str | bytes] = (
        file if encoding.startswith("utf-8") else io.TextIOWrapper(file, encoding, newline="\n")
    )
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"") if isinstance(line, bytes) else line
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            row = None
        yield f"{source}:{number}", row if isinstance(row, dict) else "the line is not a JSON object"


def _json_records(source: str, file: IO[bytes], encoding: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    try:
        rows = json.loads(file.read().decode(encoding))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{source} holds no list of rows")
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", row if isinstance(row, dict) else "the row is not an object"


def _csv_records(
    source: str, file: IO[bytes], encoding: str, delimiter: str | None
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    text = io.TextIOWrapper(file, encoding, newline="")
    if delimiter is None:
        header = text.readline()
        delimiter = max((",", ";", "\t"), key=header.count)
        text.seek(0)
    reader = csv.reader(text, delimiter=delimiter, strict=False)
    names = [name.strip().lstrip("\ufeff") for name in next(reader, [])]
    twice = [name for place, name in enumerate(names) if name and name in names[:place]]
    if twice:
        raise DataError(f"{source}: the column {twice[0]!r} stands twice")
    for number, cells in enumerate((cells for cells in reader if any(cell.strip() for cell in cells)), 1):
        where = f"{source}, row {number}"
        if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
            yield where, f"{len(cells)} cells under {len(names)} columns; put text that holds {delimiter!r} in quotes"
        else:
            yield where, {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _parquet_records(source: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Columns of pictures that are not read as such (crops, previews) stay where they are."""
    with opened(source) as file:
        parquet = _parquet(source, file)
        from ergo.samples.columns import columns_of

        schema = parquet.schema_arrow
        columns = columns_of(schema.names, source)
        heavy = [name for name in schema.names if "binary" in str(schema.field(name).type)]
        wanted = [name for name in schema.names if name not in columns.aside or name not in heavy]
        number = 0
        for batch in parquet.iter_batches(ROWS if heavy else PLAIN_ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"{source}, row {number}", row


def _parquet(source: str | Path, file: Any) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet files", "eval") from error
    try:
        return pyarrow.parquet.ParquetFile(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source} cannot be read as parquet: {error}") from error


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file on disk as dicts of those of `columns` that it has, a few at a time."""
    with opened(str(path)) as file:
        parquet = _parquet(path, file)
        there = [column for column in columns if column in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(ROWS, columns=there):
            yield from batch.to_pylist()


def picture_bytes(encoded: str | bytes, where: str) -> bytes:
    """The file that stands in a cell as base64, or as bytes."""
    if isinstance(encoded, bytes):
        return encoded
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: its picture is not base64 ({error})") from error


def fingerprint(*parts: str | bytes) -> str:
    """A short name for what these parts say, the same in every run."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def chosen(letter: str, options: dict[str, str], where: str) -> str:
    """The text of the right option."""
    letter = letter.strip().strip("().").upper()
    if letter not in options:
        raise DataError(f"{where}: the right option is {letter!r}, and there are {', '.join(options)}")
    return options[letter]
