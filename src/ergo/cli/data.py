"""`ergo data`: turn a public training set into samples worth training on."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from ergo.backends import Model
from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import say_all
from ergo.core.errors import UsageError
from ergo.data import DATASETS
from ergo.data.answerable import Examiner
from ergo.data.example import Dropped
from ergo.data.likeness import NEAR, Known
from ergo.data.prepare import REASONS, FilterConfig, kept_on_disk, prepare
from ergo.evals import benchmarks
from ergo.images.decode import PictureSource
from ergo.images.formats import SUFFIXES
from ergo.samples.sample import read_samples, sample_to_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo data`."""
    parser.add_argument("name", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER", help="where the set lies")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a Sample JSONL; a report beside it")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="WHAT",
        help="keep these pictures out: a folder, a .jsonl, a benchmark",
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="DIR", help="where benchmarks are fetched to"
    )
    parser.add_argument(
        "--budget", type=int, metavar="N", help="most vision tokens of the coarse view, for --answerable"
    )
    parser.add_argument("--words", type=int, default=5, metavar="N", help="most words of a free answer")
    parser.add_argument("--limit", type=int, metavar="N", help="stop when N samples are kept")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="samples under way at once")
    add_model_arguments(parser, "--answerable", default=None)


def run(args: argparse.Namespace) -> int:
    """Filter, then print what was dropped and why."""
    kept_out = (picture for name in args.against for picture in pictures_of(name, args.data))
    model = model_from(args, batch=args.concurrency) if args.model else None
    return say_all(run_data(args, kept_out, model))


def pictures_of(name: str, data: Path) -> Iterator[PictureSource]:
    """The pictures of a folder, of a Sample JSONL, or of a benchmark."""
    path = Path(name)
    if path.suffix == ".jsonl":
        return (sample.image for sample in read_samples(path))
    if path.is_dir():
        return (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
    return (sample.image for sample in benchmarks.find(name, data).samples())


def run_data(args: argparse.Namespace, against: Iterable[PictureSource], model: Model | None) -> Iterator[str]:
    """Read, filter, write; then what was dropped and why.

    FILE.jsonl holds what was kept, FILE.dropped.jsonl a line for each row that was not, FILE.report.json the counts.
    """
    if (args.limit is not None and args.limit < 1) or args.concurrency < 1 or args.words < 1:
        raise UsageError("--limit, --window and --words count from one")
    if args.out.suffix != ".jsonl" or not args.out.parent.is_dir():
        raise UsageError(f"--out wants a .jsonl file in a folder that is there, not {args.out}")
    known = Known(against) if args.against else None
    if known:
        yield f"{len(known.hashes)} pictures to keep out (within {NEAR} of 64 bits)"
    examiner = Examiner(model, args.budget or model.family.budget) if model else None
    counts = _write(args, FilterConfig(args.words, known, examiner, args.concurrency))
    yield from _told(args.out, counts)


def _write(args: argparse.Namespace, wanted: FilterConfig) -> Counter[str]:
    """Line by line under another name, so that a FILE.jsonl is always a whole one."""
    counts: Counter[str] = Counter()
    part = args.out.with_suffix(".part")
    dropped_file = args.out.with_suffix(".dropped.jsonl")
    decided = prepare(DATASETS[args.name](args.source), wanted)
    with part.open("w", encoding="utf-8") as kept, dropped_file.open("w", encoding="utf-8") as dropped:
        for row in decided:
            if isinstance(row, Dropped):
                counts[row.reason] += 1
                dropped.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
                continue
            counts["kept"] += 1
            kept.write(sample_to_json(kept_on_disk(row, args.out.parent, f"{args.out.stem}-pictures")) + "\n")
            if counts["kept"] == args.limit:
                break
    part.replace(args.out)
    report = {"set": args.name, "from": str(args.source), "read": counts.total(), **counts}
    args.out.with_suffix(".report.json").write_text(json.dumps(report, indent=2) + "\n")
    return counts


def _told(out: Path, counts: Counter[str]) -> Iterator[str]:
    yield f"{counts.total()} read, {counts['kept']} kept in {out}"
    for reason, count in counts.most_common():
        if reason != "kept":
            yield f"{count:7} dropped  {reason}: {REASONS[reason]}"
    if counts.total() > counts["kept"]:
        yield f"each of them: {out.with_suffix('.dropped.jsonl')}"
