"""A reply -> right or wrong, without a judge model, and why (docs/grading.md).

    strict      what rewards and training data go by: the whole reply is the truth in another format, one
                option or one value with its unit. No lists, no hedges, nothing said beside it
    ours        how a benchmark is read: somewhere the reply plainly says one answer, and nowhere another
    published   the released code's match, faults included

Pure, without state, and bounded: of a reply longer than 32,000 signs the beginning and the end are read. Every
verdict has a reason.
"""

from __future__ import annotations

import json
import re
from typing import Literal

from ergo.grading import free, options
from ergo.grading.published import grade_published
from ergo.grading.thoughts import unclosed
from ergo.grading.truth import Choice, Graded, Truth, Verdict

Matching = Literal["published", "ours", "strict"]
MATCHINGS: tuple[Matching, ...] = ("published", "ours", "strict")

__all__ = [
    "MATCHINGS",
    "Choice",
    "Graded",
    "Matching",
    "Truth",
    "Verdict",
    "choice_of",
    "grade",
    "grade_published",
    "is_right",
]


def is_right(sample: Graded, text: str) -> bool:
    """Whether an answer is right by the strict match: the one place that rewards and training data ask."""
    return grade("strict", text, text, Truth.of(sample)).right


def grade(matching: Matching, reply: str, text: str, truth: Truth) -> Verdict:
    """The verdict on a reply. reply: as it came. text: the answer that the model family read in it.

    >>> truth = Truth(("blue",), ("red", "blue"))
    >>> reply = "Answer: B, because the roof is dark"
    >>> [grade(matching, reply, reply, truth).reason for matching in MATCHINGS]
    ['letters', 'stated', 'more_said']
    """
    if matching == "published":
        return grade_published(reply, truth)
    if matching == "ours" and not text.strip() and (rest := unclosed(reply)):
        verdict = grade("ours", rest, rest, truth)
        return Verdict(verdict.right, "unclosed_thought" if verdict.right else verdict.reason)
    text = _clipped(_of_json(text, alone=matching == "strict"))
    if not truth.options:
        return free.strictly(text, truth.answers) if matching == "strict" else free.plainly(text, truth.answers)
    choice = options.strictly(text, truth.options) if matching == "strict" else options.plainly(text, truth.options)
    return Verdict(choice.place in truth.right_places, choice.reason)


def _of_json(text: str, alone: bool) -> str:
    """The answer in a reply that is one JSON object; any other text as it is. alone: where it says nothing else."""
    body = _FENCE.sub("", text).strip()
    if not (body.startswith("{") and body.endswith("}") and len(body) <= FIRST):
        return text
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return text
    values = [value for key, value in said.items() if key.lower().replace(" ", "_") in ("answer", "final_answer")]
    if len(values) != 1 or isinstance(values[0], dict | list | type(None)) or (alone and len(said) > 1):
        return text
    return {True: "yes", False: "no"}[values[0]] if isinstance(values[0], bool) else str(values[0])


_FENCE = re.compile(r"^\s*```(?:json)?|```\s*$", re.IGNORECASE)
FIRST, LAST = 4_000, 28_000  # signs of a reply that are read; no answer stands in the middle of 32,000


def _clipped(text: str) -> str:
    return text if len(text) <= FIRST + LAST else f"{text[:FIRST]}\n…\n{text[-LAST:]}"


def choice_of(text: str, shown: tuple[str, ...]) -> Choice:
    """The option that a reply plainly names."""
    return options.plainly(_clipped(text), shown)
