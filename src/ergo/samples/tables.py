"""Tables that data sets come in: rows of parquet files, pictures inside rows, lettered options.

What readers of benchmarks (`evals`) and of training sets (`data`) have in common.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError, MissingExtra

ROWS = 4  # held at once; a row of HR-Bench 8K is about 20 MB


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file as dicts of those of `columns` that it has, a few at a time."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("reading parquet files", "eval") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            there = [column for column in columns if column in file.schema_arrow.names]
            for batch in file.iter_batches(ROWS, columns=there):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}") from error


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
