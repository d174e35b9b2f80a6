"""Holding a reply to a form: to `... <zoom>[x1, y1, x2, y2]</zoom>`, for models that cannot be trusted with it, or to
one of a few replies, for models that spell what they read and would otherwise misspell an option.

Numbers are whole ones below 100,000, or fractions from 0 to 1 of at most three decimals, as the family counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from typing import Any, Protocol

import torch

_FORM = "<zoom>[#, #, #, #]</zoom>"
RESERVE = len("<zoom>[12345, 12345, 12345, 12345]</zoom>") + 1
"""Tokens that the longest region and the end may take, one for each character."""

_ALPHABET = set("<>zoom/[], .0123456789")
_WHOLE, _FRACTION = re.compile(r"\d{1,5}"), re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?")


class Forcer(Protocol):
    """What holds a reply to a form."""

    def restrict(self, scores: torch.Tensor, ids: list[int], left: int, ends: Set[int]) -> None:
        """scores [vocabulary], changed in place. ids: sampled so far. left: tokens that may still come."""


class OptionForcer:
    """Holds a reply to `<answer>option</answer>`, the option as one token or in capitals, letter by letter."""

    def __init__(self, tokenizer: Any, options: Sequence[str]) -> None:
        def ids(*texts: str) -> tuple[int, ...]:
            return tuple(token for text in texts for token in tokenizer(text, add_special_tokens=False)["input_ids"])

        letters = [ids("<answer>", *option.upper(), "</answer>") for option in options]
        words = [ids("<answer>", f" {option}", "</answer>") for option in options if len(ids(f" {option}")) == 1]
        self._replies = [*letters, *words, ids("<answer>cannot tell</answer>")]

    def restrict(self, scores: torch.Tensor, ids: list[int], left: int, ends: Set[int]) -> None:
        """As Forcer says."""
        begun = [reply for reply in self._replies if reply[: len(ids)] == tuple(ids)]
        following = {reply[len(ids)] for reply in begun if len(reply) > len(ids)}
        _keep(scores, sorted(following | (set(ends) if any(len(reply) == len(ids) for reply in begun) else set())))


def _keep(scores: torch.Tensor, allowed: list[int]) -> None:
    """Nothing but `allowed` can be said."""
    kept = scores[allowed].clone()
    scores.fill_(-torch.inf)
    scores[allowed] = kept


class RegionForcer:
    """Restricts replies, token by token. Works with any tokenizer; made once, for it reads the vocabulary.

    The model thinks freely until it opens <zoom> itself, wants to end, or has no more room than the
    form needs; from there only tokens that keep the form possible remain. A model that writes the
    form itself is not touched.

    fractions: numbers are from 0 to 1.
    """

    def __init__(self, tokenizer: Any, fractions: bool = False) -> None:
        self._fractions = fractions
        self._tokenizer = tokenizer
        self._pieces = _pieces(tokenizer)

    def restrict(self, scores: torch.Tensor, ids: list[int], left: int, ends: Set[int]) -> None:
        """As Forcer says."""
        text = str(self._tokenizer.decode(ids))
        if "<zoom>" not in text and left > RESERVE and int(scores.argmax()) not in ends:
            scores[list(ends)] = -torch.inf  # a sampled reply must not end by chance before its region
            return
        written = self._begun(text)
        if written.endswith("</zoom>"):
            allowed = sorted(ends)
        else:
            allowed = [token for token, piece in self._pieces.items() if self._possible(written + piece)]
        if allowed:
            _keep(scores, allowed)

    def _possible(self, text: str) -> bool:
        return may_become_region(text, self._fractions)

    def _begun(self, text: str) -> str:
        """The end of `text` that is the beginning of a region; empty if there is none."""
        starts = [place for place in range(len(text)) if text[place] == "<" and self._possible(text[place:])]
        return text[starts[0] :] if starts else ""


def may_become_region(text: str, fractions: bool = False) -> bool:
    """Can `text` be continued to (or is it) a well-formed region?

    >>> may_become_region("<zoom>[12, 3"), may_become_region("<zoom>[12 3"), may_become_region("<zoom>[0.12, 1.5", True)
    (True, False, False)
    """
    shape = (_FRACTION if fractions else _WHOLE).sub("#", text)
    if re.search(r"\d", shape):
        return False
    return _FORM.startswith(shape)


def _pieces(tokenizer: Any) -> dict[int, str]:
    """Tokens made of the form's characters only, with their text."""
    found = {}
    for token in range(len(tokenizer)):
        piece = str(tokenizer.decode([token]))
        if piece and set(piece) <= _ALPHABET:
            found[token] = piece
    return found
