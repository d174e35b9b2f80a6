"""Holding a reply to `... <zoom>[x1, y1, x2, y2]</zoom>`: for models that cannot be trusted with the form."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Any

import torch

_FORM = "<zoom>[#, #, #, #]</zoom>"
RESERVE = len("<zoom>[12345, 12345, 12345, 12345]</zoom>") + 1
"""Tokens that the longest region and the end may take, one for each character."""

_ALPHABET = set("<>zoom/[], 0123456789")


class RegionForcer:
    """Restricts replies, token by token. Works with any tokenizer; made once, for it reads the vocabulary.

    The model thinks freely until it opens <zoom> itself, wants to end, or has no more room than the
    form needs; from there only tokens that keep the form possible remain. A model that writes the
    form itself is not touched.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces = _pieces(tokenizer)

    def restrict(self, scores: torch.Tensor, ids: list[int], left: int, ends: Set[int]) -> None:
        """scores [vocabulary], changed in place. ids: sampled so far. left: tokens that may still come."""
        text = str(self._tokenizer.decode(ids))
        if "<zoom>" not in text and left > RESERVE and int(scores.argmax()) not in ends:
            scores[list(ends)] = -torch.inf  # a sampled reply must not end by chance before its region
            return
        written = _begun(text)
        if written.endswith("</zoom>"):
            allowed = sorted(ends)
        else:
            allowed = [token for token, piece in self._pieces.items() if may_become_region(written + piece)]
        if allowed:
            keep = scores[allowed].clone()
            scores.fill_(-torch.inf)
            scores[allowed] = keep


def may_become_region(text: str) -> bool:
    """Can `text` be continued to (or is it) a well-formed region of numbers below 100,000?

    >>> may_become_region("<zoom>[12, 3"), may_become_region("<zoom>[12 3")
    (True, False)
    """
    shape = re.sub(r"\d{1,5}", "#", text)
    if re.search(r"\d", shape):
        return False
    return _FORM.startswith(shape)


def _begun(text: str) -> str:
    """The end of `text` that is the beginning of a region; empty if there is none."""
    starts = [place for place in range(len(text)) if text[place] == "<" and may_become_region(text[place:])]
    return text[starts[0] :] if starts else ""


def _pieces(tokenizer: Any) -> dict[int, str]:
    """Tokens made of the form's characters only, with their text."""
    found = {}
    for token in range(len(tokenizer)):
        piece = str(tokenizer.decode([token]))
        if piece and set(piece) <= _ALPHABET:
            found[token] = piece
    return found
