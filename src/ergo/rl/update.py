"""What the update computes of each rollout: log-probability and entropy of the sampled tokens, and as little else as it can.

token_scores              episodes -> one number a sampled token
├── the prompts           each once for its whole group: coarse view, question; the rollouts share its keys and values
├── the completions       what follows, row by row, on top of them
└── logits                of sampled tokens only: not of the close view and the second question, which nobody sampled

Gradients are those of computing every row by itself (tests/rl/test_update.py), up to the order in which floats are added.
Where weights are sharded, copied to several processes, or recomputed layer by layer (gradient checkpointing keeps no
keys and values), rows are computed whole: `share` says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from ergo.backends.transformers.bridge import hidden_states, image_features, select_rows
from ergo.backends.transformers.processor import Processor, rope_positions
from ergo.core.view import View
from ergo.rl.episode import Episode

CHUNK = 32768  # words of the vocabulary whose logits are held at once


@dataclass(frozen=True)
class Row:
    """A conversation cut in two. before: tokens computed earlier. positions: [3, length] of all of `ids`."""

    ids: tuple[int, ...]
    positions: torch.Tensor
    before: int = 0

    @property
    def length(self) -> int:
        return len(self.ids) - self.before


@dataclass(frozen=True)
class Padded:
    """Rows on one side of a rectangle: ids, mask [rows, length], positions [3, rows, length]."""

    ids: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], pad: int, left: bool, device: torch.device) -> Padded:
        length = max(row.length for row in rows)
        ids = torch.full((len(rows), length), pad)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        positions = torch.zeros((3, len(rows), length), dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(length - row.length, length) if left else slice(0, row.length)
            ids[number, place] = torch.tensor(row.ids[row.before :])
            mask[number, place] = 1
            positions[:, number, place] = row.positions[:, row.before :]
        return cls(ids.to(device), mask.to(device), positions.to(device))


def token_scores(
    model: Any, bare: Any, processor: Processor, episodes: Sequence[Episode], temperature: float, share: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability and entropy of every sampled token of the completions, [tokens], row after row.

    model: as accelerate wrapped it. bare: the same without wrapping, its adapters in place.
    """
    if share:
        return _shared(bare, processor, episodes, temperature)
    return _whole(model, bare, processor, episodes)


def _shared(
    model: Any, processor: Processor, episodes: Sequence[Episode], temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """All but the last token of each distinct prompt first; its hidden state already tells of the first sampled token."""
    device, pad = model.device, processor.tokenizer.pad_token_id or 0
    rows, seen = [], []
    for one in episodes:
        rows.append(_row(processor, one, before=len(one.prompt) - 1))
        seen.append(_views_within(one.views, one.prompt.count(processor.image_id)))
    groups: dict[Any, int] = {}
    firsts: list[int] = []
    of_group = []
    for number, (one, views) in enumerate(zip(episodes, seen, strict=True)):
        key = (one.prompt, *((id(view.picture), view.box, view.size) for view in one.views[:views]))
        if key not in groups:
            groups[key] = len(groups)
            firsts.append(number)
        of_group.append(groups[key])
    beginnings = [rows[first] for first in firsts]
    beginnings = [Row(row.ids[: row.before], row.positions[:, : row.before]) for row in beginnings]
    prompts = Padded.of(beginnings, pad, left=True, device=device)
    cache = DynamicCache(config=model.config.get_text_config())
    coarse = [view for first in firsts for view in episodes[first].views[: seen[first]]]
    hidden_states(model, prompts.ids, prompts.mask, prompts.positions, cache, _features(model, processor, coarse))
    chosen = torch.tensor(of_group, device=device)
    select_rows(cache, chosen)
    own = Padded.of(rows, pad, left=False, device=device)
    close = [view for one, views in zip(episodes, seen, strict=True) for view in one.views[views:]]
    mask = torch.cat([prompts.mask[chosen], own.mask], 1)
    hidden = hidden_states(model, own.ids, mask, own.positions, cache, _features(model, processor, close))
    sampled = sampled_of(episodes, own.ids.shape[1] - 1).to(device)
    head = model.get_output_embeddings()
    logprobs, entropy, *_ = ChunkedLogProbFunction.apply(
        hidden[:, :-1][sampled], head.weight, head.bias, own.ids[:, 1:][sampled], temperature, CHUNK,
        getattr(model.config.get_text_config(), "final_logit_softcapping", None), 1.0, ("log_probs", "entropy"),
    )  # fmt: skip
    return logprobs, entropy


def _whole(
    model: Any, bare: Any, processor: Processor, episodes: Sequence[Episode]
) -> tuple[torch.Tensor, torch.Tensor]:
    """In one call of the wrapped model, as sharded and recomputed weights want it, through TRL's head (it knows the temperature)."""
    device = bare.device
    own = Padded.of(
        [_row(processor, one, before=0) for one in episodes], processor.tokenizer.pad_token_id or 0, left=False, device=device
    )  # fmt: skip
    values, grids = processor.pixels([view for one in episodes for view in one.views])
    sampled = torch.zeros_like(own.ids, dtype=torch.bool)
    for number, one in enumerate(episodes):
        sampled[number, len(one.prompt) : len(one.prompt) + len(one.sampled)] = torch.tensor(one.sampled) == 1
    out = model(
        input_ids=own.ids,
        attention_mask=own.mask,
        position_ids=own.positions,
        pixel_values=values.to(device),
        image_grid_thw=grids.to(device),
        labels=own.ids.masked_fill(~sampled, -100),
        fused_lm_head=True,
    )
    logprobs = out.log_probs[sampled[:, 1:]]
    if (
        out.entropy is None
    ):  # of the reference that `beta` wants: nobody asks for its entropy, and TRL's head gives none
        return logprobs, torch.zeros_like(logprobs)
    return logprobs, out.entropy[sampled[:, 1:]]


def _row(processor: Processor, one: Episode, before: int) -> Row:
    ids = (*one.prompt, *one.completion)
    return Row(ids, torch.from_numpy(rope_positions(ids, one.views, processor.image_id)), before)


def sampled_of(episodes: Sequence[Episode], length: int) -> torch.Tensor:
    """Which tokens of the completions were sampled, [rows, length]."""
    sampled = torch.zeros((len(episodes), length), dtype=torch.bool)
    for number, one in enumerate(episodes):
        sampled[number, : len(one.sampled)] = torch.tensor(one.sampled) == 1
    return sampled


def _views_within(views: Sequence[View], tokens: int) -> int:
    """How many of the views make up the first so many vision tokens."""
    count = 0
    while tokens > 0:
        tokens -= views[count].tokens
        count += 1
    return count


def _features(model: Any, processor: Processor, views: Sequence[View]) -> Any:
    """Of the vision tower; nothing is kept for a backward pass through a frozen one, as none of it wants a gradient."""
    if not views:
        return None
    values, grids = processor.pixels(views)
    return image_features(model, values.to(model.device), grids.to(model.device))
