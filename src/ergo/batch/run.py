"""The drivers. Both give rows that are not done yet to Workers, and write what comes back as shards.

On this machine one Worker takes all rows in turn. A journal names the rows in progress, so that after a crash they
are suspects: each is done again alone, and one that has ended the process MAX_CRASHES times is written down as an error.
On Ray, Data's `map_batches` hands blocks of rows to a pool of actors, each a Worker with a model of its own. What
travels is the address of a picture, and where decoders open them (pictures.py), views of it. The actor writes its
block as a shard itself.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ergo.backends import Model
from ergo.batch.pictures import OpenedByDecoders
from ergo.batch.rows import BatchRow
from ergo.batch.shards import Shards
from ergo.batch.worker import BatchConfig, Worker, finished
from ergo.core.errors import BackendError, UsageError
from ergo.core.runner import Trace
from ergo.traces.progress import Progress

log = logging.getLogger(__name__)

MAX_CRASHES = 3
JOURNAL = "started.jsonl"


@dataclass(frozen=True)
class Price:
    """Of a million tokens, in any currency."""

    prompt: float
    completion: float


class Count:
    """Rows going by, as Progress."""

    def __init__(self, total: int | None, price: Price | None) -> None:
        self.total, self.price = total, price
        self.spent = Counter[str]()
        self.started = time.perf_counter()

    def add(self, spent: Mapping[str, int]) -> Progress:
        """So many more rows."""
        self.spent.update(spent)
        cost = None
        if self.price:
            cost = (self.spent["prompt"] * self.price.prompt + self.spent["completion"] * self.price.completion) / 1e6
        seconds = time.perf_counter() - self.started
        vision = self.spent["vision"]
        return Progress("", self.spent["done"], self.spent["failed"], seconds, self.total, None, vision, cost)


def spent_on(answers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """What these rows were: done and failed, and the tokens they took."""
    usages = [turn["usage"] for row in answers for turn in row["turns"]]
    return {
        "done": len(answers),
        "failed": sum(row["error"] is not None for row in answers),
        "vision": sum(row["vision_tokens"] for row in answers),
        "prompt": sum(usage["prompt_tokens"] or 0 for usage in usages),
        "completion": sum(usage["generated_tokens"] or 0 for usage in usages),
    }


class Remaining:
    """The rows of an input that are not done yet, as they go by.

    A row whose id is done, but about another picture or question, is done again; its old answer is dropped at the
    end, when the new one stands.
    """

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._done = shards.done()
        self._current: dict[str, str] = {}

    def of(self, rows: Iterable[BatchRow]) -> Iterator[BatchRow]:
        """Those of `rows` that are to do."""
        for row in rows:
            keys = self._done.get(row.id, set())
            if keys - {row.key}:
                self._current[row.id] = row.key
            if row.key not in keys:
                yield row

    def drop_outdated(self) -> None:
        """Take answers to earlier questions out."""
        if self._current:
            self._shards.forget(lambda row: self._current.get(row["id"], row["key"]) != row["key"])


# ── this machine ───────────────────────────────────────────────────────────────────────────────


def run_here(
    rows: Iterable[BatchRow],
    shards: Shards,
    worker: Worker,
    shard: int,
    total: int | None = None,
    price: Price | None = None,
) -> Iterator[Progress]:
    """shard: rows in a file. Rows in a shard already are passed over."""
    remaining, count = Remaining(shards), Count(total, price)
    journal = Journal(Path(shards.address) / JOURNAL if "://" not in shards.address else None)
    put_off: list[BatchRow] = []

    def innocent() -> Iterator[BatchRow]:
        for row in remaining.of(rows):
            if journal.suspects[row.id]:
                put_off.append(row)
            else:
                yield journal.noted(row)

    group: list[dict[str, Any]] = []
    try:
        for answer in worker.answers(innocent()):
            group.append(answer)
            if len(group) == shard:
                shards.write(group)
                group = []
            yield count.add(spent_on([answer]))
    finally:  # also where Ctrl-C ends it: what was answered is kept
        if group:
            shards.write(group)
    solitary = Worker(worker.model, worker.config, concurrency=1)
    for row in put_off if not worker.stopped else ():  # each is safe before the next begins
        ended = journal.suspects[row.id] >= MAX_CRASHES
        answered = [killed(row)] if ended else list(solitary.answers([journal.noted(row)]))
        shards.write(answered)
        yield count.add(spent_on(answered))
    remaining.drop_outdated()
    journal.close()


def killed(row: BatchRow) -> dict[str, Any]:
    """A row that ended its worker again and again."""
    error = BackendError(f"the process ended {MAX_CRASHES} times while this row was in progress", "killed_worker")
    return finished(row, Trace((), None, error))


class Journal:
    """Ids of the rows that were begun, one a line; what a session leaves behind unfinished was in progress when it died.

    path: None where there is no file of one's own (an object store): then nobody is suspected.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.suspects: Counter[str] = Counter()
        if path and path.is_file():
            for line in path.read_bytes().splitlines():
                try:
                    self.suspects[json.loads(line)] += 1
                except ValueError:
                    continue  # half a line: its writer was killed
        self._file = path.open("ab", buffering=0) if path else None

    def noted(self, row: BatchRow) -> BatchRow:
        """The row, after writing down that it begins."""
        if self._file:
            self._file.write(json.dumps(row.id).encode() + b"\n")
        return row

    def close(self) -> None:
        """All rows are done: nobody is suspected any more."""
        if self._file and self.path:
            self._file.close()
            self.path.unlink()


