"""How each model family is asked, and how its reply is read. Prompts and parsers stand side by side.

Only this file (and `TokenBudget.patch`) knows the family. Replies are data: read with regular
expressions, repaired where their meaning is plain, and otherwise named, never guessed at.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from ergo.chat import Chat, Message
from ergo.errors import UsageError
from ergo.geometry import Box
from ergo.image import View

Frame = Literal["pixels", "thousandths"]
"""Of what a model's coordinates count: pixels of the view it was shown (Qwen2.5-VL), or 1/1000 of
the view's sides (Qwen3-VL)."""


@dataclass(frozen=True)
class Prompts:
    """What is said around the question. {question} is without options in `region`, with them elsewhere.

    earlier: how a question is put that follows others in a conversation; empty for models that take one at a time.
    """

    system: str
    region: str
    answer: str
    direct: str
    earlier: str = "Earlier in this conversation:\n{earlier}\n\nNow: {question}"


# The released prompts, verbatim, the missing slash of the second <think> included
# (nota-github/ERGO src/ergo/const.py @ c6d6742).
PUBLISHED = Prompts(
    system="You are a helpful assistant. Given an image and one question. First, identify the "
    "coordinates of the key image area relevant to solving the problem. Append the coordinates in "
    "[x1, y1, x2, y2] format at the end of your response and stop. This will trigger cropping of the "
    "corresponding area in the original image and enlarge it for improved clarity. Once the enlarged "
    "image is available, provide the final answer.",
    region="{question} First, consider how to zoom in on the image to include only the region "
    "containing all the information necessary to answer the question. Output the thinking process in "
    "<think> </think> tags and then output the region's bounding box coordinates in the following "
    "format <zoom>[x1, y1, x2, y2]</zoom> tags.",
    answer="{question}\nCarefully analyze both the original image and the enlarged sub-image to solve "
    "the question step by step. Present your reasoning clearly the following format strictly "
    "<think> ... <think>, and provide the final answer enclosed within <answer> ... </answer>",
    direct="{question}\nProvide the final answer enclosed within <answer> ... </answer>",
)

# For models small enough that reading the prompt would cost more than looking (ours: ergo-tiny).
TERSE = Prompts(system="", region="{question} Where?", answer="{question}", direct="{question}", earlier="{question}")

RegionReading = Literal[
    "exact", "repaired_float", "repaired_order", "repaired_frame", "repaired_tag",
    "none_given", "not_numbers", "empty", "outside",
]  # fmt: skip
AnswerReading = Literal["exact", "repaired_tag", "no_tag", "empty"]


@dataclass(frozen=True)
class Region:
    """A region as read from a reply. box: SOURCE pixels, None where it could not be read.

    reading: how it was read; the names starting with `repaired_` were mended, in the order
    tag, float, order, frame (the last that applied is named). repaired_tag: a tag was missing or
    held more than the four numbers in their brackets.
    """

    box: Box | None
    reading: RegionReading


_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_BRACKETS = re.compile(r"[\[\(]([^\[\]\(\)]*)[\]\)]")
_THINK = re.compile(r"<think>(.*?)(?:</?think>|(?=<zoom>|<answer>)|\Z)", re.DOTALL)
# None of these, and no search below, takes more than a time proportional to the reply.


