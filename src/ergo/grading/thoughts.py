"""Thoughts that were never closed: the answer stands at their end, or nowhere.

What is thought is not the answer, and the family's reader leaves it out. But a model that opens a
thought and forgets to close it has said its answer inside: in its last line, or behind "the answer is".
"""

from __future__ import annotations

import re

_OPENED = re.compile(r"<(?:think|thinking|thought)>|<\|channel\|?>\s*thought", re.IGNORECASE)
LONGEST = 400  # signs of the last line that are read


def unclosed(reply: str) -> str:
    """The last line of a thought that was not closed; "" where it was, or there is none."""
    opened = [found.end() for found in _OPENED.finditer(reply)]
    if not opened or "</think" in reply[opened[-1] :]:
        return ""
    lines = [line for line in reply[opened[-1] :].split("\n") if line.strip()]
    return lines[-1][-LONGEST:].strip() if lines else ""
