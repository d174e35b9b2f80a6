"""The verb `batch`: flags in, lines of progress out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice

from ergo.backends import Model
from ergo.batch.rows import read_rows
from ergo.batch.run import BatchProgress, Fleet, run_here, run_on_ray
from ergo.batch.shards import Shards
from ergo.batch.worker import BatchConfig, Worker
from ergo.core.errors import UsageError

EVERY = 5.0  # seconds between two lines


def batch(args: argparse.Namespace, open_model: Callable[[], Model]) -> Iterator[str]:
    """Run the job to its end; the last line says where the rows lie."""
    if min(args.concurrency, args.shard, args.num_actors, args.max_tokens, args.limit or 1) < 1:
        raise UsageError("--in-flight, --shard, --num-actors, --max-tokens and --limit are at least 1")
    shards = Shards(args.output)
    shards.prepare()
    if args.retry_failed:
        yield f"{shards.forget_failed()} failed rows are asked again"
    rows = read_rows(args.input, args.question, args.options)
    if args.limit:
        rows = islice(rows, args.limit)
    how = BatchConfig(args.flow, args.budget, args.max_tokens)
    if args.where == "local":
        known = list(rows) if args.limit else None  # counted only where counting costs nothing
        total = len(known) - len({row.id for row in known} & shards.done()) if known is not None else None
        progress = run_here(
            known if known is not None else rows, shards, Worker(open_model(), how, args.concurrency), args.shard, total
        )
    else:
        fleet = Fleet(None if args.where == "ray" else args.where, args.num_actors, args.concurrency, args.gpus)
        progress = run_on_ray(rows, shards, open_model, how, fleet, args.shard)
    yield from _told(progress)
    yield f"rows in {args.output}"


def _told(progress: Iterator[BatchProgress]) -> Iterator[str]:
    last, told = None, time.perf_counter()
    for last in progress:
        if time.perf_counter() - told >= EVERY:
            told = time.perf_counter()
            yield _line(last)
    yield _line(last) if last else "nothing left to do"


def _line(now: BatchProgress) -> str:
    of = f" of {now.total:,}" if now.total is not None else ""
    left = f", {_time(now.left)} left" if now.left else ""
    each = now.vision_tokens / max(now.done, 1)
    failed = f", {now.failed:,} failed" if now.failed else ""
    return (
        f"{now.done:,}{of} rows, {now.rate:.1f}/s{left}{failed}; {now.vision_tokens:,} vision tokens, {each:.0f} a row"
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
