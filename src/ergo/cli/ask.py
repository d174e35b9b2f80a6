"""Answer questions about pictures, looking twice: the whole picture at a low budget, then the region that matters."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ergo.cli.model import add_model_arguments, add_sampling_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, SOME_FAILED, say
from ergo.core.errors import UsageError
from ergo.traces.flows import FLOWS

if TYPE_CHECKING:
    from ergo.api import Inquiry, Result
    from ergo.traces.answers import Remark

REMARKS: dict[Remark, str] = {
    "empty": "the model's last reply holds no answer",
    "cut": "the reply ended at --max-tokens before its answer: give it more",
    "refused": "the provider declined to answer",
    "cannot_tell": "no answer was given, for the model could not tell",
    "no_option": "this is none of the options, or more than one",
}
"""What `Result.remark` means; the first three are no answer, and the exit status is 1."""

EXAMPLES = """\
  ergo ask plate.jpg "What is the number plate of the rocket?"
  ergo ask photo.jpg "What colour is the boat?" --options red blue --model openai:http://localhost:8000/v1
  ergo ask a.jpg b.jpg -q "How many people?" -q "Is it day or night?" --json
  echo "What does the label say?" | ergo ask scan.tif - --budget 1280 --save look.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo ask`."""
    parser.usage = "ergo ask PICTURE [PICTURE ...] QUESTION [flags]"
    parser.add_argument(
        "words",
        nargs="+",
        metavar="PICTURE ... QUESTION",
        help="files or data URIs (- for a picture on stdin, or the name of a bundled one: plate.jpg, price.jpg, name.jpg)"
        ", then the question (- for one on stdin)",
    )
    parser.add_argument(
        "-q",
        "--question",
        action="append",
        metavar="TEXT",
        help="one of several questions about each picture; all words are then pictures (default: the last word)",
    )
    parser.add_argument(
        "--options", nargs="+", default=[], metavar="TEXT", help="answers to choose from (default: a free answer)"
    )
    parser.add_argument(
        "--flow", choices=tuple(FLOWS), help="how to look (default: coarse_to_fine; crop_only with --region)"
    )
    parser.add_argument("--max-looks", type=int, metavar="N", help="for as_needed, views in all (default: 3)")
    parser.add_argument(
        "--budget", type=int, metavar="N", help="most vision tokens of each look (default: the model family's)"
    )
    parser.add_argument(
        "--region",
        type=int,
        nargs=4,
        metavar=("X1", "Y1", "X2", "Y2"),
        help="look at nothing but this, in pixels of the picture (default: the model finds a region)",
    )
    parser.add_argument(
        "--concurrency", type=int, default=16, metavar="N", help="questions at once (default: %(default)s)"
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="what was looked at, as .png or .html; numbered where there are several (default: not saved)",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="also take one look at the whole picture at the same total of vision tokens (default: not taken)",
    )
    parser.add_argument("--json", action="store_true", help="print all that happened as JSON, a line each if several")
    add_sampling_arguments(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="of sampling (default: none)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask, print, save."""
    return max(map(status_of, printed_results(args)))


def status_of(result: Result) -> int:
    """Whether it was answered; a look that it is compared with may say nothing, but not fail."""
    from ergo.traces.answers import NO_ANSWER

    failed = result.error or result.remark in NO_ANSWER or (result.compared and result.compared.error)
    return SOME_FAILED if failed else ALL_ANSWERED


def printed_results(args: argparse.Namespace) -> Iterator[Result]:
    """What `ergo ask` with these flags was answered, each as soon as it is printed and saved."""
    from ergo.api import ask_many, load_picture

    inquiries = _inquiries(args)
    several = len(inquiries) > 1
    files = _save_targets(args.save, len(inquiries))
    results = ask_many(
        # a model takes longer to open than a picture to fail
        inquiries if several else [replace(inquiries[0], picture=load_picture(inquiries[0].picture))],
        model=model_from(args, batch_size=args.concurrency),
        budget=args.budget,
        region=args.region,
        flow=args.flow,
        max_looks=args.max_looks,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        seed=args.seed,
        concurrency=args.concurrency,
        compare=args.compare,
    )
    for number, (inquiry, result) in enumerate(zip(inquiries, results, strict=True)):
        name = inquiry.picture[:200] if isinstance(inquiry.picture, str) else "stdin"
        if args.json:
            row = result.to_dict() | {"picture": name}
            say(json.dumps(row, indent=None if several else 2, ensure_ascii=False))
        else:
            if several:
                say(f"{'' if number == 0 else chr(10)}{name}: {inquiry.question}")
            say("\n".join(_lines(result)))
        if files and result.picture:
            say(f"saved     {result.save(files[number])}", sys.stderr if args.json else sys.stdout)
        yield result


def _inquiries(args: argparse.Namespace) -> list[Inquiry]:
    """Every question about every picture, one picture after the other."""
    from ergo.api import Inquiry

    pictures, questions = args.words, args.question
    if questions is None:
        *pictures, question = args.words
        questions = [question]
    if not pictures:
        raise UsageError('a picture and a question are wanted: ergo ask photo.jpg "What is written on the sign?"')
    if (pictures + questions).count("-") > 1:
        raise UsageError("stdin (-) holds one picture or one question")
    questions = [_stdin_text() if question == "-" else question for question in questions]
    if not all(question.strip() for question in questions):
        raise UsageError("the question is empty")
    opened = [sys.stdin.buffer.read() if picture == "-" else picture for picture in pictures]
    return [Inquiry(picture, question, args.options) for picture in opened for question in questions]


def _stdin_text() -> str:
    """UTF-8 whatever the terminal's encoding is; a byte order mark, as Windows writes it, is no part of a question."""
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace").strip()


def _save_targets(path: Path | None, count: int) -> list[Path]:
    """Checked before the model is asked, so that no answer is lost to a bad file name."""
    from ergo.api import SAVED_AS

    if path is None:
        return []
    if path.suffix.lower() not in SAVED_AS:
        raise UsageError(f"--save wants a {' or '.join(SAVED_AS)} file, not {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--save: there is no folder {path.parent}")
    files = [path] if count == 1 else [path.with_stem(f"{path.stem}-{number + 1}") for number in range(count)]
    for file in files:
        if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
            raise UsageError(f"--save: {file} cannot be written")
    return files


def _lines(result: Result) -> Iterator[str]:
    """The answer as a person wants it, and what it cost."""
    answer, picture = result.answer, result.picture
    if result.error:
        yield f"failed    {result.error.kind}: {result.error}"
    elif answer and picture:
        yield f"answer    {_said(result)}"
        if result.remark:
            yield f"remark    {REMARKS[result.remark]}"
        if result.confidence is not None:
            yield f"confident {result.confidence:.2f}"
        for region in answer.regions:
            share = region.area / picture.size.area
            yield f"region    {region}, {share:.1%} of {picture.size} pixels{_aside(answer.region_reading)}"
        if answer.fallback:
            yield f"region    none that could be read ({answer.region_reading}): looked at the whole picture again"
        if answer.thought:
            yield f"thought   {answer.thought}"
        if answer.caution:
            yield f"note      {answer.caution}"
    if result.turns:
        shown = " + ".join(str(sum(view.tokens for view in turn.views)) for turn in result.turns)
        direct = result.direct_vision_tokens
        share = result.vision_tokens / direct
        yield f"looked    {shown} = {result.vision_tokens} vision tokens, {share:.1%} of a direct look ({direct})"
        yield f"took      {result.seconds:.2f} s, {result.generated_tokens} output tokens"
    if result.compared:
        cost = f", at {result.compared.vision_tokens} vision tokens" if result.compared.turns else ""
        yield f"one look  {_said(result.compared)}{cost}"


def _said(result: Result) -> str:
    """The answer, by its letter where there are options, or the failure."""
    if result.answer is None:
        return f"failed, {result.error.kind}: {result.error}" if result.error else "(none)"
    chosen = result.choice
    text = f"({chosen.letter}) {chosen.text}" if chosen else result.answer.text or "(none)"
    return text if result.answer.caution else text + _aside(result.answer.reading)  # then it is not what was read


def _aside(reading: str | None) -> str:
    """How a reply had to be mended, where it was."""
    return "" if reading in (None, "exact") else f"  ({reading})"
