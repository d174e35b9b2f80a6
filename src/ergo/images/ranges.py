"""Parts of a file by their offsets: on disk, in memory, or at an address that answers range requests."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Span = tuple[int, int]
"""First byte, and the one after the last."""


class Ranges(Protocol):
    """A file of which parts are read. Threads may read at once.

    read_ranges: the bytes of each span, in order; shorter where the file ends. PictureError where it cannot be read.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    def read_ranges(self, spans: Sequence[Span]) -> list[bytes]: ...


@dataclass(frozen=True)
class BytesOnDisk:
    """A file, opened anew for each call: nothing stays open behind a picture that nobody asks for again."""

    path: Path
    name: str
    size: int

    def read_ranges(self, spans: Sequence[Span]) -> list[bytes]:
        found = []
        with self.path.open("rb") as file:
            for start, end in spans:
                file.seek(start)
                found.append(file.read(end - start))
        return found


@dataclass(frozen=True)
class BytesInMemory:
    """A file that is here as a whole."""

    content: bytes = field(repr=False)
    name: str

    @property
    def size(self) -> int:
        return len(self.content)

    def read_ranges(self, spans: Sequence[Span]) -> list[bytes]:
        return [self.content[start:end] for start, end in spans]


BLOCK = 1 << 16
"""Bytes read at once while a file's structure is read: what a COG begins with fits in one or two."""
GAP = 1 << 14
"""Bytes between two wanted parts up to which reading on is cheaper than asking again."""
_KEPT = 64  # blocks


class RangeFile(io.RawIOBase):
    """A file to seek and read in, over ranges: for libraries that read a file's structure. Keeps the last 4 MiB."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges, self._at, self.name = ranges, 0, ranges.name
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let go of what it reads from, whoever still holds this file."""
        super().close()
        self._blocks.clear()
        self.__dict__.pop("_ranges", None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._ranges.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._ranges.size if size is None or size < 0 else min(self._at + size, self._ranges.size)
        if end <= self._at:
            return b""
        wanted = range(self._at // BLOCK, (end - 1) // BLOCK + 1)
        with self._lock:
            found = {number: self._blocks[number] for number in wanted if number in self._blocks}
            missing = [number for number in wanted if number not in found]
            for first, last in _runs(missing):
                [data] = self._ranges.read_ranges([(first * BLOCK, min((last + 1) * BLOCK, self._ranges.size))])
                for number in range(first, last + 1):
                    start = (number - first) * BLOCK
                    found[number] = self._blocks[number] = data[start : start + BLOCK]
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        joined = b"".join(found[number] for number in wanted)
        start = self._at - wanted[0] * BLOCK
        piece = joined[start : start + end - self._at]
        self._at += len(piece)
        return piece

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        piece = self.read(len(view))
        view[: len(piece)] = piece
        return len(piece)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers in rising order as first and last of each unbroken run."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def read_parts(ranges: Ranges, spans: Sequence[Span]) -> list[bytes]:
    """The bytes of each span; those that lie close together are read as one."""
    order = sorted(range(len(spans)), key=lambda one: spans[one][0])
    merged: list[Span] = []
    for one in order:
        start, end = spans[one]
        if merged and start - merged[-1][1] <= GAP:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    blocks = ranges.read_ranges(merged)
    parts, at = [b""] * len(spans), 0
    for one in order:
        start, end = spans[one]
        while start >= merged[at][1] and at + 1 < len(merged) and start >= merged[at + 1][0]:
            at += 1
        offset = start - merged[at][0]
        parts[one] = blocks[at][offset : offset + end - start]
    return parts
