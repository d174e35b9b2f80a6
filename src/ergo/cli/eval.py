"""Measure a model on a benchmark, or on samples of your own, under one or several ways of looking."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ergo.backends import Model
from ergo.cli.model import add_model_arguments, add_sampling_arguments, model_from
from ergo.cli.report import print_report
from ergo.cli.screen import ALL_ANSWERED, SOME_FAILED, follow
from ergo.core.errors import UsageError
from ergo.core.messages import Sampling
from ergo.evals import benchmarks
from ergo.evals.conditions import ORDERS, Condition, Protocol, conditions, conditions_listed
from ergo.evals.run import evaluate
from ergo.grading import MATCHINGS
from ergo.traces.flows import FLOWS
from ergo.traces.folder import RunFolder
from ergo.traces.provenance import folder_hash

EXAMPLES = """\
  ergo eval world --model ergo-tiny --limit 50
  ergo eval vstar --model openai:http://localhost:8000/v1 --conditions one_look@1280,full coarse_to_fine@640
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo eval`."""
    parser.add_argument("benchmark", help=f"{', '.join(benchmarks.BENCHMARKS)}, or your own .jsonl, .csv or .tsv")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="where benchmarks are fetched to (default: %(default)s)",
    )
    parser.add_argument("--split", help="test, validation or train, where there are several (default: the first)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N samples (default: all)")
    parser.add_argument(
        "--flow", metavar="FLOWS", help=f"one or several of {','.join(FLOWS)} (default: coarse_to_fine)"
    )
    parser.add_argument(
        "--budget", metavar="N,N", help="vision tokens of each look, as 640,1280,full (default: the model family's)"
    )
    parser.add_argument(
        "--conditions",
        nargs="+",
        metavar="FLOW@N,N",
        help="instead of both, as one_look@200,full coarse_to_fine@100 (default: --flow with --budget)",
    )
    parser.add_argument(
        "--preset", choices=MATCHINGS, default="ours", help="prompts, decoding and match (default: %(default)s)"
    )
    parser.add_argument(
        "--option-order",
        choices=ORDERS,
        default="as-is",
        help="how options are ordered; circular asks once for each place of the right one (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, metavar="K", help="ask everything K times (default: %(default)s)"
    )
    parser.add_argument(
        "--released-pixels",
        action="store_true",
        help="with --preset published: size, cut and scale views as the released code does, past the budget (default: no)",
    )
    parser.add_argument("--mask", action="store_true", help="cover the true region before the first look (default: no)")
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="samples at once (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="run folder; the same command goes on where it stopped (default: runs/BENCHMARK-MODEL)",
    )
    add_sampling_arguments(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, then print the report."""
    return evaluate_and_report(args, model_from(args, batch_size=args.concurrency))


def evaluate_and_report(args: argparse.Namespace, model: Model) -> int:
    """Progress on stderr, then the table. args.model: the name the user gave the model."""
    if (args.limit is not None and args.limit < 1) or args.concurrency < 1:
        raise UsageError("--limit and --concurrency count samples, at least one")
    if args.conditions and (args.budget or args.flow):
        raise UsageError("--conditions names flows with their budgets: leave --flow and --budget out")
    data = benchmarks.find(args.benchmark, args.data, args.split, args.limit)
    listed = conditions_listed(args.conditions) if args.conditions else None
    chosen = listed or conditions(args.flow or "coarse_to_fine", args.budget or str(model.family.budget))
    sampling = Sampling(max_tokens=args.max_tokens, temperature=args.temperature)
    protocol = Protocol(args.preset, args.option_order, args.seeds, args.mask, args.released_pixels, sampling)
    out = args.out or Path("runs") / f"{Path(data.name).stem}-{_plain(args.model)}"
    with RunFolder(out, _config(args, data, model, chosen)) as folder:
        failed = follow(evaluate(data.samples, chosen, protocol, model, folder, args.concurrency))
    print_report(out)
    return SOME_FAILED if failed else ALL_ANSWERED


def _config(
    args: argparse.Namespace, data: benchmarks.DataSet, model: Model, chosen: tuple[Condition, ...]
) -> dict[str, Any]:
    """What a run is: change any of it, and it is another run. The concurrency is not: it changes no answer."""
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
        "option_order": args.option_order,
        "seeds": args.seeds,
        "mask": args.mask,
        **({"released_pixels": True} if args.released_pixels else {}),
        **({"resize": "fast"} if model.fast else {}),
        **({"colours": model.colours} if model.colours != "srgb" else {}),
        "max_tokens": args.max_tokens,
        "temperature": args.temperature,
        "top_p": Sampling().top_p,
        "settings": dict(model.settings),
    }


def _plain(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name).strip("-")
