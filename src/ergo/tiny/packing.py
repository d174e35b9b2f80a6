"""Many conversations about one picture, trained in one sequence, each exactly as at inference.

A pack is a trunk (what all conversations share: up to and including the first view) and branches
(the rest of each conversation). Every branch sees the trunk and itself, and its positions go on from
the trunk's end, so its logits equal those of the conversation alone; the first view, most of the
cost, is computed once. Dense supervision is what makes a small model learn to locate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ergo.backends.transformers.processor import Processor, rope_positions
from ergo.core.geometry import Box
from ergo.core.messages import Chat, Message
from ergo.core.view import View
from ergo.tiny.teacher import LabelledReply, text_of

IGNORED = -100


@dataclass(frozen=True)
class Exchange:
    """What a user's messages show and ask (`prompt` ends with one), and the reply to it.

    taught: whether the reply is learnt, or only goes on record.
    """

    prompt: Chat
    reply: LabelledReply
    taught: bool = True


@dataclass(frozen=True)
class Conversation:
    """One or two exchanges. group: a name under which accuracy is logged.

    hinted: whether attention is taught where to rest, which one layer can only do where one step leads
    there; a direct look needs several, and the hint would teach noise.
    """

    exchanges: tuple[Exchange, ...]
    group: str
    hinted: bool = True

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(view for exchange in self.exchanges for message in exchange.prompt for view in message.views)


@dataclass
class _Tokens:
    """A conversation as tokens. taught: part of a learnt reply. look: for tokens read off a
    view, which tokens of the conversation they are read from."""

    ids: list[int] = field(default_factory=list)
    taught: list[bool] = field(default_factory=list)
    look: dict[int, np.ndarray] = field(default_factory=dict)


def tokens_of(processor: Processor, conversation: Conversation) -> _Tokens:
    """Ids exactly as `Processor` makes them at inference, replies included with their end token."""
    chat: Chat = ()
    row = _Tokens()
    first: tuple[View, int] | None = None
    for exchange in conversation.exchanges:
        chat += exchange.prompt
        prepared = processor.continued(row.ids, (), chat) if row.ids else processor.first(chat)
        view = exchange.prompt[-1].views[-1]
        latest = view, len(row.ids) + prepared.ids[len(row.ids) :].index(processor.image_id)
        first = first or latest
        row.taught += [False] * (len(prepared.ids) - len(row.ids))
        row.ids = list(prepared.ids)
        for piece in exchange.reply:
            ids = processor.tokenizer(piece.text, add_special_tokens=False)["input_ids"]
            if piece.look and exchange.taught and conversation.hinted:
                shown, start = first if piece.coarsely else latest
                under = start + tokens_in(shown, piece.look)
                row.look |= {len(row.ids) + number: under for number in range(len(ids))}
            row.ids += ids
            row.taught += [exchange.taught] * len(ids)
        row.ids.append(processor.end_id)
        row.taught.append(exchange.taught)
        chat += (Message("assistant", (text_of(exchange.reply),)),)
    return row


def tokens_in(view: View, boxes: tuple[Box, ...]) -> np.ndarray:
    """Which of a view's tokens (row by row) have their centre in a box; the nearest one where none has."""
    columns, rows = view.size.width // view.patch, view.size.height // view.patch
    x = view.box.left + (np.arange(columns) + 0.5) * view.box.size.width / columns
    y = view.box.top + (np.arange(rows) + 0.5) * view.box.size.height / rows
    chosen = np.zeros((rows, columns), bool)
    for box in boxes:
        inside = np.ix_((y >= box.top) & (y < box.bottom), (x >= box.left) & (x < box.right))
        chosen[inside] = True
        if not chosen[inside].size:
            chosen[np.abs(y - (box.top + box.bottom) / 2).argmin(), np.abs(x - (box.left + box.right) / 2).argmin()] = (
                True
            )
    return np.flatnonzero(chosen)


@dataclass(frozen=True)
class Pack:
    """One row. ids, labels, branch, group [length]; positions [3, length]; branch 0 is the trunk.

    labels: the id to be predicted AT this place (already shifted), or IGNORED. under [vision tokens]:
    the word for what lies under each vision token, or IGNORED; for the views in order. look: place
    -> places of the vision tokens from which the next word is read.
    """

    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    branch: np.ndarray
    group: np.ndarray
    views: tuple[View, ...]
    under: np.ndarray
    look: dict[int, np.ndarray]