@dataclass(frozen=True)
class Dialect:
    """One model family's way of being asked.

    frame: of what its coordinates count. patch: side in pixels of what one vision token sees, where
    the checkpoint does not say. budget: vision tokens of a look unless asked otherwise (640: the
    paper's headline setting).
    """

    name: str
    prompts: Prompts
    frame: Frame
    patch: int
    budget: int

    # ── asking ─────────────────────────────────────────────────────────────────────────────────
    def ask_region(self, coarse: View, question: str) -> Chat:
        """The first look: the coarse view and the question without options (paper's protocol)."""
        return self._open(coarse, self.prompts.region.format(question=question))

    def ask_answer(self, reply: str, close: View, question: str, choices: tuple[str, ...]) -> Chat:
        """What the second look adds to the conversation: the reply so far, the close view, the options."""
        text = self.prompts.answer.format(question=with_choices(question, choices))
        return (Message("assistant", (reply,)), Message("user", (close, text)))

    def ask_direct(self, view: View, question: str, choices: tuple[str, ...]) -> Chat:
        """One look, no region: the baseline, and the verifier's view of a crop."""
        text = self.prompts.direct.format(question=with_choices(question, choices))
        return (Message("user", (view, text)),)

    def _open(self, view: View, text: str) -> Chat:
        user = Message("user", (view, text))
        return (Message("system", (self.prompts.system,)), user) if self.prompts.system else (user,)

    # ── reading ────────────────────────────────────────────────────────────────────────────────
    def write_region(self, box: Box, view: View) -> str:
        """`[x1, y1, x2, y2]` as this family says it of `view`; inverse of `read_region` up to rounding."""
        x1, y1, x2, y2 = view.from_source(box)
        if self.frame == "thousandths":
            sx, sy = 1000 / view.size.width, 1000 / view.size.height
            x1, y1, x2, y2 = x1 * sx, y1 * sy, x2 * sx, y2 * sy
        return f"[{round(x1)}, {round(y1)}, {round(x2)}, {round(y2)}]"

    def read_region(self, reply: str, view: View) -> Region:
        """The region a reply names, in SOURCE pixels.

        Plain slips are mended and named: a missing tag or closing tag, floats, reversed corners, a
        box partly outside. What has no plain meaning gives None and its name.
        """
        written = _written_region(reply)
        if isinstance(written, str):
            return Region(None, written)
        numbers = tuple(float(number) for number in written.numbers)
        if not all(math.isfinite(number) for number in numbers):
            return Region(None, "not_numbers")
        reading: RegionReading = "exact" if written.well_formed else "repaired_tag"
        if any(not number.lstrip("-+").isdigit() for number in written.numbers):
            reading = "repaired_float"
        x1, y1, x2, y2 = numbers
        if x2 < x1 or y2 < y1:
            x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
            reading = "repaired_order"
        if x1 == x2 or y1 == y2:
            return Region(None, "empty")
        wide, high = (1000, 1000) if self.frame == "thousandths" else (view.size.width, view.size.height)
        if x1 >= wide or y1 >= high or x2 <= 0 or y2 <= 0:
            return Region(None, "outside")
        if x1 < 0 or y1 < 0 or x2 > wide or y2 > high:
            x1, y1, x2, y2 = max(x1, 0), max(y1, 0), min(x2, wide), min(y2, high)
            reading = "repaired_frame"
        sx, sy = view.size.width / wide, view.size.height / high
        box = view.to_source(x1 * sx, y1 * sy, x2 * sx, y2 * sy)
        return Region(box, reading if box else "outside")

    def read_answer(self, reply: str) -> tuple[str, AnswerReading]:
        """The text of the last <answer>; without tags the whole reply after its thinking."""
        before, closing, _ = reply.rpartition("</answer>")
        _, opening, text = (before if closing else reply).rpartition("<answer>")
        if opening:
            text = text.strip()
            return (text, "exact" if closing else "repaired_tag") if text else ("", "empty")
        rest = _THINK.sub("", text, count=1).strip()  # `text` ends before a closing tag without its opening
        return (rest, "no_tag") if rest else ("", "empty")

    def read_thought(self, reply: str) -> str:
        """The text inside the first <think>, closed or not (the released prompt shows it unclosed)."""
        found = _THINK.search(reply)
        return found.group(1).strip() if found else ""


@dataclass(frozen=True)
class _Written:
    """Four numbers as they stand in a reply. well_formed: they are all that a closed <zoom> holds."""

    numbers: tuple[str, ...]
    well_formed: bool


def _written_region(reply: str) -> _Written | RegionReading:
    """The first <zoom>, closed or not; without one, the last list of four numbers; or why there is none."""
    _, opening, after = reply.partition("<zoom>")
    if not opening:
        lists = [numbers for body in _BRACKETS.findall(reply) if (numbers := _four(body))]
        return _Written(lists[-1], False) if lists else "none_given"
    body, closing, _ = after.partition("</zoom>")
    lists = [numbers for inner in _BRACKETS.findall(body) if (numbers := _four(inner))]
    if lists:
        whole = body.strip()
        alone = whole.startswith("[") and whole.endswith("]") and _four(whole[1:-1]) is not None
        return _Written(lists[0], bool(closing) and alone)
    bare = _four(body) if closing else None  # unclosed, the last number may be half a number
    return _Written(bare, False) if bare else "not_numbers"


def _four(text: str) -> tuple[str, ...] | None:
    """`text` as four numbers with commas, semicolons or white space between them; None if it is anything else."""
    found = list(_NUMBER.finditer(text))
    if len(found) != 4:
        return None
    ends = [0, *(number.end() for number in found)]
    starts = [*(number.start() for number in found), len(text)]
    before, *between, after = (text[end:start] for end, start in zip(ends, starts, strict=True))
    apart = all(gap and gap.strip() in ("", ",", ";") for gap in between)
    return tuple(number.group() for number in found) if apart and not before.strip() and not after.strip() else None


def with_choices(question: str, choices: tuple[str, ...]) -> str:
    """The question with lettered options, one a line, as the released V* protocol prints them."""
    if not choices:
        return question
    lines = [f"({chr(65 + number)}) {choice}" for number, choice in enumerate(choices)]
    return "\n".join([question, *lines])


QWEN2_5_VL = Dialect("qwen2_5_vl", PUBLISHED, "pixels", 28, 640)
QWEN3_VL = Dialect("qwen3_vl", PUBLISHED, "thousandths", 32, 640)
ERGO_TINY = Dialect("ergo_tiny", TERSE, "thousandths", 28, 100)
DIALECTS = {dialect.name: dialect for dialect in (QWEN2_5_VL, QWEN3_VL, ERGO_TINY)}


def dialect_named(name: str) -> Dialect:
    """The dialect of this name, as flags and checkpoints write it."""
    if name not in DIALECTS:
        raise UsageError(f"no dialect is called {name!r}; there are {', '.join(DIALECTS)}")
    return DIALECTS[name]
