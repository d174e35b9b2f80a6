"""How each model family is asked, and how its reply is read. Prompts and parsers stand side by side.

Only this file (and `TokenBudget.patch`) knows the family. Replies are data: read with regular
expressions, repaired where their meaning is plain, and otherwise named, never guessed at.
"""

from __future__ import annotations

from dataclasses import dataclass

from ergo.core import reading
from ergo.core.geometry import Box
from ergo.core.messages import Chat, Message
from ergo.core.reading import AnswerReading, Region
from ergo.core.view import View
from ergo.families import forms
from ergo.families.forms import Frame


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


@dataclass(frozen=True)
class ModelFamily:
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
        """The region a reply names, in SOURCE pixels (`forms.read_region` in this family's frame)."""
        return forms.read_region(reply, view, self.frame)

    def read_answer(self, reply: str) -> tuple[str, AnswerReading]:
        """The text of the last <answer>; without tags the whole reply after its thinking."""
        return reading.read_answer(reply)

    def read_thought(self, reply: str) -> str:
        """The text inside the first <think>, closed or not."""
        return reading.read_thought(reply)


def with_choices(question: str, choices: tuple[str, ...]) -> str:
    """The question with lettered options, one a line, as the released V* protocol prints them."""
    if not choices:
        return question
    lines = [f"({chr(65 + number)}) {choice}" for number, choice in enumerate(choices)]
    return "\n".join([question, *lines])
