"""What a model that knows little says of all else: "I cannot tell", and in one line what it does know.

A model of a few million parameters answers any question at all, mostly with a loop of the few words it has. What
it was trained on it answers in exact form and with confidence, so that is what its answers are held to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ergo.core.flows import Answer, Flow
from ergo.core.messages import Completion

CANNOT_TELL = "I cannot tell"


def cautious(flow: Flow, knows: str, sure: float) -> Flow:
    """The flow, its answer replaced where it is not to be believed. knows: the line that is said then. sure: least
    probability of any token of the reply that answers (regions are never sure to the grid step)."""
    replies: list[Completion] = []
    try:
        request = next(flow)
        while True:
            replies.append((yield request))
            request = flow.send(replies[-1])
    except StopIteration as stop:
        answer: Answer = stop.value
    says_so = answer.text.strip().lower() == CANNOT_TELL.removeprefix("I ")
    if believable(answer, replies, sure) and not says_so:
        return answer
    return replace(answer, text=CANNOT_TELL, thought="", caution=knows)


def believable(answer: Answer, replies: Sequence[Completion], sure: float) -> bool:
    """Whether all was said in the form asked for, and surely. Where a backend gives no probabilities, form decides."""
    well_formed = answer.reading == "exact" and answer.region_reading in (None, "exact")
    least = min(replies[-1].logprobs or (0.0,))
    return well_formed and math.exp(least) >= sure
