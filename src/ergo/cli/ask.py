"""`ergo ask`: a question about a picture."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import say
from ergo.core.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo ask`."""
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


def run(args: argparse.Namespace) -> int:
    """Ask, print, save."""
    from ergo.api import AskOptions, ask
    from ergo.core.flows import Question
    from ergo.core.messages import Sampling
    from ergo.images.decode import load_image

    saved = _save_target(args.save)
    region = _box(args.region) if args.region else None
    how = AskOptions(args.flow, args.budget, region, Sampling(max_tokens=args.max_tokens))
    picture = load_image(args.picture)
    trace = ask(picture, args.question, args.options, model_from(args), how)
    say(json.dumps(_trace_row(trace), indent=2, ensure_ascii=False) if args.json else _told(trace, picture))
    if saved:
        _save_looks(saved, trace, picture, Question(args.question, tuple(args.options)))
        say(f"saved     {saved}", sys.stderr if args.json else sys.stdout)
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
    from ergo.viz import page_of, picture_of

    try:
        if path.suffix.lower() == ".html":
            path.write_text(page_of(trace, picture, question), encoding="utf-8", errors="xmlcharrefreplace")
        else:
            picture_of(trace, picture, question).save(path)
    except OSError as error:
        raise UsageError(f"--save: {path} could not be written: {error}") from error


def _trace_row(trace: Any) -> dict[str, Any]:
    from ergo.traces.rows import trace_to_dict

    return trace_to_dict(trace)


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
