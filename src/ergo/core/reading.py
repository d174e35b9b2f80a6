"""What a reply says: regions in SOURCE pixels, an answer, a thought; and how each was read.

How a family writes its regions is `families.forms`' subject; what an answer and a thought are is the same
for all. Replies are data: repaired where their meaning is plain, and otherwise named, never guessed at.
"""

import re
from dataclasses import dataclass
from typing import Literal

from ergo.core.geometry import Box

RegionReading = Literal[
    "exact", "repaired_float", "repaired_order", "repaired_frame", "repaired_tag",
    "none_given", "not_numbers", "empty", "outside",
]  # fmt: skip
AnswerReading = Literal["exact", "repaired_tag", "no_tag", "empty"]


@dataclass(frozen=True)
class Region:
    """A region as read from a reply. box: SOURCE pixels, None where it could not be read.

    reading: how it was read; the names starting with `repaired_` were mended, in the order tag, float,
    order, frame (the last that applied is named). repaired_tag: a tag was missing or held more than the
    four numbers in their brackets.
    """

    box: Box | None
    reading: RegionReading


_THINK = re.compile(r"<think>(.*?)(?:</?think>|(?=<zoom>|<answer>)|\Z)", re.DOTALL)


def read_answer(reply: str) -> tuple[str, AnswerReading]:
    """The text of the last <answer>; without tags the whole reply after its thinking."""
    before, closing, _ = reply.rpartition("</answer>")
    _, opening, text = (before if closing else reply).rpartition("<answer>")
    if opening:
        text = text.strip()
        return (text, "exact" if closing else "repaired_tag") if text else ("", "empty")
    rest = _THINK.sub("", text, count=1).strip()  # `text` ends before a closing tag without its opening
    return (rest, "no_tag") if rest else ("", "empty")


def read_thought(reply: str) -> str:
    """The text inside the first <think>, closed or not (the released prompt shows it unclosed)."""
    found = _THINK.search(reply)
    return found.group(1).strip() if found else ""
