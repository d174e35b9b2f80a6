"""Time one look against two on the same pictures, alternated, beside what the hardware allows."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, SOME_FAILED, say
from ergo.core.errors import DataError, UsageError

if TYPE_CHECKING:
    from ergo.backends import Model
    from ergo.bench.measure import Bench, Measured
    from ergo.bench.roofline import ModelShape, Rates, Roofline
    from ergo.evals.conditions import Condition

EXAMPLES = """\
  ergo bench --rounds 3 --megapixels 2
  ergo bench --model openai:http://localhost:8000/v1 --stream --config config.json --rates 790 3.35 --save bench.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo bench`."""
    parser.add_argument(
        "--budget", metavar="N", help="vision tokens of each of the two looks (default: the model family's)"
    )
    parser.add_argument(
        "--direct", default="full", metavar="N", help="vision tokens of the one look (default: %(default)s)"
    )
    parser.add_argument(
        "--output-tokens",
        type=int,
        nargs=2,
        default=(100, 100),
        metavar="N",
        help="tokens of the two replies (default: 100 100)",
    )
    parser.add_argument(
        "--direct-output-tokens",
        type=int,
        default=100,
        metavar="N",
        help="tokens of the direct reply (default: %(default)s)",
    )
    parser.add_argument(
        "--megapixels", type=float, default=4.0, metavar="N", help="size of the pictures (default: %(default)g)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="of A B, one request at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=8,
        metavar="N",
        help="requests at once, for throughput (default: %(default)s)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="config.json of a served model, for its roofline (default: a local model's own)",
    )
    parser.add_argument(
        "--rates",
        type=float,
        nargs=2,
        metavar=("TFLOPS", "TBS"),
        help="of a server's machine, for the roofline (default: measured here for a local model)",
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="all figures, as JSON (default: not saved)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measure, then print the figures."""
    logging.getLogger("ergo").setLevel(logging.INFO)
    return run_bench(args, model_from(args, batch_size=args.concurrency))


def run_bench(args: argparse.Namespace, model: Model) -> int:
    """The steps go to the log, the figures to stdout."""
    from ergo.bench.measure import Plan, bench

    if min(*args.output_tokens, args.direct_output_tokens) < 1:
        raise UsageError("replies are at least one token long")

    shape, rates = _physics(args, model)
    plans = (
        Plan(_condition("one_look", args.direct), (args.direct_output_tokens,)),
        Plan(_condition("coarse_to_fine", args.budget or str(model.family.budget)), tuple(args.output_tokens)),
    )
    log = logging.getLogger(__name__).info
    result = bench(model, plans, args.megapixels, args.rounds, args.concurrency, shape, rates, log)
    if args.save:
        args.save.write_text(json.dumps(result.to_json() | {"model": args.model}, indent=2) + "\n")
    say(as_text(result))
    return SOME_FAILED if result.first.failed or result.second.failed else ALL_ANSWERED


def _condition(flow: str, budget: str) -> Condition:
    from ergo.evals.conditions import conditions

    chosen = conditions(flow, budget)
    if len(chosen) != 1:
        raise UsageError("ergo bench compares one direct look with one pair of looks: give one budget each")
    return chosen[0]


def _physics(args: argparse.Namespace, model: Model) -> tuple[ModelShape | None, Rates | None]:
    """Model and machine, as far as they are known: from the model in this process, or as stated."""
    from ergo.bench.roofline import ModelShape, Rates, measured_rates

    weights = getattr(model.backend, "model", None)
    local = hasattr(weights, "config")
    if args.config:
        shape: ModelShape | None = ModelShape.of(_read(args.config))
    else:
        shape = (
            ModelShape.of(weights.config.to_dict(), weights.dtype.itemsize) if local and weights is not None else None
        )
    if args.rates:
        return shape, Rates(args.rates[0] * 1e12, args.rates[1] * 1e12)
    if local and weights is not None:
        return shape, measured_rates(str(weights.device), str(weights.dtype).removeprefix("torch."))
    return shape, None


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not the config.json of a model ({error})") from error


def as_text(result: Bench) -> str:
    """The figures as text. Ratios say of what."""
    first, second = result.first, result.second
    ratio, low, high = result.latency_ratio
    lines = [f"pictures of {result.megapixels:g} megapixels (JPEG), one after the other, A B A B"]
    for measured in (first, second):
        lines += _lines(measured, result.concurrency)
    if result.rates:
        lines.append(
            f"machine: {result.rates.flops / 1e12:.3g} TFLOP/s of matrix work, {result.rates.bandwidth / 1e9:.3g} GB/s"
        )
    else:
        lines.append("roofline: not known, for the model runs elsewhere; state --config and --rates")
    lines.append(f"latency, {second.condition} over {first.condition}: x {ratio:.3f} [{low:.3f}, {high:.3f}]")
    lines.append(
        f"throughput at {result.concurrency} at once, {second.condition} over {first.condition}: x {result.throughput_ratio:.3f}"
    )
    return "\n".join(lines)


def _lines(measured: Measured, concurrency: int) -> list[str]:
    evaluated = " + ".join(str(number) for number in measured.requested_output_tokens)
    got = " + ".join(f"{number:.1f}" for number in measured.measured_output_tokens)
    cached = "" if measured.cached_tokens is None else f", {measured.cached_tokens:,.0f} of the prompt cached"
    parts = ", ".join(
        f"{name} {'?' if seconds is None else f'{seconds:.3f}'}"
        for name, seconds in measured.latency.items()
        if name != "total"
    )
    lines = [
        f"\n{measured.condition}: {measured.vision_tokens:,.0f} vision tokens{cached}; output tokens {got} (requested {evaluated})",
        f"  latency     {measured.latency['total']:.3f} s mean, {measured.median:.3f} s median of {len(measured.rounds)}: {parts}",
        *_roofline("latency", measured.latency_roofline),
        f"  throughput  {' and '.join(f'{rate:.2f}' for rate in measured.throughput)} samples/s, {concurrency} at once",
        *_roofline("throughput", measured.throughput_roofline),
    ]
    if measured.failed:
        lines.append(f"  failed      {measured.failed} of {measured.failed + len(measured.rounds)}, in no figure")
    return lines


def _roofline(what: str, roofline: Roofline | None) -> list[str]:
    if roofline is None:
        return []
    text = f"vision {roofline.vision:.4f}, prefill {roofline.prefill:.4f}, decode {roofline.decode:.4f}"
    return [f"  roofline    {roofline.total:.4f} s per sample of {what}: {text}"]
