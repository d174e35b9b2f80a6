"""`ergo batch`: the same two looks over millions of pictures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import islice

from ergo.backends import Model
from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import say_all
from ergo.core.errors import MissingExtra, UsageError

try:
    from ergo.batch.rows import read_rows
    from ergo.batch.run import BatchProgress, Fleet, run_here, run_on_ray
    from ergo.batch.shards import Shards
    from ergo.batch.worker import BatchConfig, Worker
except ImportError as error:
    raise MissingExtra("ergo batch", "batch") from error

EVERY = 5.0  # seconds between two lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo batch`."""
    parser.add_argument("input", help="a folder, a glob, or a .jsonl, .csv or .parquet file; any fsspec address")
    parser.add_argument(
        "output", help="a folder of its own for Parquet shards; the same command goes on where it stopped"
    )
    add_model_arguments(parser)
    parser.add_argument("--question", help="asked about every picture; without it the table's own column")
    parser.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="answers to choose from")
    parser.add_argument("--flow", default="coarse_to_fine", choices=("coarse_to_fine", "one_look"))
    parser.add_argument("--budget", type=int, metavar="N", help="most vision tokens of each look")
    parser.add_argument("--max-tokens", type=int, default=1024, help="most tokens of each reply")
    parser.add_argument(
        "--where",
        default="local",
        metavar="PLACE",
        help="local, ray (on this machine), or a cluster's address (ray://...)",
    )
    parser.add_argument("--num-actors", type=int, default=1, metavar="N", help="models, on Ray")
    parser.add_argument("--gpus", type=float, default=0.0, metavar="N", help="of each actor, on Ray")
    parser.add_argument(
        "--concurrency", type=int, default=32, metavar="N", help="rows in progress at once, in each model"
    )
    parser.add_argument("--shard", type=int, default=256, metavar="N", help="rows in an output file")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    parser.add_argument("--retry-failed", action="store_true", help="evaluate again what failed in earlier sessions")


def run(args: argparse.Namespace) -> int:
    """Run the job, printing its progress."""
    return say_all(batch(args, lambda: model_from(args, batch=args.concurrency)))


def batch(args: argparse.Namespace, open_model: Callable[[], Model]) -> Iterator[str]:
    """Run the job to its end; the last line says where the rows lie."""
    if min(args.concurrency, args.shard, args.num_actors, args.max_tokens, args.limit or 1) < 1:
        raise UsageError("--concurrency, --shard, --num-actors, --max-tokens and --limit are at least 1")
    shards = Shards(args.output)
    shards.prepare()
    if args.retry_failed:
        yield f"{shards.forget_failed()} failed rows are evaluated again"
    rows = read_rows(args.input, args.question, args.options)
    if args.limit:
        rows = islice(rows, args.limit)
    config = BatchConfig(args.flow, args.budget, args.max_tokens)
    if args.where == "local":
        known = list(rows) if args.limit else None  # counted only where counting costs nothing
        total = len(known) - len({row.id for row in known} & shards.done()) if known is not None else None
        progress = run_here(
            known if known is not None else rows,
            shards,
            Worker(open_model(), config, args.concurrency),
            args.shard,
            total,
        )
    else:
        fleet = Fleet(None if args.where == "ray" else args.where, args.num_actors, args.concurrency, args.gpus)
        progress = run_on_ray(rows, shards, open_model, config, fleet, args.shard)
    yield from _lines(progress)
    yield f"rows in {args.output}"


def _lines(progress: Iterator[BatchProgress]) -> Iterator[str]:
    last, reported = None, time.perf_counter()
    for last in progress:
        if time.perf_counter() - reported >= EVERY:
            reported = time.perf_counter()
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
