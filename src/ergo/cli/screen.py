"""What the verbs share of the screen."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TextIO


def say(text: str, stream: TextIO | None = None) -> None:
    """Print what may come from a model or a file: what the terminal cannot show, or would obey, is spelled out."""
    out = stream or sys.stdout
    shown = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: repr(found.group())[1:-1], text)
    encoding = out.encoding or "utf-8"
    print(shown.encode(encoding, "backslashreplace").decode(encoding), file=out, flush=True)


def say_all(lines: Iterable[str]) -> int:
    """Print lines as they come; 0."""
    for line in lines:
        say(line)
    return 0
