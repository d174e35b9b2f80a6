"""Traces on disk: one JSON line per finished flow, written as it happens, and the run folder around it.

    RUN/config.json     {"config": what the run is, "made_with": versions, machine, commit}
    RUN/traces.jsonl    one line per finished flow, its turns inside; the file is the progress
    RUN/sessions.jsonl  one line for each time the run was worked on

A line is handed to the system with one `write`, so a run killed at any moment loses at most the line
it was writing; the half line is dropped when the run is opened again. The system is asked to put the
lines on the disk once a second: a power cut may cost that second. A line holds a whole flow because
half a conversation can neither be scored nor taken up again.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from ergo.core.errors import DataError, UsageError
from ergo.traces.provenance import environment

log = logging.getLogger(__name__)

SYNC_EVERY = 1.0
"""Seconds between two orders to put lines on the disk; one order for each line would cost more than the lines."""


class RunFolder:
    """A folder that holds one run, open for writing; one process at a time.

    Opening it with another configuration than it was begun with is refused. Rows are keyed by
    `row["key"]`; a key with an error may be written again and the last line counts.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path / ".lock", timeout=0, thread_local=False)
        try:
            self._lock.acquire()  # the system lets go of it when the process ends, however it ends
        except Timeout:
            raise UsageError(f"another process is working in {path}: wait for it, or choose another --out") from None
        try:
            self.config = _begin(path / "config.json", config)
            self._rows = path / "traces.jsonl"
            _drop_half_line(self._rows)
            self._out: IO[bytes] = self._rows.open("ab")
        except BaseException:
            self._lock.release()
            raise
        self._synced = time.monotonic()

    def done(self) -> set[str]:
        """Keys that are done: those whose last row has no error."""
        return {key for key, row in self.rows().items() if row["error"] is None}

    def rows(self) -> dict[str, dict[str, Any]]:
        """The last row of each key, in the order in which keys were first written."""
        return read_rows(self._rows)

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._out.write(_line(row))
        self._out.flush()
        if time.monotonic() - self._synced >= SYNC_EVERY:
            self._sync()

    def note(self, session: Mapping[str, Any]) -> None:
        """Append to the account of when and how fast the run was worked on."""
        with (self.path / "sessions.jsonl").open("ab") as out:
            out.write(_line(session))

    def close(self) -> None:
        if not self._out.closed:
            self._sync()
            self._out.close()
        self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sync(self) -> None:
        os.fsync(self._out.fileno())
        self._synced = time.monotonic()


def _line(row: Mapping[str, Any]) -> bytes:
    # a model may write half a surrogate pair, which has no UTF-8: it is escaped, as json does by default
    return json.dumps(row, sort_keys=True).encode("ascii") + b"\n"


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a traces.jsonl by key, the last of each; a last line still being written is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return rows
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                rows[row["key"]] = row
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}:{number} is not a row of a run ({error}); move the file away") from error
    return rows


def _begin(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the configuration, or check it against the one the run was begun with."""
    wanted = json.loads(json.dumps(dict(config)))
    now = environment()
    if not path.is_file():
        written = {"config": wanted, "made_with": now}
        new = path.with_suffix(".new")
        new.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
        new.replace(path)
        return written
    written = read_config(path.parent)
    before = written["config"]
    changed = sorted(key for key in wanted.keys() | before.keys() if wanted.get(key) != before.get(key))
    if changed:
        what = "; ".join(f"{key} was {before.get(key)!r}, is {wanted.get(key)!r}" for key in changed)
        raise UsageError(f"{path.parent} holds another run ({what}): choose another --out")
    if written["made_with"] != now:
        log.warning("%s was begun with other software or on another machine; its report names the first", path.parent)
    return written


def read_config(folder: Path) -> dict[str, Any]:
    """What a run is (`config`), and what it was begun with (`made_with`)."""
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"{folder} is not a run folder: it has no config.json")
    try:
        written = json.loads(path.read_text())
        return {"config": dict(written["config"]), "made_with": dict(written["made_with"])}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not the configuration of a run ({error!r})") from error


def read_sessions(folder: Path) -> list[dict[str, Any]]:
    """When and how fast a run was worked on; a half line is passed over."""
    path = folder / "sessions.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return [json.loads(line) for line in lines]


def _drop_half_line(path: Path) -> None:
    """Cut what a killed writer left after the last newline."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        size = file.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)
