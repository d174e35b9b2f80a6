"""Many conversations about one picture, trained in one sequence, each exactly as at inference.

A pack is a trunk (what all conversations share: up to and including the first view) and branches
(the rest of each conversation). Every branch sees the trunk and itself, and its positions go on from
the trunk's end, so its logits equal those of the conversation alone; the first view, most of the
cost, is computed once. Dense supervision is what makes a small model learn to locate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ergo.backends.processor import Processor, rope_positions
from ergo.chat import Chat
from ergo.image import View

IGNORED = -100


@dataclass(frozen=True)
class Conversation:
    """A chat that ends with a reply; `taught[i]` says whether the i-th assistant message is learnt.

    group: a name under which accuracy is logged.
    """

    chat: Chat
    taught: tuple[bool, ...]
    group: str


@dataclass(frozen=True)
class Pack:
    """One row. ids, labels, branch, group [length]; positions [3, length]; branch 0 is the trunk.

    labels: the id to be predicted AT this place (already shifted), or IGNORED. under [vision tokens]:
    the word for what lies under each vision token, or IGNORED; for the views in order.
    """

    ids: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    branch: np.ndarray
    group: np.ndarray
    views: tuple[View, ...]
    under: np.ndarray


def tokens_of(processor: Processor, conversation: Conversation) -> tuple[list[int], list[bool]]:
    """Ids of the whole conversation, and for each whether it is a taught reply (its end token included)."""
    chat = conversation.chat
    prepared = processor.first(chat[: _first_reply(chat)])
    ids, taught = list(prepared.ids), [False] * len(prepared.ids)
    replies = [number for number, message in enumerate(chat) if message.role == "assistant"]
    for turn, place in enumerate(replies):
        reply = [*processor.tokenizer(chat[place].text, add_special_tokens=False)["input_ids"], processor.end_id]
        ids += reply
        taught += [conversation.taught[turn]] * len(reply)
        if place + 1 < len(chat):
            more = processor.continued(ids, (), chat[: place + 2]).ids[len(ids) :]
            ids += more
            taught += [False] * len(more)
    return ids, taught


def _first_reply(chat: Chat) -> int:
    return next(number for number, message in enumerate(chat) if message.role == "assistant")


def pack(
    processor: Processor,
    conversations: Sequence[Conversation],
    groups: Sequence[str],
    words_under: Callable[[View], np.ndarray],
) -> Pack:
    """All `conversations` must open with the same view. words_under: labels of a view's tokens."""
    trunk: int | None = None
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    views: list[View] = []
    for number, conversation in enumerate(conversations, 1):
        seen = [view for message in conversation.chat for view in message.views]
        ids, taught = tokens_of(processor, conversation)
        array = np.asarray(ids)
        if trunk is None:
            trunk = int(np.argmax(array == processor.image_id)) + seen[0].tokens + 1  # and <|vision_end|>
            views.append(seen[0])
        positions = rope_positions(ids, seen, processor.image_id)
        labels = np.full(len(ids), IGNORED)
        mask = np.asarray(taught)
        labels[:-1][mask[1:]] = array[1:][mask[1:]]
        group = np.where(labels != IGNORED, groups.index(conversation.group), -1)
        if number == 1:
            parts.append((array[:trunk], labels[:trunk], positions[:, :trunk], np.zeros(trunk, int), group[:trunk]))
        length = len(ids) - trunk
        parts.append((array[trunk:], labels[trunk:], positions[:, trunk:], np.full(length, number), group[trunk:]))
        views += seen[1:]
    return Pack(
        ids=np.concatenate([part[0] for part in parts]),
        labels=np.concatenate([part[1] for part in parts]),
        positions=np.concatenate([part[2] for part in parts], axis=1),
        branch=np.concatenate([part[3] for part in parts]),
        group=np.concatenate([part[4] for part in parts]),
        views=tuple(views),
        under=np.concatenate([words_under(view) for view in views]),
    )


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
    }


def attention(branch: torch.Tensor) -> torch.Tensor:
    """branch [batch, length] -> additive mask [batch, 1, length, length]: causal, own branch and trunk only."""
    length = branch.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=branch.device).tril()
    same = branch[:, :, None] == branch[:, None, :]
    allowed = causal & (same | (branch == 0)[:, None, :])
    return torch.zeros(allowed.shape, device=branch.device).masked_fill(~allowed, torch.finfo(torch.float32).min)[:, None]
