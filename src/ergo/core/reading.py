"""What a reply says: regions in SOURCE pixels, an answer, a thought; and how each was read.

How regions are written is `families.forms`' subject; what a thought and an answer are is the same for all.
Thinking is not the answer: what counts stands after the last closing tag of a thought. Replies are data:
repaired where their meaning is plain, and otherwise named, never guessed at; in time linear in their length.
"""

import re
from dataclasses import dataclass
from typing import Literal

from ergo.core.geometry import Box

RegionReading = Literal[
    "exact", "repaired_tag", "repaired_several", "repaired_fraction", "repaired_percent", "repaired_float",
    "repaired_order", "repaired_frame", "none_given", "not_numbers", "empty", "outside", "other_frame",
]  # fmt: skip
AnswerReading = Literal["exact", "repaired_tag", "no_tag", "empty"]


@dataclass(frozen=True)
class Region:
    """A region as read from a reply. box: SOURCE pixels, None where it could not be read.

    reading: names that begin with `repaired_` were mended; of several mendings the last in the list above is
    named. tag: not alone in the form asked for. several: the last of them. other_frame: outside the family's
    frame, though not outside the picture: it counts something else.
    """

    box: Box | None
    reading: RegionReading


@dataclass(frozen=True)
class Reading:
    """One reply. region: the last that can be read, or why none can. boxes: all of them, SOURCE pixels."""

    region: Region
    boxes: tuple[Box, ...]
    answer: str
    answer_reading: AnswerReading
    thought: str


_CLOSED = re.compile(r"</think(?:ing)?>|◁/think▷|<channel\|>")
_OPENED = re.compile(r"<think(?:ing)?>|◁think▷|<\|channel>(?:thought\n)?")
_UNCLOSED = re.compile(r"<think>(.*?)(?:<think>|(?=<zoom>|<answer>)|\Z)", re.DOTALL)
_TOKENS = re.compile(r"<\|[a-z_]{1,24}\|>|<(?:end|start)_of_turn>|<turn\|>")


def split_thought(reply: str) -> tuple[str, str]:
    """(thought, rest): around the last closing tag; without one, the released prompt's unclosed <think> is the thought.

    >>> split_thought("Perhaps (A)?\\n</think>\\n\\nB")
    ('Perhaps (A)?', '\\n\\nB')
    """
    closings = list(_CLOSED.finditer(reply))
    if closings:
        before, rest = reply[: closings[-1].start()], reply[closings[-1].end() :]
        opening = _OPENED.search(before)
        return before[opening.end() if opening else 0 :].strip(), rest
    found = _UNCLOSED.search(reply)
    return (found.group(1).strip(), reply[: found.start()] + reply[found.end() :]) if found else ("", reply)


def read_answer(reply: str) -> tuple[str, AnswerReading]:
    """The text of the last <answer> (GLM: <|begin_of_box|>); without tags, all that follows the thought."""
    thought, rest = split_thought(reply)
    text = (rest if rest.strip() else thought).replace("<|begin_of_box|>", "<answer>")
    before, closing, _ = text.replace("<|end_of_box|>", "</answer>").rpartition("</answer>")
    _, opening, said = (before if closing else text).rpartition("<answer>")
    said = _TOKENS.sub("", said if opening or rest.strip() else "").strip()
    if not said:
        return "", "empty"
    return said, "no_tag" if not opening else "exact" if closing and rest.strip() else "repaired_tag"
