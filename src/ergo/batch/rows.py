"""Which question about which picture. A row's id depends on the input alone, so a restart knows what is done."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import fsspec

from ergo.core.errors import DataError, UsageError
from ergo.samples.reader import Refused, Wanted
from ergo.samples.reader import read_rows as read_table
from ergo.samples.sample import Sample
from ergo.samples.tables import ENDINGS, ending_of

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".jp2")


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

    question: for every picture; None for a table's own columns (ergo/samples/columns.py).
    A row that is not one comes with its `problem`: it is answered by an error, not left out.
    """
    if ending_of(source) is None:
        if question is None:
            raise UsageError("a folder of pictures needs --question")
        yield from (BatchRow(address, address, question, tuple(options)) for address in _pictures(source))
        return
    seen: set[str] = set()
    name = source.rsplit("/", 1)[-1]
    wanted = Wanted(answers=False, question=question, options=tuple(options), name=lambda number: f"{name}:{number}")
    for found in read_table(source, wanted):
        row = BatchRow(found.id, "", "", problem=found.reason) if isinstance(found, Refused) else _row(found)
        if row.id in seen:
            raise DataError(f"{source}: the id {row.id!r} stands twice")
        seen.add(row.id)
        yield row


def _row(sample: Sample) -> BatchRow:
    """A picture that came inside the table travels as a data URI."""
    image = sample.image
    if isinstance(image, bytes):
        image = f"data:application/octet-stream;base64,{base64.b64encode(image).decode()}"
    return BatchRow(sample.id, str(image), sample.question, sample.choices)


def _pictures(source: str) -> list[str]:
    """A glob, or every picture under a folder; sorted, with their full addresses."""
    system, path = fsspec.core.url_to_fs(source)
    glob = any(sign in path for sign in "*?[")
    found = system.glob(path) if glob else system.find(path) if system.isdir(path) else [path]
    pictures = sorted(system.unstrip_protocol(one) for one in found if glob or one.lower().endswith(PICTURES))
    pictures = [one.removeprefix("file://").removeprefix("local://") for one in pictures]
    if not pictures or not system.exists(found[0]):
        raise DataError(f"{source} holds no pictures; it may be a folder, a glob, or a {', '.join(ENDINGS)} file")
    return pictures