def pack(
    processor: Processor,
    conversations: Sequence[Conversation],
    groups: Sequence[str],
    words_under: Callable[[View], np.ndarray],
) -> Pack:
    """All `conversations` must open with the same view. words_under: labels of a view's tokens."""
    parts: list[tuple[np.ndarray, ...]] = []
    views = [conversations[0].views[0]]
    look: dict[int, np.ndarray] = {}
    trunk, length = 0, 0
    for number, conversation in enumerate(conversations, 1):
        row = tokens_of(processor, conversation)
        ids = np.asarray(row.ids)
        positions = rope_positions(ids, conversation.views, processor.image_id)
        labels = np.full(len(ids), IGNORED)
        mask = np.asarray(row.taught)[1:]
        labels[:-1][mask] = ids[1:][mask]
        group = np.where(labels != IGNORED, groups.index(conversation.group), -1)
        columns = (ids, labels, *positions, np.full(len(ids), number), group)
        if number == 1:  # up to and including the <|vision_end|> of the first view
            trunk = length = int(np.argmax(ids == processor.image_id)) + views[0].tokens + 1
            parts.append(tuple(column[:trunk] for column in (*columns[:5], np.zeros(len(ids), int), group)))
        shift = length - trunk
        for place, under in row.look.items():
            look[place - 1 + shift] = np.where(under < trunk, under, under + shift)
        parts.append(tuple(column[trunk:] for column in columns))
        length += len(ids) - trunk
        views += conversation.views[1:]
    ids, labels, t, y, x, branch, group = (np.concatenate(column) for column in zip(*parts, strict=True))
    under = np.concatenate([words_under(view) for view in views])
    return Pack(ids, labels, np.stack([t, y, x]), branch, group, tuple(views), under, look)


def collate(processor: Processor, packs: Sequence[Pack]) -> dict[str, torch.Tensor]:
    """Right-padded tensors; attention [batch, 1, length, length] is additive."""
    length = max(len(one.ids) for one in packs)
    shape = (len(packs), length)
    ids = torch.full(shape, processor.tokenizer.pad_token_id)
    labels = torch.full(shape, IGNORED)
    group = torch.full(shape, -1)
    branch = torch.full(shape, -1)
    positions = torch.zeros((3, *shape), dtype=torch.long)
    for row, one in enumerate(packs):
        here = slice(0, len(one.ids))
        ids[row, here], labels[row, here] = torch.from_numpy(one.ids), torch.from_numpy(one.labels)
        group[row, here], branch[row, here] = torch.from_numpy(one.group), torch.from_numpy(one.branch)
        positions[:, row, here] = torch.from_numpy(one.positions)
    values, grids = processor.pixels([view for one in packs for view in one.views])
    return {
        "input_ids": ids,
        "labels": labels,
        "group": group,
        "branch": branch,
        "position_ids": positions,
        "pixel_values": values,
        "image_grid_thw": grids,
        "under": torch.from_numpy(np.concatenate([one.under for one in packs])),
        **_looks(packs, length),
    }


def _looks(packs: Sequence[Pack], length: int) -> dict[str, torch.Tensor]:
    """look_from [looks, 2]: row and place; look_at [looks, length]: whether it is read from there."""
    places = [(row, place) for row, one in enumerate(packs) for place in one.look]
    at = torch.zeros((len(places), length), dtype=torch.bool)
    for number, (row, place) in enumerate(places):
        at[number, torch.from_numpy(packs[row].look[place])] = True
    return {"look_from": torch.tensor(places, dtype=torch.long).reshape(-1, 2), "look_at": at}


def attention(branch: torch.Tensor) -> torch.Tensor:
    """branch [batch, length] -> additive mask [batch, 1, length, length]: causal, own branch and trunk only."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    same = branch[:, :, None] == branch[:, None, :]
    allowed = causal & (same | (branch == 0)[:, None, :])
    return torch.zeros(allowed.shape, device=branch.device).masked_fill(~allowed, torch.finfo(torch.float32).min)[
        :, None
    ]
