"""Finished rows as Parquet. A shard is written aside and moved into place: it is there whole, or not at all.

Its name is made from the rows in it, so work that is done twice (a worker that died after writing, before saying
so) writes the same file again instead of another. What stands in any shard is done.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

from ergo.core.errors import PictureError, UsageError
from ergo.core.messages import Seconds, Usage
from ergo.images.address import filesystem, reached
from ergo.traces.provenance import environment

log = logging.getLogger(__name__)

JOB = "job.json"
LOCK = ".lock"

BOX = pa.list_(pa.int64())
VIEW = pa.struct({"source": BOX, "box": BOX, "shown": BOX, "read_from": BOX, "tokens": pa.int64()})
TURN = pa.struct(
    {
        "views": pa.list_(VIEW),
        "text": pa.string(),
        "usage": pa.struct({field.name: pa.int64() for field in fields(Usage)}),
        "seconds": pa.struct({field.name: pa.float64() for field in fields(Seconds)}),
        "finish": pa.string(),
    }
)
SAMPLING = pa.struct(
    {
        "max_tokens": pa.int64(),
        "temperature": pa.float64(),
        "top_p": pa.float64(),
        "seed": pa.int64(),
        "stop": pa.list_(pa.string()),
        "response_format": pa.string(),
    }
)
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "key": pa.string(),
        "picture": pa.string(),
        "question": pa.string(),
        "answer": pa.string(),
        "answer_reading": pa.string(),
        "confidence": pa.float64(),
        "remark": pa.string(),
        "sampling": SAMPLING,
        "region": BOX,
        "regions": pa.list_(BOX),
        "region_reading": pa.string(),
        "fallback": pa.bool_(),
        "thought": pa.string(),
        "caution": pa.string(),
        "turns": pa.list_(TURN),
        "vision_tokens": pa.int64(),
        "direct_vision_tokens": pa.int64(),
        "generated_tokens": pa.int64(),
        "seconds": pa.float64(),
        "error": pa.struct({"kind": pa.string(), "message": pa.string()}),
    }
)
"""The names are those of every Trace (`ergo.traces.rows`). Boxes are [left, top, right, bottom] of the upright picture."""


@contextmanager
def writable(address: str) -> Iterator[None]:
    """Storage that takes no files is a wrong output, whatever its library raises."""
    try:
        with reached(address):
            yield
    except PictureError as error:
        reason = error.__cause__ or error
        raise UsageError(f"{address} cannot be written: {' '.join(str(reason).split())}") from error


class Shards:
    """A folder of shards at any fsspec address."""

    def __init__(self, address: str) -> None:
        self._system, self._path = filesystem(address)
        self.address = address

    def begin(self, job: Mapping[str, Any]) -> None:
        """Make the folder and write the job into it, before anything else; refuse one that holds something else.

        What makes a row's answer must be the same: input, question, flow, budget, model. The code's version may
        differ, which is logged.
        """
        with writable(self.address):
            try:
                self._system.makedirs(self._path, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise UsageError(f"{self.address} is a file: give a folder for the output") from error
        pa.Table.from_pylist([], SCHEMA)  # imports pandas, if it is there: not as late as when Ctrl-C waits for a shard
        others = [
            one for one in self._names() if not one.endswith((".parquet", ".new", ".jsonl", f"/{JOB}", f"/{LOCK}"))
        ]
        if others:
            raise UsageError(
                f"{self.address} holds {others[0].rsplit('/', 1)[-1]}: give a folder of its own for the output"
            )
        wanted, now = json.loads(json.dumps(job)), environment()
        path = f"{self._path}/{JOB}"
        if not self._system.exists(path):
            if self._shards():
                raise UsageError(f"{self.address} holds rows of a job that nobody wrote down: choose another folder")
            written = json.dumps({"job": wanted, "made_with": now}, indent=2, sort_keys=True).encode()
            with writable(self.address):
                self._system.pipe_file(path, written)
            return
        try:
            with self._system.open(path, "rb") as file:
                written = json.loads(file.read())
            before, made_with = dict(written["job"]), written["made_with"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} cannot be read ({error!r}): choose another folder") from error
        changed = sorted(name for name in wanted.keys() | before.keys() if wanted.get(name) != before.get(name))
        if changed:
            what = "; ".join(f"{name} was {before.get(name)!r}, is {wanted.get(name)!r}" for name in changed)
            raise UsageError(f"{self.address} holds another job ({what}): choose another folder")
        if made_with != now:
            log.warning("%s was begun with other software or on another machine", self.address)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Once begun, nobody else may write here meanwhile; UsageError where somebody does. In an object store nobody can tell."""
        if not isinstance(self._system, LocalFileSystem):
            yield
            return
        lock = FileLock(f"{self._path}/{LOCK}")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(f"another ergo batch is writing into {self.address}: wait for it, or stop it") from error
        except OSError as error:
            raise UsageError(f"{self.address} cannot be written: {error}") from error
        except NotImplementedError:
            log.warning("%s cannot be locked: see to it that no other ergo batch writes there", self.address)
        try:
            yield
        finally:
            lock.release()

    def _names(self) -> list[str]:
        return sorted(self._system.ls(self._path, detail=False)) if self._system.isdir(self._path) else []

    def _shards(self) -> list[str]:
        self._system.invalidate_cache()
        return [name for name in self._names() if name.endswith(".parquet")]

    def done(self) -> dict[str, set[str]]:
        """The keys of all rows that stand in a shard, by id."""
        found: dict[str, set[str]] = {}
        for table in self._tables(["id", "key"]):
            for identity, key in zip(table["id"].to_pylist(), table["key"].to_pylist(), strict=True):
                found.setdefault(identity, set()).add(key)
        return found

    def _tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        for name in self._shards():
            yield self._read(name, columns)

    def _read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard, from memory and without the data sets of Arrow: its threads would still hold a Python object when
        the interpreter ends, and abort it."""
        file = pq.ParquetFile(pa.BufferReader(self._system.cat_file(name)))
        return file.read(list(columns) if columns else None, use_threads=False)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Everything, shard by shard."""
        for name in self._shards():
            yield from self._read(name).to_pylist()

    def failed(self) -> Counter[str]:
        """How many rows have an error, by its kind."""
        return Counter(
            error["kind"] for table in self._tables(["error"]) for error in table["error"].to_pylist() if error
        )

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """One shard."""
        ordered = sorted(rows, key=lambda row: str(row["id"]))
        name = hashlib.sha256("\0".join(f"{row['id']}\0{row['key']}" for row in ordered).encode()).hexdigest()[:24]
        self._put(f"{self._path}/part-{name}.parquet", ordered)

    def _put(self, final: str, rows: Sequence[dict[str, Any]]) -> None:
        aside = final.removesuffix(".parquet") + ".new"
        out = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), SCHEMA), out)
        self._system.pipe_file(aside, out.getvalue().to_pybytes())
        self._system.mv(aside, final)

    def forget(self, unwanted: Callable[[Mapping[str, Any]], bool]) -> int:
        """Take rows out; returns how many."""
        forgotten = 0
        for name in self._shards():
            rows = self._read(name).to_pylist()
            kept = [row for row in rows if not unwanted(row)]
            if len(kept) < len(rows):
                forgotten += len(rows) - len(kept)
                self._put(name, kept) if kept else self._system.rm(name)
        return forgotten
