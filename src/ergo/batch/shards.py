"""Finished rows as Parquet. A shard is written aside and moved into place: it is there whole, or not at all.

Its name is made from the ids in it, so work that is done twice (a worker that died after writing, before saying
so) writes the same file again instead of another. What stands in any shard is done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ergo.core.errors import UsageError
from ergo.core.messages import Seconds, Usage

BOX = pa.list_(pa.int64())
VIEW = pa.struct({"source": BOX, "box": BOX, "shown": BOX, "tokens": pa.int64()})
TURN = pa.struct(
    {
        "views": pa.list_(VIEW),
        "text": pa.string(),
        "usage": pa.struct({field.name: pa.int64() for field in fields(Usage)}),
        "seconds": pa.struct({field.name: pa.float64() for field in fields(Seconds)}),
        "finish": pa.string(),
    }
)
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "picture": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "answer_reading": pa.string(),
        "region": BOX,
        "region_reading": pa.string(),
        "fallback": pa.bool_(),
        "thought": pa.string(),
        "turns": pa.list_(TURN),
        "vision_tokens": pa.int64(),
        "direct_vision_tokens": pa.int64(),
        "generated_tokens": pa.int64(),
        "seconds": pa.float64(),
        "error": pa.struct({"kind": pa.string(), "message": pa.string()}),
    }
)
"""The names are those of every Trace (`ergo.traces.rows`). Boxes are [left, top, right, bottom] of the upright picture."""


class Shards:
    """A folder of shards at any fsspec address."""

    def __init__(self, address: str) -> None:
        self._system, self._path = fsspec.core.url_to_fs(address)
        self.address = address

    def prepare(self) -> None:
        """Make the folder; refuse one that holds something else."""
        self._system.makedirs(self._path, exist_ok=True)
        others = [one for one in self._names() if not one.endswith((".parquet", ".new", ".jsonl"))]
        if others:
            raise UsageError(
                f"{self.address} holds {others[0].rsplit('/', 1)[-1]}: give a folder of its own for the output"
            )

    def _names(self) -> list[str]:
        return sorted(self._system.ls(self._path, detail=False)) if self._system.isdir(self._path) else []

    def _shards(self) -> list[str]:
        self._system.invalidate_cache()
        return [name for name in self._names() if name.endswith(".parquet")]

    def done(self) -> set[str]:
        """Ids of all rows that stand in a shard."""
        found: set[str] = set()
        for name in self._shards():
            with self._system.open(name, "rb") as file:
                found.update(pq.read_table(file, columns=["id"])["id"].to_pylist())
        return found

    def rows(self) -> Iterator[dict[str, Any]]:
        """Everything, shard by shard."""
        for name in self._shards():
            with self._system.open(name, "rb") as file:
                yield from pq.read_table(file).to_pylist()

    def failed(self) -> int:
        """How many rows have an error."""
        count = 0
        for name in self._shards():
            with self._system.open(name, "rb") as file:
                errors = pq.read_table(file, columns=["error"])["error"]
                count += len(errors) - errors.null_count
        return count

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """One shard."""
        ordered = sorted(rows, key=lambda row: str(row["id"]))
        name = hashlib.sha256("\0".join(str(row["id"]) for row in ordered).encode()).hexdigest()[:24]
        self._put(f"{self._path}/part-{name}.parquet", ordered)

    def _put(self, final: str, rows: Sequence[dict[str, Any]]) -> None:
        aside = final.removesuffix(".parquet") + ".new"
        with self._system.open(aside, "wb") as file:
            pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), file)
        self._system.mv(aside, final)

    def forget_failed(self) -> int:
        """Take rows with an error out, so that they are done again; returns how many."""
        forgotten = 0
        for name in self._shards():
            with self._system.open(name, "rb") as file:
                rows = pq.read_table(file).to_pylist()
            kept = [row for row in rows if row["error"] is None]
            if len(kept) < len(rows):
                forgotten += len(rows) - len(kept)
                self._put(name, kept) if kept else self._system.rm(name)
        return forgotten
