"""Turn a public training set into samples worth training on: answerable, not in a benchmark, with a region."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, note, say
from ergo.core.errors import UsageError
from ergo.data import DATASETS, PUBLISHED

if TYPE_CHECKING:
    from ergo.images.decode import PictureSource

EXAMPLES = """\
  ergo data visual_probe --from VisualProbe --out train.jsonl --against vstar hrbench_4k
  ergo data jsonl --from train.jsonl --out hard.jsonl --answerable ergo-tiny --limit 1000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo data`."""
    parser.add_argument("name", choices=tuple(DATASETS), metavar="NAME", help=", ".join(DATASETS))
    parser.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER", help="where the set lies")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a Sample JSONL; a report beside it")
    parser.add_argument(
        "--against",
        nargs="+",
        default=[],
        metavar="WHAT",
        help="keep these pictures out: a folder, a .jsonl, a benchmark (default: none)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="where benchmarks are fetched to (default: %(default)s)",
    )
    parser.add_argument(
        "--words", type=int, default=5, metavar="N", help="most words of a free answer (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="stop when N samples are kept (default: keep all)")
    parser.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="most vision tokens of the coarse view, for --answerable (default: the model family's)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=8, metavar="N", help="samples at once (default: %(default)s)"
    )
    add_model_arguments(parser, "--answerable", default="")


def run(args: argparse.Namespace) -> int:
    """Read, filter, write; then what was dropped and why."""
    from ergo.data.answerable import Examiner
    from ergo.data.files import write
    from ergo.data.likeness import NEAR, Known
    from ergo.data.prepare import REASONS, FilterConfig

    if (args.limit is not None and args.limit < 1) or args.concurrency < 1 or args.words < 1:
        raise UsageError("--limit, --concurrency and --words count from one")
    if args.out.suffix != ".jsonl" or not args.out.parent.is_dir():
        raise UsageError(f"--out wants a .jsonl file in a folder that is there, not {args.out}")
    model = model_from(args, batch_size=args.concurrency) if args.model else None
    known = Known(picture for name in args.against for picture in pictures_of(name, args.data))
    if args.against:
        note(f"{len(known.hashes)} pictures to keep out (within {NEAR} of 64 bits)")
    examiner = Examiner(model, args.budget or model.family.budget) if model else None
    config = FilterConfig(args.words, known if args.against else None, examiner, args.concurrency)
    found = write(args.name, args.source, args.out, config, args.limit)
    counts = found.counts
    reduced = f", {found.reduced} of them with an answer reduced from a sentence" if found.reduced else ""
    say(f"{counts.total()} read, {counts['kept']} kept in {args.out}{reduced}")
    if args.name in PUBLISHED:
        size = PUBLISHED[args.name]
        say(
            f"expected yield: {found.share:.0%}, about {round(size * found.share / 100) * 100:,} of the published {size:,} rows"
        )
    for reason, count in counts.most_common():
        if reason != "kept":
            say(f"{count:7} dropped  {reason}: {REASONS[reason]}")
    if counts.total() > counts["kept"]:
        say(f"each of them: {args.out.with_suffix('.dropped.jsonl')}")
    return ALL_ANSWERED


def pictures_of(name: str, data: Path) -> Iterator[PictureSource]:
    """The pictures of a folder, of a Sample JSONL, or of a benchmark."""
    from ergo.evals import benchmarks
    from ergo.images.formats import SUFFIXES
    from ergo.samples.reader import read_samples

    path = Path(name)
    if path.suffix == ".jsonl":
        return (sample.image for sample in read_samples(path))
    if path.is_dir():
        return (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
    return (sample.image for sample in benchmarks.find(name, data).samples())
