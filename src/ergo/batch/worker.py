"""One worker: a model, and many rows in progress. It knows nothing of where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from ergo.backends import Model
from ergo.batch.rows import BatchRow
from ergo.core.errors import BackendError, PictureError
from ergo.core.flows import Flow, Question
from ergo.core.messages import Sampling
from ergo.core.runner import Trace
from ergo.images.address import open_picture
from ergo.traces.flows import start_flow
from ergo.traces.rows import trace_to_dict
from ergo.traces.run import run


@dataclass(frozen=True)
class BatchConfig:
    """How every row is evaluated. budget: vision tokens of each look; None for the model family's. max_tokens: of each reply."""

    flow: str = "coarse_to_fine"
    budget: int | None = None
    max_tokens: int = 1024


class Worker:
    """Answers rows; both looks of a row come from the same model, the second while its cache holds the first.

    concurrency: rows in progress at once, and so the most pictures decoded at once.
    stop_after: failures of the model in a row at which it takes no more rows; then `stopped` says why.
    """

    def __init__(self, model: Model, config: BatchConfig, concurrency: int, stop_after: int | None = None) -> None:
        self.model = model
        self.concurrency = concurrency
        self.config = config
        self.stop_after = stop_after
        self.stopped: str | None = None
        self._in_a_row = 0
        self._careful = model.family.careful
        self._look_config = model.look_config(config.budget, Sampling(config.max_tokens))

    def answers(self, rows: Iterable[BatchRow]) -> Iterator[dict[str, Any]]:
        """A finished row for each, as they finish; whatever is wrong with one is written in its error."""
        jobs = ((row, self._maker(row)) for row in takewhile(lambda _: not self.stopped, rows))
        for trace in run(jobs, self.model.backend, self.concurrency):
            assert isinstance(trace.tag, BatchRow)
            self._count(trace.error)
            yield finished(trace.tag, trace)

    def _count(self, error: BackendError | PictureError | None) -> None:
        """Failures of the model in a row; broken pictures are their own fault and count neither way."""
        if not isinstance(error, PictureError):
            self._in_a_row = self._in_a_row + 1 if error else 0
        if error and self._in_a_row == self.stop_after:
            self.stopped = f"{self._in_a_row} rows failed in a row; the last: {error}"

    def _maker(self, row: BatchRow) -> Callable[[], Flow]:
        def make() -> Flow:
            if row.problem:
                raise PictureError(row.problem, "bad_row")
            picture = self.model.shown(open_picture(row.address))
            question = Question(row.question, row.options)
            return self._careful(start_flow(self.config.flow, picture, question, self._look_config, None))

        return make


def finished(row: BatchRow, trace: Trace) -> dict[str, Any]:
    """A row of shards.SCHEMA: the question, and its Trace as `ergo.traces` writes it."""
    return {
        "id": row.id,
        "key": row.key,
        "picture": row.address if not row.address.startswith("data:") else "data URI",
        "question": row.question,
        **trace_to_dict(trace),
    }
