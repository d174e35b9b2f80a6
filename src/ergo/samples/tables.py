"""Rows of a table, one at a time: JSONL, JSON, CSV, TSV, Parquet; on disk or at any fsspec address."""

from __future__ import annotations

import base64
import binascii
import csv
import gzip
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
    """Which kind of table an address is, by its ending, .gz behind it or not; None for anything else."""
    name = source.lower().removesuffix(".gz")
    return next((ending for ending in ENDINGS if name.endswith(ending)), None)


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
            start = _checked(source, file.read(SAMPLE))
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


def _checked(source: str, start: bytes) -> bytes:
    """The first bytes of a table; DataError names what is met in the place of one."""
    if not start.strip():
        raise DataError(f"{source} is empty")
    for mark, what in (
        (b"version https://git-lfs", "a pointer of Git LFS, not the file: run `git lfs pull`"),
        (b"PK\x03\x04", "a ZIP file or a sheet of Excel: save the sheet as CSV"),
        (b"<!doctype html", "a web page"),
        (b"<html", "a web page"),
    ):
        if start[:200].lstrip().lower().startswith(mark.lower()):
            raise DataError(f"{source} is {what}")
    return start


@contextmanager
def opened(source: str) -> Iterator[IO[bytes]]:
    """A file on disk or at an address; what is packed by gzip, by its first bytes, is unpacked."""
    with _opened(source) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[misc]  # it is an IO[bytes] but for its name


@contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
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
        text = text.strip()
        text = text.removesuffix(b",") if isinstance(text, bytes) else text.removesuffix(",")
        if text in (b"", b"[", b"]", "", "[", "]"):  # a list, written one object a line
            continue
        fault = ""
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            row, fault = None, f" ({' '.join(str(error).split())})"
        for one in row if isinstance(row, list) and row else [row]:
            yield f"{source}:{number}", one if isinstance(one, dict) else f"the line is not a JSON object{fault}"


def _json_records(source: str, file: IO[bytes], encoding: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    try:
        rows = json.loads(file.read().decode(encoding))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{source} is not JSON: {error}") from error
    if isinstance(rows, dict):
        rows = _rows_in(source, rows)
    if not isinstance(rows, list):
        raise DataError(f"{source} holds no list of rows")
    for number, row in enumerate(rows, 1):
        yield f"{source}, row {number}", row if isinstance(row, dict) else "the row is not an object"


def _rows_in(source: str, said: dict[str, Any]) -> Any:
    """The rows of an object: its one list of objects, or objects by their id, or itself."""
    from ergo.samples.columns import COLUMNS, plain

    lists = {
        name: value for name, value in said.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    if len(lists) > 1:
        raise DataError(f"{source} holds several lists of rows ({', '.join(lists)}): make one file of each")
    if lists:
        return next(iter(lists.values()))
    if said and all(isinstance(value, dict) for value in said.values()):
        return [{"id": name} | value for name, value in said.items()]
    return [said] if any(plain(name) in COLUMNS["image"] for name in said) else said


def _csv_records(
    source: str, file: IO[bytes], encoding: str, delimiter: str | None
) -> Iterator[tuple[str, dict[str, Any] | str]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    text = io.TextIOWrapper(file, encoding, newline="")
    if delimiter is None:
        header = text.readline()
        delimiter = max((",", ";", "\t", "|"), key=header.count)
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
        elif len(cells) < len(names):
            yield (
                where,
                f"{len(cells)} cells under {len(names)} columns; write {delimiter!r} for empty cells, and close quotes",
            )
        else:
            yield where, {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _parquet_records(source: str) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Columns of pictures that are not read as such (crops, previews) stay where they are."""
    with opened(source) as file:
        _checked(source, file.read(200))
        file.seek(0)
        parquet = _parquet(source, file)
        from ergo.samples.columns import columns_of

        schema = parquet.schema_arrow
        columns = columns_of(schema.names, source)
        heavy = [name for name in schema.names if "binary" in str(schema.field(name).type)]
        wanted = [name for name in schema.names if name not in columns.aside or name not in heavy]
        number = 0
        for batch in parquet.iter_batches(ROWS if heavy else PLAIN_ROWS, columns=wanted, use_threads=False):
            for row in batch.to_pylist():
                number += 1
                yield f"{source}, row {number}", row


def _parquet(source: str | Path, file: IO[bytes]) -> Any:
    """Arrow opens what lies on this disk itself, and reads in this thread alone: its own threads would still hold a
    Python file when the interpreter ends, and abort it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading Parquet files", "eval") from error
    try:
        return pyarrow.parquet.ParquetFile(file if "://" in str(source) else pyarrow.OSFile(str(source)))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source} cannot be read as parquet: {error}") from error


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file on disk as dicts of those of `columns` that it has, a few at a time."""
    with opened(str(path)) as file:
        parquet = _parquet(path, file)
        there = [column for column in columns if column in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(ROWS, columns=there, use_threads=False):
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
        digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def chosen(letter: str, options: dict[str, str], where: str) -> str:
    """The text of the right option."""
    letter = letter.strip().strip("().").upper()
    if letter not in options:
        raise DataError(f"{where}: the right option is {letter!r}, and there are {', '.join(options)}")
    return options[letter]
