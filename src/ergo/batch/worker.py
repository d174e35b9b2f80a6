"""One worker: a model, and many rows in progress. It knows nothing of where it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ergo.backends import Model
from ergo.batch.pictures import OpenedHere, Opener, ViewsAhead, ahead
from ergo.batch.rows import BatchRow, readable
from ergo.core.errors import BackendError, PictureError
from ergo.core.flows import Flow, LookConfig, Question
from ergo.core.messages import Sampling
from ergo.core.runner import Trace
from ergo.core.view import SourcePicture
from ergo.traces.flows import start_flow
from ergo.traces.rows import trace_to_dict
from ergo.traces.run import run


@dataclass(frozen=True)
class BatchConfig:
    """How every row is evaluated. budget: vision tokens of each look; None for the model family's. max_tokens: of each reply."""

    flow: str = "coarse_to_fine"
    budget: int | None = None
    max_tokens: int = 1024

    def look_config(self, model: Model) -> LookConfig:
        """The same for this model."""
        return model.look_config(self.budget, Sampling(self.max_tokens))


class Worker:
    """Answers rows; both looks of a row come from the same model, the second while its cache holds the first.

    A server is asked by a thread for each row, which opens its own picture. A model in this process answers in
    batches: as many pictures as it has in progress are opened ahead of it, and views cut, by threads beside it.

    concurrency: rows in progress at once.
    stop_after: failures of the model in a row at which it takes no more rows; then `stopped` says why.
    opener: opens pictures elsewhere.
    """

    def __init__(
        self,
        model: Model,
        config: BatchConfig,
        concurrency: int,
        stop_after: int | None = None,
        opener: Opener | None = None,
    ) -> None:
        self.model = model
        self.concurrency = concurrency
        self.config = config
        self.stop_after = stop_after
        self.stopped: str | None = None
        self._in_a_row = 0
        self._careful = model.family.careful
        self._opener = opener
        self._look_config = config.look_config(model)

    def answers(self, rows: Iterable[BatchRow]) -> Iterator[dict[str, Any]]:
        """A finished row for each, as they finish; whatever is wrong with one is written in its error."""
        backend, before, pool = self.model.backend, 0, None
        if not backend.parallel:
            before, pool = self.concurrency, ThreadPoolExecutor(min(self.concurrency, os.cpu_count() or 1))
            backend = ViewsAhead(backend, pool)
        opener = self._opener or OpenedHere(self.model, pool)
        opened = ((row, None if row.problem else opener(row)) for row in rows)
        jobs = ((row, self._maker(row, opening)) for row, opening in ahead(opened, before))
        try:
            for trace in run(takewhile(lambda _: not self.stopped, jobs), backend, self.concurrency):
                assert isinstance(trace.tag, BatchRow)
                self._count(trace.error)
                yield finished(trace.tag, trace)
        finally:
            if pool:
                pool.shutdown(wait=False, cancel_futures=True)

    def _count(self, error: BackendError | PictureError | None) -> None:
        """Failures of the model in a row; broken pictures are their own fault and count neither way."""
        if not isinstance(error, PictureError):
            self._in_a_row = self._in_a_row + 1 if error else 0
        if error and self._in_a_row == self.stop_after:
            self.stopped = f"{self._in_a_row} rows failed in a row; the last: {error}"

    def _maker(self, row: BatchRow, opening: Callable[[], SourcePicture] | None) -> Callable[[], Flow]:
        def make() -> Flow:
            if opening is None:
                raise PictureError(row.problem, "bad_row")
            question = Question(row.question, row.options)
            return self._careful(start_flow(self.config.flow, opening(), question, self._look_config, None))

        return make


def finished(row: BatchRow, trace: Trace) -> dict[str, Any]:
    """A row of shards.SCHEMA: the question, and its Trace as `ergo.traces` writes it."""
    return {
        "id": row.id,
        "key": row.key,
        "picture": readable(row.address) if not row.address.startswith("data:") else "data URI",
        "question": row.question,
        **trace_to_dict(trace),
    }
