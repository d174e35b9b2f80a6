"""Conversations as token rows: what is shown, what is said, and where it is read from.

A row is a trunk (up to and including the first view, which all its conversations share) and branches (the rest of
each conversation), as in ergo.tiny.packing. Ids are those that the chat template gives at inference
(tests/photo_world/test_rows.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ergo.photo_world.pages import MERGE, Crop

IGNORED = -100


HEADS = {"letter": (0, 1), "thing": (2, 3), "sign": (4, 5)}
"""Heads of the attention layer that is supervised. A letter is read by both of its heads; of a place, x by the first
and y by the second, and the place heads that are not meant rest on the row's first token, so that one linear map from
what a head reads to a coordinate is enough."""
PLACE_HEADS = (*HEADS["thing"], *HEADS["sign"])


@dataclass(frozen=True)
class Piece:
    """Some words of a reply. under: vision tokens (row by row) of the latest view that they are read from; empty if
    of none. what: is read there: a letter, the place of a thing or sign in the first view, in two tokens, or that there is nothing."""

    text: str
    under: tuple[int, ...] = ()
    what: str = "letter"


@dataclass(frozen=True)
class Turn:
    """What a user shows and asks, and what is said to it.

    group: a name under which what is right of it is logged. taught: whether the reply is learnt, or only stands there.
    """

    shown: Crop
    question: str
    reply: tuple[Piece, ...]
    group: str
    taught: bool = True


Talk = tuple[Turn, ...]


Hint = tuple[int, int, np.ndarray]


@dataclass
class Row:
    """ids, labels (what is to be predicted AT a place), branch, group [length]; positions [3, length].

    shown: the views in order. slots: places of their tokens, in order. hints: (place, head of the supervised layer,
    the places it should attend to). spots: places at which a coordinate of a thing or sign is predicted.
    """

    ids: np.ndarray
    labels: np.ndarray
    branch: np.ndarray
    group: np.ndarray
    positions: np.ndarray
    shown: list[Crop]
    slots: np.ndarray
    hints: list[Hint]
    spots: dict[int, str]


def tokens_of(crop: Crop) -> tuple[int, int]:
    """Rows and columns of a view's tokens."""
    return crop.codes.shape[0] // MERGE, crop.codes.shape[1] // MERGE


def in_tokens(crop: Crop, mask: np.ndarray) -> np.ndarray:
    """[token rows, token columns]: whether a vision token has any patch in `mask` [patch rows, patch columns]."""
    rows, columns = tokens_of(crop)
    return np.asarray(mask.reshape(rows, MERGE, columns, MERGE).any((1, 3)))


def tokens_with(crop: Crop, mask: np.ndarray) -> tuple[int, ...]:
    """Numbers of the vision tokens that have any patch in `mask` under them."""
    return tuple(int(number) for number in np.flatnonzero(in_tokens(crop, mask)))


@dataclass
class _Tokens:
    ids: list[int] = field(default_factory=list)
    positions: list[np.ndarray] = field(default_factory=list)
    next: int = 0
    groups: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    hints: list[Hint] = field(default_factory=list)
    spots: dict[int, str] = field(default_factory=dict)

    def hint(self, piece: Piece, count: int) -> None:
        """Note where the next `count` tokens, those of `piece`, are read from."""
        start = self.starts[-1 if piece.what == "letter" else 0]
        under = start + np.array(piece.under)
        for number in range(count):
            place = len(self.ids) + number - 1
            if piece.what == "nothing":
                self.hints += [(place, head, np.array([0])) for head in PLACE_HEADS]
            elif piece.what == "letter":
                self.hints += [(place, head, under) for head in HEADS["letter"]]
            else:
                reading = HEADS[piece.what][number]
                self.spots[place] = piece.what
                self.hints += [(place, head, under if head == reading else np.array([0])) for head in PLACE_HEADS]


class Rows:
    """Makes rows with one tokenizer."""

    def __init__(self, tokenizer: Any, groups: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._groups = list(groups)
        self.image_id: int = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._end: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        self._kept: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        if text not in self._kept:
            self._kept[text] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._kept[text]

    def _say(self, row: _Tokens, ids: Sequence[int], group: int = -1) -> None:
        row.ids += ids
        row.groups += [group] * len(ids)
        row.positions.append(np.tile(np.arange(row.next, row.next + len(ids)), (3, 1)))
        row.next += len(ids)

    def _show(self, row: _Tokens, crop: Crop) -> None:
        rows, columns = tokens_of(crop)
        row.starts.append(len(row.ids))
        row.ids += [self.image_id] * (rows * columns)
        row.groups += [-1] * (rows * columns)
        y, x = np.divmod(np.arange(rows * columns), columns)
        row.positions.append(np.stack([np.zeros_like(x), y, x]) + row.next)
        row.next += max(rows, columns)

    def _tokens(self, talk: Talk) -> _Tokens:
        row = _Tokens()
        for number, turn in enumerate(talk):
            group = self._groups.index(turn.group) if turn.taught else -1
            self._say(row, self._ids(("\n" if number else "") + "<|im_start|>user\n<|vision_start|>"))
            self._show(row, turn.shown)
            self._say(row, self._ids(f"<|vision_end|>{turn.question}<|im_end|>\n<|im_start|>assistant\n"))
            for piece in turn.reply:
                ids = self._ids(piece.text)
                if turn.taught and (piece.under or piece.what == "nothing"):
                    row.hint(piece, len(ids))
                self._say(row, ids, group)
            self._say(row, [self._end], group)
        return row

    def row(self, talks: Sequence[Talk]) -> Row:
        """All `talks` open with the same view."""
        parts: list[tuple[np.ndarray, ...]] = []
        shown = [talks[0][0].shown]
        rows, columns = tokens_of(shown[0])
        hints: list[Hint] = []
        spots: dict[int, str] = {}
        trunk, length = 0, 0
        for number, talk in enumerate(talks, 1):
            made = self._tokens(talk)
            ids = np.asarray(made.ids)
            labels = np.full(len(ids), IGNORED)
            group = np.append(np.asarray(made.groups)[1:], -1)  # of what is predicted here
            labels[group >= 0] = np.append(ids[1:], IGNORED)[group >= 0]
            arrays = (ids, labels, *np.concatenate(made.positions, 1), np.full(len(ids), number), group)
            if number == 1:
                trunk = length = made.starts[0] + rows * columns + 1
                parts.append(tuple(array[:trunk] for array in (*arrays[:5], np.zeros(len(ids), int), group)))
            shift = length - trunk
            for place, head, under in made.hints:
                hints.append((place + shift, head, np.where(under < trunk, under, under + shift)))
            spots |= {place + shift: what for place, what in made.spots.items()}
            parts.append(tuple(array[trunk:] for array in arrays))
            length += len(ids) - trunk
            shown += [turn.shown for turn in talk[1:]]
        ids, labels, t, y, x, branch, group = (np.concatenate(column) for column in zip(*parts, strict=True))
        slots = np.flatnonzero(ids == self.image_id)
        return Row(ids, labels, branch, group, np.stack([t, y, x]), shown, slots, hints, spots)
