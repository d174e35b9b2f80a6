"""The model with its training heads, and one forward pass over rows."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface

from ergo.photo_world.heads import LONGEST, LabelHead, OrderHead, PlaceHead, coordinate_values, label_loss, softened
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.lessons import GROUPS
from ergo.photo_world.lettering import NOTHING
from ergo.photo_world.model import GRID
from ergo.photo_world.pages import PATCH, SIGN, Crop
from ergo.photo_world.rows import IGNORED, Row, Rows
from ergo.photo_world.tower import MERGE, float_attention, in_tower_order, merge, patches_of, see
from ergo.photo_world.training import share_right
from ergo.tiny.losses import AttentionLoss
from ergo.tiny.packing import attention

LOOKING_LAYER = 1
HEADS = "heads.safetensors"

FLOAT_ATTENTION = "ergo_float_attention"


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface to `float_attention`; its scale is the usual one."""
    return float_attention(query, key, value, attention_mask).transpose(1, 2).contiguous(), None


AttentionInterface.register(FLOAT_ATTENTION, attend)


class Learner:
    """The model with its training heads, and one forward pass over rows."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        model.model.language_model.config._attn_implementation = FLOAT_ATTENTION
        self.tokenizer = tokenizer
        width = model.config.text_config.hidden_size
        self.labels, self.order, self.place = LabelHead(width), OrderHead(width), PlaceHead(width)
        self.rows = Rows(tokenizer, GROUPS)
        self.spread = softened(tokenizer)
        spoken = [tokenizer.pad_token, "Ġsign", *(f"Ġ{kind}" for kind in KINDS)]  # labels 0, SIGN, SIGN + 1, ...
        self.names = torch.tensor(tokenizer.convert_tokens_to_ids(spoken))
        self.value = torch.full((len(tokenizer),), -(10**6))
        for token, (_, value) in coordinate_values(tokenizer).items():
            self.value[token] = value

    @property
    def modules(self) -> tuple[Any, ...]:
        return self.model, self.labels, self.order, self.place

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [
            (f"{number}.{name}", weight)
            for number, module in enumerate(self.modules)
            for name, weight in module.named_parameters()
        ]

    def loss(self, rows: list[Row], looking: float, labelling: float) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, and what was right in it."""
        notes: dict[str, float] = {}
        tokens, label_part = self._see([crop for row in rows for crop in row.shown], notes)
        ids, labels, branch, group, positions = collate(rows, self.tokenizer.pad_token_id)
        language = self.model.model.language_model
        embedded = language.embed_tokens(ids)
        place, at = 0, []
        for number, row in enumerate(rows):
            at += [(number, int(slot)) for slot in row.slots]
            place += len(row.shown)
        where = torch.tensor(at).T
        embedded = embedded.index_put((where[0], where[1]), torch.cat(tokens).float())
        watched = AttentionLoss(language.layers[LOOKING_LAYER])
        hidden = language(
            inputs_embeds=embedded, attention_mask=attention(branch), position_ids=positions, use_cache=False
        ).last_hidden_state
        taught = labels != IGNORED
        logits = self.model.lm_head(hidden[taught]).float()
        said = -(self.spread[labels[taught]] * logits.log_softmax(-1)).sum(-1).mean()
        hinted = watched.loss(*_hints(rows, ids.shape[1]))
        notes |= {"said": float(said.detach()), "looking": float(hinted.detach())}
        self._judge(logits.detach().argmax(-1), labels, branch, group, taught, notes)
        return said + looking * hinted + labelling * label_part, notes

    def _see(self, shown: list[Crop], notes: dict[str, float]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Every view's tokens, in order, and the loss of naming what lies under its patches."""
        visual = self.model.model.visual
        shapes = defaultdict(list)
        for number, crop in enumerate(shown):
            shapes[crop.codes.shape].append(number)
        tokens: list[torch.Tensor] = [torch.empty(0)] * len(shown)
        hidden_parts, code_parts, order_parts, placed, named_parts = [], [], [], [], []
        for shape, numbers in shapes.items():
            crops = [shown[number] for number in numbers]
            hidden = see(visual, patches_of(np.stack([crop.pixels for crop in crops]), PATCH), *shape)
            merged = merge(visual, hidden)
            for number, each in zip(numbers, merged, strict=True):
                tokens[number] = each
            share = len(numbers) / len(shown)
            placed.append(self.place.loss(merged, shape[0] // MERGE, shape[1] // MERGE) * share)
            named_parts.append(self._name(merged, np.stack([crop.codes for crop in crops])) * share)
            hidden_parts.append(hidden.flatten(0, 1))
            code_parts.append(in_tower_order(np.stack([crop.codes for crop in crops])).ravel())
            order_parts.append(in_tower_order(np.stack([crop.order for crop in crops])).ravel())
        hidden = torch.cat(hidden_parts)
        codes = torch.from_numpy(np.concatenate(code_parts)).long()
        order = torch.from_numpy(np.concatenate(order_parts)).long().clamp(max=LONGEST)
        logits = self.labels(hidden).float()
        loss = label_loss(logits, codes)
        ordered = order > 0
        if bool(ordered.any()):
            loss = loss + torch.nn.functional.cross_entropy(self.order(hidden[ordered]).float(), order[ordered])
        where, spoken = torch.stack(placed).sum(), torch.stack(named_parts).sum()
        loss = loss + 2 * where + spoken
        notes["spoken"] = float(spoken.detach())
        named = logits.detach().argmax(-1)
        notes["place"] = float(where.detach())
        notes["letters"] = share_right(named, codes, (codes > NOTHING) & (codes < SIGN))
        notes["things"] = share_right(named, codes, codes > SIGN)
        notes["labels"] = float(loss.detach())
        return tokens, loss

    def _name(self, tokens: torch.Tensor, codes: np.ndarray) -> torch.Tensor:
        """Loss of telling, by the language model's own embeddings, which thing or sign each vision token shows.

        So a word finds what it names by likeness from the start, instead of learning eighty pairs by attention.
        tokens [B, n, width]; codes [B, patch rows, patch columns].
        """
        count, rows, columns = codes.shape
        patches = codes.reshape(count, rows // MERGE, MERGE, columns // MERGE, MERGE)
        labels = torch.from_numpy(patches.max((2, 4)).reshape(count, -1)).long()
        labels = torch.where(labels >= SIGN, labels - SIGN + 1, 0)
        width = tokens.shape[-1]
        words = self.model.model.language_model.embed_tokens(self.names)
        logits = torch.nn.functional.layer_norm(tokens, (width,)) @ words.T
        losses = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="none")
        weights = torch.where(labels.flatten() == 0, 0.1, 1.0)
        mean: torch.Tensor = (losses * weights).sum() / weights.sum()
        return mean

    def _judge(self, said: torch.Tensor, labels: torch.Tensor, branch: torch.Tensor, group: torch.Tensor,
               taught: torch.Tensor, notes: dict[str, float]) -> None:  # fmt: skip
        """right_GROUP: tokens. exact_GROUP: replies right from end to end, as greedy decoding would have them.
        near_GROUP: coordinates at most one grid step off."""
        truth, groups = labels[taught], group[taught]
        talks = (torch.arange(len(labels))[:, None] * 1000 + branch)[taught]
        number = self.value[truth] >= 0
        for index, name in enumerate(GROUPS):
            chosen = groups == index
            notes[f"right_{name}"] = share_right(said, truth, chosen)
            if name in ("word", "answer", "empty") and bool(chosen.any()):
                _, member = torch.unique(talks[chosen], return_inverse=True)
                wrong = torch.zeros(int(member.max()) + 1).index_add(0, member, (said != truth)[chosen].float())
                notes[f"exact_{name}"] = float((wrong == 0).float().mean())
            if bool((chosen & number).any()):
                off = (self.value[said[chosen & number]] - self.value[truth[chosen & number]]).abs()
                notes[f"near_{name}"] = float((off <= GRID).float().mean())


def collate(rows: list[Row], pad: int) -> tuple[torch.Tensor, ...]:
    """Right-padded ids, labels, branch, group [batch, length] and positions [3, batch, length]."""
    length = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), length), pad)
    labels, branch, group = torch.full_like(ids, IGNORED), torch.full_like(ids, -1), torch.full_like(ids, -1)
    positions = torch.zeros((3, *ids.shape), dtype=torch.long)
    for number, row in enumerate(rows):
        here = slice(0, len(row.ids))
        ids[number, here], labels[number, here] = torch.from_numpy(row.ids), torch.from_numpy(row.labels)
        branch[number, here], group[number, here] = torch.from_numpy(row.branch), torch.from_numpy(row.group)
        positions[:, number, here] = torch.from_numpy(row.positions)
    return ids, labels, branch, group, positions


