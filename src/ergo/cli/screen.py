"""What the verbs share of the screen: results on stdout, everything else on stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from ergo.traces.progress import Progress

ALL_ANSWERED, SOME_FAILED, WRONG_USE, STOPPED = 0, 1, 2, 130
"""Exit statuses, the same for every verb."""

REPORT_EVERY = 5.0  # seconds between two lines of progress


def say(text: str, stream: TextIO | None = None) -> None:
    """Print what may come from a model or a file: what the terminal cannot show, or would obey, is spelled out."""
    out = stream or sys.stdout
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found.group())[1:-1], text)
    encoding = out.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def note(text: str) -> None:
    """Say what is no result: on stderr, in one line."""
    say(f"ergo: {' '.join(text.split())}", sys.stderr)


def hide_loading_bars() -> None:
    """Of the weights, which are there at once; not of a download, which takes its time."""
    try:
        from huggingface_hub.utils.tqdm import enable_progress_bars
        from transformers.utils.logging import disable_progress_bar
    except ImportError:
        return
    disable_progress_bar()
    if not os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS"):
        enable_progress_bars()


def follow(progress: Iterable[Progress]) -> int:
    """Drive a run, with a line of progress now and then and at the end of each part; returns how many failed."""
    failed, last, shown = 0, None, None
    for now in progress:
        if last and last.part != now.part:
            if last is not shown:
                note(_line(last))
            failed, shown = failed + last.failed, None
        if now.seconds - (shown.seconds if shown else 0.0) >= REPORT_EVERY:
            note(_line(now))
            shown = now
        last = now
    if last is None:
        note("nothing left to do")
        return 0
    if last is not shown:
        note(_line(last))
    return failed + last.failed


def _line(now: Progress) -> str:
    of = f" of {now.total:,}" if now.total is not None else ""
    parts = [f"{now.part}: " * bool(now.part) + f"{now.done:,}{of} done", f"{now.rate:.1f}/s"]
    if now.right is not None:
        parts.append(f"{now.right / max(now.done, 1):.1%} right")
    if now.left:
        parts.append(f"{_time(now.left)} left")
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.vision_tokens is not None:
        parts.append(f"{now.vision_tokens:,} vision tokens, {now.vision_tokens / max(now.done, 1):.0f} each")
    if now.cost is not None:
        whole = f" of about {now.cost * now.total / now.done:,.2f}" if now.total and now.done else ""
        parts.append(f"cost {now.cost:,.2f}{whole}")
    return ", ".join(parts)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
