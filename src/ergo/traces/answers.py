"""How far an answer can be relied on: its confidence, and what to know of it first."""

from __future__ import annotations

import math
import re
from itertools import accumulate
from typing import Literal

from ergo.core.messages import Completion
from ergo.core.runner import Trace

Remark = Literal["empty", "cut", "refused", "cannot_tell", "no_option"]
NO_ANSWER: tuple[Remark, ...] = ("empty", "cut", "refused")

_ANSWERS = ("<answer>", "<|begin_of_box|>", "</think>")
_CANNOT_TELL = re.compile(
    r"(i |it )?(can ?not|can't|can’t) (be )?(tell|told|see|seen|say|determined?)\W*", re.IGNORECASE
)


def remark(trace: Trace) -> Remark | None:
    """What to know of an answer before relying on it; None: nothing.

    empty: the last reply holds none. cut: the reply ended at its limit of tokens before it came to one. refused: the
    provider declined. cannot_tell: it says that the picture does not show it.
    """
    answer = trace.answer
    if answer is None:
        return None
    finish = trace.turns[-1].finish if trace.turns else "stop"
    if finish == "refusal":
        return "refused"
    if finish == "length" and answer.reading != "exact" and not answer.caution:  # more room would be more of a loop
        return "cut"
    if not answer.text:
        return "empty"
    return "cannot_tell" if _CANNOT_TELL.fullmatch(answer.text) else None


def confidence(trace: Trace) -> float | None:
    """How sure a model is of its answer, 0 to 1: the geometric mean of the probabilities of the answer's tokens.

    Of the answer alone: neither tags nor thought count, so for a letter it is that letter's share among all that
    could have stood there. Probabilities are the model's own, over its whole vocabulary: in this process at the
    sampling's temperature (greedy: 1), after penalties; on a server as it reports them, most before temperature. It
    orders answers of one model; whether 0.9 means right nine times in ten is for its calibration to show
    (docs/models.md). None: the backend reports no log-probabilities, or there is no answer.
    """
    return probability_of(trace.answer.text, trace.completions[-1]) if trace.answer and trace.completions else None


def probability_of(answer: str, reply: Completion) -> float | None:
    """The same of a reply that was read as this answer."""
    if not answer or not reply.pieces or reply.logprobs is None:
        return None
    said = "".join(reply.pieces)
    begin = said.find(answer, max(said.rfind(tag) + len(tag) if tag in said else 0 for tag in _ANSWERS))
    if begin < 0:  # it was mended on the way
        return None
    ends = accumulate(map(len, reply.pieces))
    own = [
        logprob
        for piece, end, logprob in zip(reply.pieces, ends, reply.logprobs, strict=True)
        if piece and end > begin and end - len(piece) < begin + len(answer)
    ]
    return min(1.0, math.exp(sum(own) / len(own)))
