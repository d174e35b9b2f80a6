"""Which question about which picture. A row's id depends on the input alone, so a restart knows what is done."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ergo.batch.folders import pictures_in
from ergo.core.errors import DataError, UsageError
from ergo.core.messages import whole_text
from ergo.samples.reader import ReaderConfig, Refused
from ergo.samples.reader import read_rows as read_table
from ergo.samples.sample import Sample
from ergo.samples.tables import ENDINGS, ending_of


@dataclass(frozen=True)
class BatchRow:
    """One question. address: where the picture lies, as fsspec takes it, or a data URI; a file's name need not be UTF-8.

    problem: why it cannot be answered.
    """

    id: str
    address: str
    question: str
    options: tuple[str, ...] = ()
    problem: str = ""

    def __post_init__(self) -> None:
        for name in ("id", "question", "problem"):  # Parquet and the journal are UTF-8
            object.__setattr__(self, name, whole_text(getattr(self, name)))
        try:
            os.fsencode(self.address)
        except UnicodeEncodeError:  # half a surrogate pair is no file's name either
            object.__setattr__(self, "address", whole_text(self.address))
        object.__setattr__(self, "options", tuple(whole_text(option) for option in self.options))

    @property
    def key(self) -> str:
        """What makes two rows the same work: the picture (its address, or the file inside it) and the question."""
        parts = json.dumps([self.address, self.question, self.options])
        return hashlib.sha256(parts.encode()).hexdigest()[:24]


def read_rows(source: str, question: str | None, options: Sequence[str] = ()) -> Iterator[BatchRow]:
    """Rows of `source`, streamed.

    question: for every picture; None for a table's own columns (ergo/samples/columns.py).
    A row that is not one comes with its `problem`: it is answered by an error, not left out.
    """
    if ending_of(source) is None:
        if question is None:
            raise UsageError("a folder of pictures needs --question")
        for address in pictures_in(source, ENDINGS):
            yield BatchRow(readable(address), address, question, tuple(options))
        return
    seen: set[str] = set()
    name = source.rsplit("/", 1)[-1]
    config = ReaderConfig(
        answers=False, question=question, options=tuple(options), name=lambda number: f"{name}:{number}"
    )
    for found in read_table(source, config):
        row = BatchRow(found.id, "", "", problem=found.reason) if isinstance(found, Refused) else _row(found)
        if row.id in seen:
            raise DataError(f"{source}: the id {row.id!r} stands twice")
        seen.add(row.id)
        yield row


def readable(address: str) -> str:
    r"""A file's name as UTF-8; a byte of it that is none becomes its number, so that two names stay two.

    >>> readable("caf\udce9.jpg")
    'caf\\xe9.jpg'
    """
    return address.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _row(sample: Sample) -> BatchRow:
    """A picture that came inside the table travels as a data URI."""
    image = sample.image
    if isinstance(image, bytes):
        image = f"data:image/any;base64,{base64.b64encode(image).decode()}"
    return BatchRow(sample.id, str(image), sample.question, sample.choices)
