"""Second and third part of the reader's training: reading words in crops, then looking twice.

    python -m ergo.photo_world.learn_reader OUT --start LETTERS --words 1 --places 0 --looks 0 --steps 2000
    python -m ergo.photo_world.learn_reader OUT --start READER --words 0.3 --places 0.2 --looks 0.5 --steps 3000

Beside what it says, the model is taught what lies under every patch (a head that is thrown away) and where its
second layer should look while it reads a character or a place. Without the labels reading does not begin in the
time there is (docs/log.md).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface

from ergo.photo_world.assets import assets_of
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.learn_letters import LabelHead, label_loss, whitening_patches
from ergo.photo_world.lessons import GROUPS, Mix, make_talks
from ergo.photo_world.lettering import NOTHING
from ergo.photo_world.model import GRID, make_config, make_model, make_tokenizer, save
from ergo.photo_world.pages import PATCH, SIGN, Crop
from ergo.photo_world.questions import all_words
from ergo.photo_world.rows import IGNORED, Row, Rows
from ergo.photo_world.tower import MERGE, float_attention, in_tower_order, merge, patches_of, see
from ergo.photo_world.training import (
    Journal,
    Optimisers,
    half_products,
    load_state,
    rate_share,
    save_state,
    share_right,
)
from ergo.tiny.losses import AttentionLoss
from ergo.tiny.model import waves
from ergo.tiny.packing import attention

LONGEST = 12  # characters whose order in their word is learnt
LOOKING_LAYER = 1


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


class OrderHead(torch.nn.Module):
    """Says which character of its word lies under a patch, counted from 1; only for training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, LONGEST + 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., width] -> [..., LONGEST + 1]"""
        logits: torch.Tensor = self.head(self.norm(hidden))
        return logits


class PlaceHead(torch.nn.Module):
    """Says where in its view a vision token stands, as waves of x and y; only for training.

    Labels alone drive the position out of what the tower says (docs/log.md); this keeps it where the language
    model reads.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = width // 8
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, 4 * self.count)

    def loss(self, tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        """Mean square error for tokens [B, rows * columns, width]."""
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        truth = torch.cat([waves(x.reshape(-1), self.count), waves(y.reshape(-1), self.count)], 1)
        error: torch.Tensor = (self.head(self.norm(tokens)).float() - truth).square().mean()
        return error


def coordinate_values(tokenizer: Any) -> dict[int, tuple[str, int]]:
    """Token id -> (what stands before the number, its value) of every coordinate."""
    values = {}
    for word, token in tokenizer.get_vocab().items():
        digits = word[1:]
        if (
            word[0] in "Ġ["
            and digits.isdecimal()
            and digits.isascii()
            and int(digits) <= 1000
            and int(digits) % GRID == 0
        ):
            values[token] = (word[0], int(digits))
    return values


def softened(tokenizer: Any, deviation: float = 15.0) -> torch.Tensor:
    """[vocabulary, vocabulary]: row = target distribution of a label; one-hot but for coordinates."""
    table = torch.eye(len(tokenizer))
    values = coordinate_values(tokenizer)
    for token, (before, value) in values.items():
        for other, (other_before, other_value) in values.items():
            if before == other_before:
                table[token, other] = math.exp(-(((value - other_value) / deviation) ** 2) / 2)
    return table / table.sum(1, keepdim=True)


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
            if name in ("word", "answer", "crop") and bool(chosen.any()):
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
    """Weights of an earlier part's state: of the tower alone after letters, of everything after words."""
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


def train(out: Path, start: Path | None, mix: Mix, steps: int, rates: tuple[float, float], shape: tuple[int, ...],
          seed: int, looking: float, labelling: float) -> None:  # fmt: skip
    """Run, or go on with, `steps` steps in folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    assets = assets_of("train")
    tokenizer = make_tokenizer(all_words())
    model = make_model(make_config(tokenizer, *shape), tokenizer, whitening_patches(assets, 0), seed)
    learner = Learner(model, tokenizer)
    optimisers = Optimisers(learner.named_parameters(), *rates)
    first = load_state(out / "state.pt", learner.modules, optimisers)
    if not first and start:
        load_start(learner, start)
    journal = Journal(out / "log.jsonl", 25)
    for step in range(first, steps):
        rows = [learner.rows.row(talks) for talks in make_talks(assets, mix, seed, step)]
        with half_products():
            loss, notes = learner.loss(rows, looking, labelling)
        norm = optimisers.step(loss, rate_share(step, 30, steps))
        journal.note(step, norm=norm, **notes)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            save_state(out / "state.pt", step + 1, learner.modules, optimisers)
            save(out / "checkpoint", model, tokenizer)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--start", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    for lesson in ("words", "places", "looks"):
        parser.add_argument(f"--{lesson}", type=float, required=True)
    parser.add_argument("--hardness", type=float, default=0.7)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--matrix-rate", type=float, default=3e-3)
    parser.add_argument("--looking", type=float, default=0.3)
    parser.add_argument("--labelling", type=float, default=0.5)
    parser.add_argument("--shape", default="[192, 4, 4, 6]", help="width, depth, layers, heads")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    train(
        asked.out, asked.start, Mix(asked.words, asked.places, asked.looks, asked.hardness), asked.steps,
        (asked.rate, asked.matrix_rate), tuple(json.loads(asked.shape)), asked.seed, asked.looking, asked.labelling,
    )  # fmt: skip