# ── Ray ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Fleet:
    """Actors on Ray. address: ray://HOST:10001, an address of a running cluster, or None for one on this machine.

    actors: how many. gpus, cpus: of each. concurrency: rows in progress in each.
    decoders: of each actor, with a core each, that open its pictures; 0 where it does that itself.
    """

    address: str | None
    actors: int
    concurrency: int
    gpus: float = 0.0
    cpus: float = 1.0
    decoders: int = 0


class Actor:
    """A Worker as Ray Data calls it: a block of rows in, one line about it out; the rows themselves go into a shard."""

    def __init__(
        self,
        open_model: Callable[[], Model],
        config: BatchConfig,
        concurrency: int,
        output: str,
        stop_after: int | None = None,
        decoders: int = 0,
    ) -> None:
        model = open_model()
        opener = OpenedByDecoders(decoders, model, config.look_config(model), 2 * concurrency) if decoders else None
        self._worker = Worker(model, config, concurrency, stop_after, opener)
        self._shards = Shards(output)

    def __call__(self, block: dict[str, Any]) -> dict[str, list[Any]]:
        rows = [BatchRow(**json.loads(line)) for line in block["row"]]
        answers = list(self._worker.answers(rows))
        if answers:  # none once its model has failed too often in a row
            self._shards.write(answers)
        return {name: [value] for name, value in spent_on(answers).items()}


def run_on_ray(
    rows: Iterable[BatchRow],
    shards: Shards,
    open_model: Callable[[], Model],
    config: BatchConfig,
    fleet: Fleet,
    shard: int,
    price: Price | None = None,
    stop_after: int | None = None,
) -> Iterator[Progress]:
    """The same, by a pool of actors. A block that was lost with its actor or node is done again by another."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    try:
        import ray
    except ImportError as error:
        from ergo.core.errors import MissingExtra

        raise MissingExtra("ergo batch on Ray", "batch") from error
    wanted = math.ceil(fleet.actors * (fleet.cpus + fleet.decoders))
    if not ray.is_initialized():
        try:
            cores = None if fleet.address else max(os.cpu_count() or 1, wanted)
            ray.init(fleet.address, num_cpus=cores, log_to_driver=False, configure_logging=False)
        except Exception as error:  # the boundary to Ray's start, which raises plain Exception where a node is slow
            what = f"no Ray cluster answers at {fleet.address}" if fleet.address else "Ray did not start here"
            raise UsageError(f"{what}: {' '.join(str(error).split())[:500]}") from error
    if (there := ray.cluster_resources().get("CPU", 0)) < wanted:
        log.warning("%d cores are wanted and the cluster has %d: this waits until it has grown", wanted, there)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    remaining = Remaining(shards)
    lines = [json.dumps(asdict(row)) for row in remaining.of(rows)]
    count = Count(len(lines), price)
    if not lines:
        return
    blocks = ray.data.from_items([{"row": line} for line in lines], override_num_blocks=max(1, -(-len(lines) // shard)))
    results = blocks.map_batches(
        Actor,
        fn_constructor_args=(open_model, config, fleet.concurrency, shards.address, stop_after, fleet.decoders),
        batch_size=shard,
        compute=ray.data.ActorPoolStrategy(size=fleet.actors),
        num_gpus=fleet.gpus,
        num_cpus=fleet.cpus,
    )
    for one in results.iter_rows():
        yield count.add(one)
    if count.spent["done"] < len(lines):
        left = len(lines) - count.spent["done"]
        log.warning("stopped: %s rows failed in a row in each actor, %s rows are left", stop_after, left)
    remaining.drop_outdated()
