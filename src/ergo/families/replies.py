"""What of a reply is thought, and what answer: the same for all families.

Thinking is not the answer: what counts stands after the last closing tag of a thought. Every search takes time
linear in the reply.
"""

from __future__ import annotations

import re

from ergo.core.reading import AnswerReading

_CLOSED = re.compile(r"</think(?:ing)?>|◁/think▷|<channel\|>")
_OPENED = re.compile(r"<think(?:ing)?>|◁think▷|<\|channel>(?:thought\n)?")
_UNCLOSED = re.compile(r"<think>(.*?)(?:<think>|(?=<zoom>|<answer>)|\Z)", re.DOTALL)
_REGION = re.compile(r"<zoom>[^<]*(?:</zoom>|\Z)")
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
    """The text of the last <answer> (GLM: <|begin_of_box|>); without tags, all that follows the thought but a region."""
    thought, rest = split_thought(reply)
    text = (rest if rest.strip() else thought).replace("<|begin_of_box|>", "<answer>")
    before, closing, _ = text.replace("<|end_of_box|>", "</answer>").rpartition("</answer>")
    _, opening, stated = (before if closing else text).rpartition("<answer>")
    stated = stated.partition("</answer>")[0]  # GLM's tokens inside of <answer>
    stated = _TOKENS.sub("", stated if opening else _REGION.sub("", stated) if rest.strip() else "").strip()
    if not stated:
        return "", "empty"
    return stated, "no_tag" if not opening else "exact" if closing and rest.strip() else "repaired_tag"
