"""The verbs. Each imports what it needs when it is called; this is the only file that prints."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from ergo.core.errors import ErgoError, UsageError
from ergo.images.memory import give_freed_memory_back

Verb = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a mistake of the user prints one line and returns 2, a failed question 1."""
    args = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s")
    give_freed_memory_back()
    run: Verb = args.run
    try:
        return run(args)
    except ErgoError as error:
        _say(f"ergo: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ergo: stopped", file=sys.stderr)
        return 130


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print what may come from a model or a file: what the terminal cannot show, or would obey, is spelled out."""
    out = stream or sys.stdout
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found.group())[1:-1], text)
    encoding = out.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ergo", description="Ask vision-language models about pictures too large to look at all at once."
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say what is going on")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _ask_arguments(verbs.add_parser("ask", help="answer a question about one picture"))
    _eval_arguments(verbs.add_parser("eval", help="measure a model on a benchmark"))
    _report_arguments(verbs.add_parser("report", help="report or compare runs of eval"))
    _bench_arguments(verbs.add_parser("bench", help="time direct and two-look flows against the floor"))
    _world_arguments(verbs.add_parser("world", help="draw scenes with known truth, as a data set"))
    _data_arguments(verbs.add_parser("data", help="turn a public training set into samples worth training on"))
    _train_arguments(verbs.add_parser("train", help="train a policy by a recipe"))
    _serve_arguments(verbs.add_parser("serve", help="an OpenAI-compatible endpoint that looks twice, and its page"))
    _batch_arguments(verbs.add_parser("batch", help="the same two looks over millions of pictures"))
    return parser


# ── shared by the verbs ────────────────────────────────────────────────────────────────────────


def add_model_arguments(
    parser: argparse.ArgumentParser, flag: str = "--model", default: str | None = "ergo-tiny"
) -> None:
    """The flags that name a model. flag: what it is named for."""
    parser.add_argument(
        flag,
        dest="model",
        default=default,
        metavar="NAME",
        help="ergo-tiny (shipped), hf:NAME or hf:FOLDER (in this process), openai:URL (a server)",
    )
    parser.add_argument("--served-name", metavar="NAME", help="which of the endpoint's models")
    parser.add_argument("--api-key", metavar="KEY", help="for openai:URL")
    parser.add_argument("--adapter", metavar="NAME", help="a LoRA adapter, for hf:")
    parser.add_argument("--family", metavar="NAME", help="how the model is asked, if its name does not tell")
    parser.add_argument(
        "--force-region", action="store_true", help="hold the model to a well-formed <zoom>[...]</zoom>"
    )


def model_from(args: argparse.Namespace, **more: Any) -> Any:
    """The opened model the flags name. more: further settings for local models."""
    from ergo.backends import open_backend

    settings: dict[str, Any] = {"force_region": args.force_region}
    if args.model.startswith("openai:"):
        settings |= {"model": args.served_name, "api_key": args.api_key}
    elif args.model.startswith("scripted:"):
        settings = {}
    else:
        settings |= {"adapter": args.adapter, **more}
    return open_backend(args.model, args.family, **settings)


# ── ask ────────────────────────────────────────────────────────────────────────────────────────


def _ask_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("picture", help="a file, or a data URI")
    parser.add_argument("question")
    parser.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="answers to choose from")
    add_model_arguments(parser)
    parser.add_argument("--budget", type=int, metavar="N", help="most vision tokens of each look")
    parser.add_argument("--flow", default="coarse_to_fine", help="coarse_to_fine, one_look or crop_only")
    parser.add_argument("--region", type=int, nargs=4, metavar=("X1", "Y1", "X2", "Y2"), help="for crop_only, pixels")
    parser.add_argument("--max-tokens", type=int, default=1024, help="most tokens of each reply")
    parser.add_argument("--save", metavar="FILE", help="what was looked at, as .png or .html")
    parser.add_argument("--json", action="store_true", help="print the whole trace as JSON")
    parser.set_defaults(run=_ask)


def _ask(args: argparse.Namespace) -> int:
    from ergo.api import AskOptions, ask
    from ergo.core.flows import Question
    from ergo.core.messages import Sampling
    from ergo.images.decode import load_image

    saved = _save_target(args.save)
    region = _box(args.region) if args.region else None
    how = AskOptions(args.flow, args.budget, region, Sampling(max_tokens=args.max_tokens))
    picture = load_image(args.picture)
    trace = ask(picture, args.question, args.options, model_from(args), how)
    _say(json.dumps(_trace_row(trace), indent=2, ensure_ascii=False) if args.json else _told(trace, picture))
    if saved:
        _save_looks(saved, trace, picture, Question(args.question, tuple(args.options)))
        _say(f"saved     {saved}", sys.stderr if args.json else sys.stdout)
    return 1 if trace.error else 0


def _box(corners: Sequence[int]) -> Any:
    from ergo.core.geometry import Box

    try:
        return Box(*corners)
    except ValueError as error:
        raise UsageError(f"--region: {error}") from error


def _save_target(name: str | None) -> Path | None:
    """Checked before the model is asked, so that no answer is lost to a bad file name."""
    if name is None:
        return None
    path = Path(name)
    if path.suffix.lower() not in (".png", ".html"):
        raise UsageError(f"--save wants a .png or .html file, not {name}")
    if not path.parent.is_dir():
        raise UsageError(f"--save: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--save: {path} cannot be written")
    return path


def _save_looks(path: Path, trace: Any, picture: Any, question: Any) -> None:
    from ergo.viz.card import page_of, picture_of

    try:
        if path.suffix.lower() == ".html":
            path.write_text(page_of(trace, picture, question), encoding="utf-8", errors="xmlcharrefreplace")
        else:
            picture_of(trace, picture, question).save(path)
    except OSError as error:
        raise UsageError(f"--save: {path} could not be written: {error}") from error


def _trace_row(trace: Any) -> dict[str, Any]:
    from ergo.traces.rows import trace_to_row

    return trace_to_row(trace)


def _told(trace: Any, picture: Any) -> str:
    """The answer as a person wants it, and what it cost."""
    lines = []
    answer = trace.answer
    if trace.error:
        lines.append(f"failed    {trace.error.kind}: {trace.error}")
    else:
        lines.append(f"answer    {answer.text or '(none)'}" + _aside(answer.reading != "exact", answer.reading))
        if answer.region:
            share = answer.region.area / picture.size.area
            lines.append(f"region    {answer.region}, {share:.1%} of {picture.size} pixels" + _aside(
                answer.region_reading not in ("exact", None), answer.region_reading))  # fmt: skip
        elif answer.fallback:
            lines.append(
                f"region    none that could be read ({answer.region_reading}): looked at the whole picture again"
            )
        if answer.thought:
            lines.append(f"thought   {answer.thought}")
    if trace.turns:
        full = trace.direct_vision_tokens
        shown = " + ".join(str(sum(view.tokens for view in turn.views)) for turn in trace.turns)
        lines.append(
            f"looked    {shown} = {trace.vision_tokens} vision tokens, {trace.vision_tokens / full:.1%} of a direct look ({full})"
        )
        lines.append(f"took      {trace.seconds:.2f} s, {trace.generated_tokens} output tokens")
    return "\n".join(lines)


def _aside(shown: bool, text: object) -> str:
    return f"  ({text})" if shown else ""


# ── eval, report, bench ────────────────────────────────────────────────────────────────────────


def _eval_arguments(parser: argparse.ArgumentParser) -> None:
    from ergo.evals.command import add_eval_arguments

    add_eval_arguments(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=_eval)


def _eval(args: argparse.Namespace) -> int:
    from ergo.evals.command import run_eval

    return _print_lines(run_eval(args, model_from(args, batch=args.concurrency)))


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    from ergo.evals.command import add_report_arguments

    add_report_arguments(parser)
    parser.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    from ergo.evals.command import run_report

    return _print_lines(run_report(args))


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    from ergo.bench.command import add_bench_arguments

    add_bench_arguments(parser)
    add_model_arguments(parser)
    parser.set_defaults(run=_bench)


def _bench(args: argparse.Namespace) -> int:
    from ergo.bench.command import run_bench

    logging.getLogger("ergo").setLevel(logging.INFO)
    return _print_lines(run_bench(args, model_from(args)))


def _print_lines(lines: Iterable[str]) -> int:
    for line in lines:
        _say(line)
    return 0


# ── world ──────────────────────────────────────────────────────────────────────────────────────


def _world_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", help="folder for samples.jsonl and its pictures")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--limit", type=int, default=100, help="number of samples")
    parser.add_argument("--megapixels", type=float, nargs=2, default=(1.05, 2.0), metavar=("LEAST", "MOST"))
    parser.set_defaults(run=_world)


def _world(args: argparse.Namespace) -> int:
    from ergo.world.dataset import write

    count = write(Path(args.out), args.split, args.limit, tuple(args.megapixels))
    print(f"{count} samples in {args.out}/samples.jsonl")
    return 0


# ── data ───────────────────────────────────────────────────────────────────────────────────────


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    from ergo.data.command import add_data_arguments

    add_data_arguments(parser)
    add_model_arguments(parser, "--answerable", default=None)
    parser.set_defaults(run=_data)


def _data(args: argparse.Namespace) -> int:
    from ergo.data.command import run_data

    kept_out = (picture for name in args.against for picture in _pictures_of(name, args.data))
    model = model_from(args, batch=args.concurrency) if args.model else None
    return _print_lines(run_data(args, kept_out, model))


def _pictures_of(name: str, data: Path) -> Iterable[Any]:
    """The pictures of a folder, of a Sample JSONL, or of a benchmark."""
    from ergo.data.command import pictures_of
    from ergo.evals import benchmarks

    found = pictures_of(name)
    return (sample.image for sample in benchmarks.find(name, data).samples()) if found is None else found


# ── train ──────────────────────────────────────────────────────────────────────────────────────


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a TOML file, see recipes/")
    parser.add_argument("--out", default=None, help="run folder; the same command goes on where it stopped")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="change values of the recipe")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> int:
    from ergo import recipes
    from ergo.cli.train import train

    logging.getLogger("ergo").setLevel(logging.INFO)
    recipe = recipes.find(args.recipe)
    folder = train(recipe, Path(args.out or f"runs/{recipe.stem}"), args.set)
    print(f"checkpoint in {folder}")
    return 0


# ── serve ──────────────────────────────────────────────────────────────────────────────────────


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_arguments(parser)
    parser.add_argument("--name", default="ergo", help="under which the model is listed")
    parser.add_argument("--budget", type=int, metavar="N", help="most vision tokens of each look")
    parser.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="most tokens of each reply")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 lets nobody else in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--server-key", metavar="KEY", help="clients must send it as their API key")
    parser.add_argument(
        "--served-as", nargs="+", default=[], metavar="HOST", help="names by which clients call this server"
    )
    parser.add_argument(
        "--allow-origin", nargs="+", default=[], metavar="ORIGIN", help="web pages elsewhere that may call it"
    )
    parser.add_argument(
        "--fetch-from", nargs="+", default=[], metavar="HOST", help="hosts pictures may be fetched from"
    )
    parser.add_argument("--concurrency", type=int, default=64, metavar="N", help="most questions under way; 429 beyond")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="most questions computed together")
    parser.add_argument("--deadline", type=float, default=120.0, metavar="S", help="seconds for one question")
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> int:
    from ergo.core.errors import MissingExtra

    try:
        from ergo.serve.command import serve
    except ImportError as error:
        raise MissingExtra("ergo serve", "serve") from error
    if min(args.concurrency, args.batch, args.max_tokens) < 1 or args.deadline <= 0 or not 0 < args.port < 65536:
        raise UsageError("--queue, --batch, --max-tokens, --deadline and --port are positive, a port below 65536")
    serve(args, model_from(args, batch=args.batch), lambda line: _say(line))
    return 0


# ── batch ──────────────────────────────────────────────────────────────────────────────────────


def _batch_arguments(parser: argparse.ArgumentParser) -> None:
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
        "--concurrency", type=int, default=32, metavar="N", help="rows under way at once, in each model"
    )
    parser.add_argument("--shard", type=int, default=256, metavar="N", help="rows in an output file")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    parser.add_argument("--retry-failed", action="store_true", help="ask again what failed in earlier sessions")
    parser.set_defaults(run=_batch)


def _batch(args: argparse.Namespace) -> int:
    from ergo.core.errors import MissingExtra

    try:
        from ergo.batch.command import batch
    except ImportError as error:
        raise MissingExtra("ergo batch", "batch") from error
    return _print_lines(batch(args, lambda: model_from(args, batch=args.concurrency)))


if __name__ == "__main__":
    sys.exit(main())
