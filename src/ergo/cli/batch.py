"""The same two looks over millions of pictures, here or on Ray, into Parquet; the same command goes on where it stopped."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, SOME_FAILED, follow, note, say
from ergo.core.errors import MissingExtra, UsageError
from ergo.samples.tables import ending_of
from ergo.traces.flows import FLOWS

if TYPE_CHECKING:
    from ergo.backends import Model

EXAMPLES = """\
  ergo batch photos/ answers/ --question "Is there a person?" --options yes no
  ergo batch s3://bucket/rows.jsonl s3://bucket/answers --where ray --num-actors 8 --gpus 1 --model hf:nota-ai/ERGO-7B
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo batch`."""
    parser.add_argument("input", help="a folder, a glob, or a table (.jsonl, .csv, .tsv, .parquet); any fsspec address")
    parser.add_argument("output", help="a folder of its own for Parquet shards, at any fsspec address")
    parser.add_argument(
        "--question", metavar="TEXT", help="asked about every picture (default: the table's own column)"
    )
    parser.add_argument(
        "--options",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="answers to choose from (default: the table's own column, or a free answer)",
    )
    parser.add_argument(
        "--flow",
        default="coarse_to_fine",
        choices=tuple(flow for flow in FLOWS if flow != "crop_only"),
        help="how to look (default: %(default)s)",
    )
    parser.add_argument(
        "--budget", type=int, metavar="N", help="most vision tokens of each look (default: the model family's)"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=1024,
        metavar="N",
        help="most output tokens of each reply (default: %(default)s)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=32, metavar="N", help="rows at once, in each model (default: %(default)s)"
    )
    parser.add_argument(
        "--shard", type=int, default=256, metavar="N", help="rows in an output file (default: %(default)s)"
    )
    parser.add_argument(
        "--stop-after",
        type=int,
        default=50,
        metavar="N",
        help="failures of the model in a row at which to stop (default: %(default)s)",
    )
    parser.add_argument(
        "--price",
        type=float,
        nargs=2,
        metavar=("IN", "OUT"),
        help="of a million prompt and a million output tokens: progress then shows the cost (default: none)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows (default: all)")
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask again what failed in earlier sessions (default: no)"
    )
    ray = parser.add_argument_group("on Ray")
    ray.add_argument(
        "--where",
        default="local",
        metavar="PLACE",
        help="local, ray (on this machine), or a cluster's address, ray://HOST:10001 (default: %(default)s)",
    )
    ray.add_argument("--num-actors", type=int, default=1, metavar="N", help="models (default: %(default)s)")
    ray.add_argument(
        "--decoders",
        type=int,
        default=0,
        metavar="N",
        help="cores of each actor, anywhere in the cluster, that open its pictures (default: it does so itself)",
    )
    ray.add_argument("--gpus", type=float, default=0.0, metavar="N", help="of each actor (default: %(default)g)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the job."""
    return batch(args, lambda: model_from(args, batch_size=args.concurrency))


def batch(args: argparse.Namespace, open_model: Callable[[], Model]) -> int:
    """Progress on stderr; the last line says where the rows lie."""
    try:
        from ergo.batch.rows import read_rows
        from ergo.batch.run import Fleet, Price, Remaining, run_here, run_on_ray
        from ergo.batch.shards import Shards
        from ergo.batch.worker import BatchConfig, Worker
    except ImportError as error:
        raise MissingExtra("ergo batch", "batch") from error
    if (
        min(
            args.concurrency,
            args.shard,
            args.num_actors,
            args.max_tokens,
            args.stop_after,
            1 if args.limit is None else args.limit,
        )
        < 1
    ):
        raise UsageError("--concurrency, --shard, --num-actors, --max-tokens, --stop-after and --limit are at least 1")
    for name in ("input", "output", "question"):
        if (given := getattr(args, name)) is not None and not given.strip():
            raise UsageError(f"{name} is empty")
    if args.decoders < 0 or not 0 <= args.gpus < math.inf:
        raise UsageError("--decoders and --gpus are at least 0")
    if args.price and not all(0 <= price < math.inf for price in args.price):
        raise UsageError("--price is of a million tokens, prompt and completion: two numbers of at least 0")
    rows = read_rows(args.input, args.question, args.options)
    if ending_of(args.input) is None or args.limit:
        rows = iter(known := list(islice(rows, args.limit)))  # counted where counting costs nothing
    else:
        known = None
    shards = Shards(args.output)
    shards.begin(job_of(args))
    with shards.alone():
        if args.retry_failed:
            note(f"failed rows that are asked again: {shards.forget(lambda row: row['error'] is not None):,}")
        config = BatchConfig(args.flow, args.budget, args.max_tokens)
        price = Price(*args.price) if args.price else None
        remaining = Remaining(shards)
        left = remaining.of(read_rows(args.input, args.question, args.options) if known is None else known)
        stopped = None
        if next(left, None) is None:  # no model is opened for it
            remaining.drop_outdated()
            note("nothing left to do")
        elif args.where == "local":
            total = 1 + sum(1 for _ in left) if known is not None else None
            worker = Worker(open_model(), config, args.concurrency, args.stop_after)
            follow(run_here(rows, shards, worker, args.shard, total, price))
            stopped = worker.stopped
        else:
            address = None if args.where == "ray" else args.where
            fleet = Fleet(address, args.num_actors, args.concurrency, args.gpus, decoders=args.decoders)
            follow(run_on_ray(rows, shards, open_model, config, fleet, args.shard, price, args.stop_after))
        failed = shards.failed()
        if stopped:
            note(f"stopped: {stopped}")
        if failed:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in failed.most_common())
            note(f"rows with an error: {failed.total():,} ({kinds}); --retry-failed asks them again")
        say(f"rows in {args.output}")
        return SOME_FAILED if failed or stopped else ALL_ANSWERED


def job_of(args: argparse.Namespace) -> dict[str, Any]:
    """What makes a row's answer: two jobs that differ here do not share a folder."""
    names = ("input", "question", "options", "flow", "budget", "max_tokens", "model", "served_name", "adapter", "family",
             "dtype", "quantization", "force_region", "resize", "server", "detail", "extra_body", "generation",
             "attention")  # fmt: skip
    job = {name: getattr(args, name) for name in names if hasattr(args, name)}
    return job if args.colours == "srgb" else {**job, "colours": args.colours}
