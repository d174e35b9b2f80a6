"""The model with its training heads, and one forward pass over rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AttentionInterface
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from ergo.photo_world.heads import LONGEST, LabelHead, OrderHead, PlaceHead, coordinate_values, label_loss, softened
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.lessons import GROUPS
from ergo.photo_world.lettering import NOTHING
from ergo.photo_world.model import GRID
from ergo.photo_world.pages import LABELS, MERGE, PATCH, SIGN, STICKER, THING, Crop
from ergo.photo_world.rows import HEADS, IGNORED, Row, Rows
from ergo.photo_world.scene import STICKER_COLOURS, STICKER_SHAPES
from ergo.photo_world.tower import float_attention, in_tower_order, merge, patches_of, see
from ergo.photo_world.training import share_right
from ergo.tiny.packing import attention

ATTENTION_LAYER = 1  # whose heads are supervised
HEADS_FILE = "heads.safetensors"

FIRST_STICKER = min(STICKER.values())

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


class SupervisedLayer:
    """Reads one layer's input and output in a forward pass, and how far its heads' attention is from the evidence.

    Nothing is added to the model: the loss (minus the log of the attention that falls on the evidence) shapes the same
    query and key weights that the task does, and the task alone found them too late (docs/log.md).
    """

    def __init__(self, layer: Any) -> None:
        self._attention = layer.self_attn
        self._inputs: dict[str, Any] = {}
        self.output = torch.empty(0)
        self._hooks = [
            self._attention.register_forward_pre_hook(self._keep_input, with_kwargs=True),
            layer.register_forward_hook(self._keep_output),
        ]

    def _keep_input(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        self._inputs = inputs

    def _keep_output(self, _: Any, __: Any, output: Any) -> None:
        self.output = output if isinstance(output, torch.Tensor) else output[0]

    def attention_loss(self, rows: list[Row], notes: dict[str, float]) -> torch.Tensor:
        """The mean over all hints; notes: the share of attention that falls on the evidence, by group of heads."""
        for hook in self._hooks:
            hook.remove()
        hidden: torch.Tensor = self._inputs["hidden_states"]
        hints = [(number, *hint) for number, row in enumerate(rows) for hint in row.hints]
        if not hints:
            return hidden.new_zeros(())
        look_at = torch.zeros((len(hints), hidden.shape[1]), dtype=torch.bool)
        for line, (_, _, _, under) in enumerate(hints):
            look_at[line, torch.from_numpy(under)] = True
        row, place, head = torch.tensor([hint[:3] for hint in hints]).T
        own = self._attention
        shape = (*hidden.shape[:2], -1, own.head_dim)
        queries = own.q_norm(own.q_proj(hidden).view(shape)).transpose(1, 2)
        keys = own.k_norm(own.k_proj(hidden).view(shape)).transpose(1, 2)
        queries, keys = apply_rotary_pos_emb(queries, keys, *self._inputs["position_embeddings"])
        scores = torch.einsum("nd,nld->nl", queries[row, head, place], keys[row, head]).float() * own.scaling
        scores = scores + self._inputs["attention_mask"][row, 0, place]
        share = scores.log_softmax(-1).masked_fill(~look_at, -torch.inf).logsumexp(-1)
        seeing = torch.tensor([bool(under[0]) for *_, under in hints])
        for name, heads in HEADS.items():
            chosen = seeing & torch.isin(head, torch.tensor(heads))
            if bool(chosen.any()):
                notes[f"sees_{name}"] = float(share.detach()[chosen].exp().mean())
        weights = torch.where(seeing, 1.0, 0.2)  # three heads rest for each that reads
        loss: torch.Tensor = -(share * weights).sum() / weights.sum()
        return loss


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
        self.names, self.called = words_of_labels(tokenizer)
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

    def loss(
        self, rows: list[Row], attention_weight: float, patch_label_weight: float, pages: Sequence[Crop] = ()
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, and what was right in it. pages: what only the vision tower is shown."""
        notes: dict[str, float] = {}
        shown = [crop for row in rows for crop in row.shown]
        tokens, label_part = self._see([*shown, *pages], notes)
        tokens = tokens[: len(shown)]
        ids, labels, branch, group, positions = collate(rows, self.tokenizer.pad_token_id)
        language = self.model.model.language_model
        embedded = language.embed_tokens(ids)
        place, at = 0, []
        for number, row in enumerate(rows):
            at += [(number, int(slot)) for slot in row.slots]
            place += len(row.shown)
        where = torch.tensor(at).T
        embedded = embedded.index_put((where[0], where[1]), torch.cat(tokens).float())
        supervised = SupervisedLayer(language.layers[ATTENTION_LAYER])
        hidden = language(
            inputs_embeds=embedded, attention_mask=attention(branch), position_ids=positions, use_cache=False
        ).last_hidden_state
        taught = labels != IGNORED
        logits = self.model.lm_head(hidden[taught]).float()
        reply_loss = -(self.spread[labels[taught]] * logits.log_softmax(-1)).sum(-1).mean()
        attention_loss = supervised.attention_loss(rows, notes)
        early = self._early(supervised.output, rows, labels)
        notes["reply"] = float(reply_loss.detach())
        notes["early"] = float(early.detach()) or math.nan
        predicted = torch.full_like(labels, IGNORED)
        predicted[taught] = logits.detach().argmax(-1)
        self._judge(predicted, labels, branch, group, notes)
        self._judge_places(predicted, labels, rows, notes)
        return reply_loss + early + attention_weight * attention_loss + patch_label_weight * label_part, notes

    def _early(self, hidden: torch.Tensor, rows: list[Row], labels: torch.Tensor) -> torch.Tensor:
        """Loss of telling the coordinates of things and signs already from what the supervised layer gives: what its
        heads rest on is worth little before they pass on where that stands."""
        at = [(number, place) for number, row in enumerate(rows) for place in row.spots]
        if not at:
            return hidden.new_zeros(())
        row, place = torch.tensor(at).T
        logits = self.model.lm_head(self.model.model.language_model.norm(hidden[row, place])).float()
        loss: torch.Tensor = -(self.spread[labels[row, place]] * logits.log_softmax(-1)).sum(-1).mean()
        return loss

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
            centres = np.stack([_centres(crop) for crop in crops])
            placed.append(self.place.loss(merged, torch.from_numpy(centres)) * share)
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
        notes["things"] = share_right(named, codes, (codes > SIGN) & (codes < FIRST_STICKER))
        notes["stickers"] = share_right(named, codes, codes >= FIRST_STICKER)
        notes["labels"] = float(loss.detach())
        return tokens, loss

    def _name(self, tokens: torch.Tensor, codes: np.ndarray) -> torch.Tensor:
        """Loss of telling, by the language model's own embeddings, which thing, sign or sticker a vision token shows.

        So a word finds what it names by likeness from the start, instead of learning ninety pairs by attention.
        tokens [B, n, width]; codes [B, patch rows, patch columns].
        """
        count, rows, columns = codes.shape
        patches = codes.reshape(count, rows // MERGE, MERGE, columns // MERGE, MERGE)
        called = self.called[torch.from_numpy(patches.max((2, 4)).reshape(count, -1)).long()]
        width = tokens.shape[-1]
        words = self.model.model.language_model.embed_tokens(self.names)
        logits = torch.nn.functional.layer_norm(tokens, (width,)) @ words.T
        losses = -(called * logits.float().log_softmax(-1)).sum(-1)
        weights = torch.where(called[..., 0] > 0, 0.1, 1.0)
        mean: torch.Tensor = (losses * weights).sum() / weights.sum()
        return mean

    def _judge(self, predicted: torch.Tensor, labels: torch.Tensor, branch: torch.Tensor, group: torch.Tensor,
               notes: dict[str, float]) -> None:  # fmt: skip
        """right_GROUP: tokens. exact_GROUP: replies right from end to end, as greedy decoding would have them."""
        taught = labels != IGNORED
        truth, groups, guessed = labels[taught], group[taught], predicted[taught]
        talks = (torch.arange(len(labels))[:, None] * 1000 + branch)[taught]
        for index, name in enumerate(GROUPS):
            chosen = groups == index
            notes[f"right_{name}"] = share_right(guessed, truth, chosen)
            if name in ("word", "answer", "empty") and bool(chosen.any()):
                _, member = torch.unique(talks[chosen], return_inverse=True)
                wrong = torch.zeros(int(member.max()) + 1).index_add(0, member, (guessed != truth)[chosen].float())
                notes[f"exact_{name}"] = float((wrong == 0).float().mean())

    def _judge_places(
        self, predicted: torch.Tensor, labels: torch.Tensor, rows: list[Row], notes: dict[str, float]
    ) -> None:
        """near_: coordinates at most one grid step off, of things, of signs, and of regions' corners."""
        near = (self.value[predicted] - self.value[labels]).abs() <= GRID
        what = torch.where((self.value[labels] >= 0) & (labels != IGNORED), 1, 0)
        for number, row in enumerate(rows):
            for place, name in row.spots.items():
                what[number, place] = 2 if name == "thing" else 3
        for code, name in ((1, "corner"), (2, "thing"), (3, "sign")):
            chosen = what == code
            if bool(chosen.any()):
                notes[f"near_{name}"] = float(near[chosen].float().mean())


def _centres(crop: Crop) -> np.ndarray:
    if crop.centres is None:
        return np.full((crop.codes.shape[0] // MERGE, crop.codes.shape[1] // MERGE, 2), np.nan, np.float32)
    return crop.centres.astype(np.float32)


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


def words_of_labels(tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids [n] of the words that name what a label stands for, the first of them for nothing to be named, and
    how far each names each label [LABELS, n]: a sticker is named by its colour and by its shape."""
    words = ["", "sign", *KINDS, *STICKER_COLOURS, *STICKER_SHAPES]
    ids = tokenizer.convert_tokens_to_ids([tokenizer.pad_token, *("Ġ" + word for word in words[1:])])
    called = torch.zeros(LABELS, len(words))
    called[:SIGN, 0] = 1
    called[SIGN, 1] = 1
    for kind, label in THING.items():
        called[label, words.index(kind)] = 1
    for both, label in STICKER.items():
        for word in both:
            called[label, words.index(word)] = 0.5
    return torch.tensor(ids), called


def load_start(learner: Learner, start: Path) -> None:
    """Weights of an earlier part: of the tower alone after letters, of everything after words or from an export."""
    if not (start / "state.pt").is_file():
        _load_export(learner, start)
        return
    kept = torch.load(start / "state.pt", map_location="cpu", weights_only=True)["modules"]
    if len(kept) > 2:
        for module, weights in zip(learner.modules, kept, strict=False):  # heads that came later start afresh
            _load(module, weights)
        return
    tower = {
        name.removeprefix("model.visual."): weight
        for name, weight in kept[0].items()
        if name.startswith("model.visual.")
    }
    learner.model.model.visual.load_state_dict(tower)
    _load(learner.labels, kept[1])


def _load(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Labels that came later (at the end of the table) start afresh."""
    own = module.state_dict()
    for name, weight in weights.items():
        if 0 < len(weight) < len(own[name]):
            weights = weights | {name: torch.cat([weight, own[name][len(weight) :]])}
    module.load_state_dict(weights)


def save_heads(learner: Learner, folder: Path) -> None:
    """The training heads beside an exported model, in half precision."""
    heads = {
        f"{number}.{name}": weight.half().contiguous()
        for number, module in enumerate(learner.modules[1:], 1)
        for name, weight in module.state_dict().items()
    }
    save_file(heads, folder / HEADS_FILE)


def _load_export(learner: Learner, folder: Path) -> None:
    weights = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    missing, unexpected = learner.model.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:  # which is tied to the embeddings
        raise ValueError(f"{folder} is another model: {unexpected or missing} does not fit")
    heads = load_file(folder / HEADS_FILE)
    for number, module in enumerate(learner.modules[1:], 1):
        mine = {name: weight.float() for name, weight in heads.items() if name.startswith(f"{number}.")}
        _load(module, {name.split(".", 1)[1]: weight for name, weight in mine.items()})
