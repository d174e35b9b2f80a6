"""`ergo eval`: measure a model on a benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ergo.backends import Model
from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.report import report_lines
from ergo.cli.screen import say_all
from ergo.core.errors import UsageError
from ergo.core.messages import Sampling
from ergo.evals import benchmarks
from ergo.evals.conditions import ORDERS, Condition, Protocol, conditions, conditions_listed
from ergo.evals.run import EvalProgress, evaluate
from ergo.grading import MATCHINGS
from ergo.traces.folder import RunFolder
from ergo.traces.provenance import folder_hash

EVERY = 5.0  # seconds between two lines of progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo eval`."""
    parser.add_argument("benchmark", help=f"{', '.join(benchmarks.BENCHMARKS)}, or your own .jsonl, .csv or .tsv")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="where benchmarks are fetched to"
    )
    parser.add_argument("--split", help="test, validation or train, where there are several")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples")
    parser.add_argument("--flow", default="coarse_to_fine", metavar="FLOWS", help="coarse_to_fine,one_look,crop_only")
    parser.add_argument("--budget", metavar="N,N", help="vision tokens of each look: 640,1280,full")
    parser.add_argument(
        "--conditions", nargs="+", metavar="FLOW@N,N", help="instead of both: one_look@200,full coarse_to_fine@100"
    )
    parser.add_argument("--preset", choices=MATCHINGS, default="ours", help="prompts, decoding and match")
    parser.add_argument("--options", choices=ORDERS, default="as-is", help="order in which options are shown")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="ask everything K times")
    parser.add_argument("--mask", action="store_true", help="cover the true region before the first look")
    parser.add_argument("--max-tokens", type=int, default=1024, help="most tokens of each reply")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--concurrency", type=int, default=16, metavar="N", help="samples at once")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder; the same command goes on where it stopped")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, then print the report."""
    return say_all(run_eval(args, model_from(args, batch=args.concurrency)))


def run_eval(args: argparse.Namespace, model: Model) -> Iterator[str]:
    """Ask, then report: lines of progress, then the table. args.model: the name the user gave the model."""
    if (args.limit is not None and args.limit < 1) or args.concurrency < 1:
        raise UsageError("--limit and --window count samples, at least one")
    data = benchmarks.find(args.benchmark, args.data, args.split, args.limit)
    if args.conditions and (args.budget or args.flow != "coarse_to_fine"):
        raise UsageError("--conditions names flows with their budgets: leave --flow and --budget out")
    listed = conditions_listed(args.conditions) if args.conditions else None
    chosen = listed or conditions(args.flow, args.budget or str(model.family.budget))
    sampling = Sampling(max_tokens=args.max_tokens, temperature=args.temperature)
    protocol = Protocol(args.preset, args.options, args.seeds, args.mask, sampling)
    out = args.out or Path("runs") / f"{Path(data.name).stem}-{_plain(args.model)}"
    with RunFolder(out, _config(args, data, model, chosen)) as folder:
        yield from _told(evaluate(data.samples, chosen, protocol, model, folder, args.concurrency))
    yield from report_lines(out)


def _config(
    args: argparse.Namespace, data: benchmarks.DataSet, model: Model, chosen: tuple[Condition, ...]
) -> dict[str, Any]:
    """What a run is: change any of it, and it is another run. The window is not: it changes no answer."""
    folder = Path(model.name)
    return {
        "benchmark": data.name,
        "split": data.split,
        "limit": data.limit,
        "model": args.model,
        "model_name": model.name,
        "model_hash": folder_hash(folder) if folder.is_dir() else None,
        "adapter": getattr(args, "adapter", None),
        "force_region": getattr(args, "force_region", False),
        "family": model.family.name,
        "patch": model.patch,
        "conditions": [condition.name for condition in chosen],
        "preset": args.preset,
        "options": args.options,
        "seeds": args.seeds,
        "mask": args.mask,
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
    }


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name).strip("-")


def _told(progress: Iterator[EvalProgress]) -> Iterator[str]:
    """Every few seconds, and at the end of each condition."""
    last: EvalProgress | None = None
    told = 0.0
    for now in progress:
        if last and last.condition != now.condition:
            yield _line(last)
            told = 0.0
        elif now.seconds - told >= EVERY:
            yield _line(now)
            told = now.seconds
        last = now
    if last:
        yield _line(last)


def _line(now: EvalProgress) -> str:
    failed = f", {now.failed} failed" if now.failed else ""
    return (
        f"{now.condition.name}: {now.done} asked, {now.right / now.done:.1%} right{failed}, "
        f"{now.done / max(now.seconds, 1e-9):.1f}/s"
    )
