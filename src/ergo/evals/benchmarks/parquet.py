"""Rows of a parquet file, a few at a time: files with pictures inside are larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ergo.errors import DataError, MissingExtra

ROWS = 4  # held at once; a row of HR-Bench 8K is about 20 MB


def rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of `path` as dicts of those of `columns` that it has."""
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
