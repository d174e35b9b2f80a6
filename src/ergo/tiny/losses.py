"""What the cold start is taught by beside plain next-token targets, and how its accuracy is measured."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from ergo.tiny.lessons import GROUPS
from ergo.tiny.packing import IGNORED
from ergo.tiny.teacher import GRID
from ergo.world.scene import PATTERNS


def patch_label_loss(model: Any, hidden: torch.Tensor, under: torch.Tensor) -> torch.Tensor:
    """Loss of predicting, at each vision token [tokens, hidden], the word for what lies under it.

    Predicted by the language model's last layer: when the vision tower's own features had to predict it, that drove the
    position out of them (docs/log.md).
    """
    known = under != IGNORED
    under = under[known]
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[known]), under, reduction="none")
    weights = torch.where(under == model.config.pad_token_id, 0.15, 1.0)
    mean: torch.Tensor = (losses * weights).sum() / weights.sum()
    return mean


class AttentionLoss:
    """Reads the attention of one layer's first heads in a forward pass, and how far it is from where it should be.

    While a place or a pattern is read off the picture, the look must rest on it. Nothing is added to
    the model: the loss (minus the log of the attention that falls on the evidence) shapes the same
    query and key weights that the task does, and the task alone found them too late (docs/log.md).
    """

    HEADS = 2

    def __init__(self, layer: Any) -> None:
        self._attention = layer.self_attn
        self._inputs: dict[str, Any] = {}
        self._hook = self._attention.register_forward_pre_hook(self._keep, with_kwargs=True)

    def _keep(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        self._inputs = inputs

    def loss(self, look_from: torch.Tensor, look_at: torch.Tensor) -> torch.Tensor:
        """look_from [looks, 2] (row, place), look_at [looks, length]; 0 where there are none."""
        self._hook.remove()
        hidden: torch.Tensor = self._inputs["hidden_states"]
        if not len(look_from):
            return hidden.new_zeros(())
        own, width = self._attention, self._attention.head_dim
        row, place = look_from.T
        shape = (*hidden.shape[:2], self.HEADS, width)
        part = self.HEADS * width
        queries = own.q_norm((hidden @ own.q_proj.weight[:part].T).view(shape)).transpose(1, 2)
        keys = own.k_norm((hidden @ own.k_proj.weight[:part].T).view(shape)).transpose(1, 2)
        queries, keys = apply_rotary_pos_emb(queries, keys, *self._inputs["position_embeddings"])
        scores = torch.einsum("nhd,nhld->nhl", queries[row, :, place], keys[row]) * own.scaling
        scores = scores + self._inputs["attention_mask"][row, 0, place][:, None]
        shares = scores.log_softmax(-1).masked_fill(~look_at[:, None], -torch.inf)
        loss: torch.Tensor = -shares.logsumexp(-1).mean()
        return loss


def coordinate_tokens(tokenizer: Any) -> dict[int, tuple[bool, int]]:
    """Token id -> (whether a space stands before it, value) of every coordinate on the grid."""
    found = {}
    for word, token in tokenizer.get_vocab().items():
        digits = word.lstrip("Ġ")
        if digits.isdecimal() and digits.isascii() and int(digits) % GRID == 0 and int(digits) <= 1000:
            found[token] = (word != digits, int(digits))
    return found


def smoothed_targets(tokenizer: Any, deviation: float) -> torch.Tensor:
    """[vocabulary, vocabulary]: row = target distribution of a label; one-hot but for coordinates."""
    table = torch.eye(len(tokenizer))
    if deviation > 0:
        coordinates = coordinate_tokens(tokenizer)
        for token, (spaced, value) in coordinates.items():
            for other, (other_spaced, other_value) in coordinates.items():
                if spaced == other_spaced:
                    table[token, other] = math.exp(-(((value - other_value) / deviation) ** 2) / 2)
    return table / table.sum(1, keepdim=True)


class Accuracy:
    """Accuracy of the tokens that matter, on batches that were never seen before, and the means of what else is measured.

    near_GROUP: coordinates at most one grid step off. pattern_GROUP: pattern words. Groups: GROUPS.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._value = torch.full((len(tokenizer),), -(10**6))
        for token, (_, value) in coordinate_tokens(tokenizer).items():
            self._value[token] = value
        patterns = {token for word, token in tokenizer.get_vocab().items() if word.lstrip("Ġ") in PATTERNS}
        self._pattern = torch.tensor([token in patterns for token in range(len(tokenizer))])
        self._sums: dict[str, list[float]] = defaultdict(list)

    def add(self, logits: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor, **measured: float) -> None:
        """One batch. logits [taught, vocabulary]; labels and groups [taught]. measured: what else, by name."""
        predicted, labels, groups = logits.argmax(-1).cpu(), labels.cpu(), groups.cpu()
        for name, value in measured.items():
            self._sums[name].append(value)
        coordinate = self._value[labels] >= 0
        for index, name in enumerate(GROUPS):
            chosen = (groups == index) & self._pattern[labels]
            if chosen.any():
                self._sums[f"pattern_{name}"].append(float((predicted[chosen] == labels[chosen]).float().mean()))
            chosen = (groups == index) & coordinate
            if chosen.any():
                off = (self._value[predicted[chosen]] - self._value[labels[chosen]]).abs()
                self._sums[f"near_{name}"].append(float((off <= GRID).float().mean()))

    def summary(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: round(float(np.mean(values)), 4) for name, values in sorted(self._sums.items())}
        self._sums.clear()
        return means