def _hints(rows: list[Row], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    places = [(number, place) for number, row in enumerate(rows) for place in row.hints]
    at = torch.zeros((len(places), length), dtype=torch.bool)
    for line, (number, place) in enumerate(places):
        at[line, torch.from_numpy(rows[number].hints[place])] = True
    return torch.tensor(places, dtype=torch.long).reshape(-1, 2), at


def load_start(learner: Learner, start: Path) -> None:
    """Weights of an earlier part: of the tower alone after letters, of everything after words or from an export."""
    if not (start / "state.pt").is_file():
        _load_export(learner, start)
        return
    kept = torch.load(start / "state.pt", map_location="cpu", weights_only=True)["modules"]
    if len(kept) > 2:
        for module, weights in zip(learner.modules, kept, strict=False):  # heads that came later start afresh
            module.load_state_dict(weights)
        return
    tower = {
        name.removeprefix("model.visual."): weight
        for name, weight in kept[0].items()
        if name.startswith("model.visual.")
    }
    learner.model.model.visual.load_state_dict(tower)
    learner.labels.load_state_dict(kept[1])


def save_heads(learner: Learner, folder: Path) -> None:
    """The training heads beside an exported model, in half precision."""
    heads = {
        f"{number}.{name}": weight.half().contiguous()
        for number, module in enumerate(learner.modules[1:], 1)
        for name, weight in module.state_dict().items()
    }
    save_file(heads, folder / HEADS)


def _load_export(learner: Learner, folder: Path) -> None:
    weights = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    missing, unexpected = learner.model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:  # which is tied to the embeddings
        raise ValueError(f"{folder} is another model: {unexpected or missing} does not fit")
    heads = load_file(folder / HEADS)
    for number, module in enumerate(learner.modules[1:], 1):
        mine = {name: weight.float() for name, weight in heads.items() if name.startswith(f"{number}.")}
        module.load_state_dict({name.split(".", 1)[1]: weight for name, weight in mine.items()})
