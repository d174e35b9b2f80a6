"""The cold start: a tiny policy learns to look, by being shown how.

Every batch is made by its number (lessons.py), so a run that is killed and resumed is the run that
was not. Coordinates are words; the target of a coordinate is spread a little over its neighbours,
because nearly right is nearly right.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from ergo.backends.transformers.loading import load_processor
from ergo.backends.transformers.processor import Normalisation, Processor
from ergo.core.geometry import Box, TokenBudget
from ergo.core.view import View
from ergo.families import ERGO_TINY
from ergo.families.base import with_choices
from ergo.images.picture import Picture
from ergo.recipes import weights
from ergo.tiny import model as tiny
from ergo.tiny.lessons import GROUPS, Lessons
from ergo.tiny.packing import IGNORED, attention
from ergo.tiny.recipe import SftRecipe
from ergo.tiny.teacher import GRID, say_answer, say_patterns, say_places, say_region, snapped, text_of
from ergo.world.questions import CATEGORIES, ask
from ergo.world.scene import PATTERNS, compose

log = logging.getLogger(__name__)

PATCH_RATE = 0.03


def train(recipe: SftRecipe, out: Path) -> Path:
    """Run (or go on with) a cold start in folder `out`; returns the folder of the final checkpoint."""
    torch.set_num_threads(recipe.threads)
    out.mkdir(parents=True, exist_ok=True)
    model, processor = _model(recipe, out)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    optimisers = _optimisers(model, recipe)
    first = _resume(out, model, optimisers)
    lessons = Lessons(
        processor,
        ERGO_TINY,
        recipe.stages,
        recipe.seed,
        recipe.budgets,
        recipe.full,
        recipe.box_jitter,
        recipe.repeat_location,
    )
    spread = softened(processor.tokenizer, recipe.label_smoothing).to(device)
    judge = Judge(processor.tokenizer)
    started = time.perf_counter()
    for step, batch in enumerate(_batches(lessons, first, recipe.workers), first):
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = group["highest"] * _schedule(step, recipe.warmup, len(lessons))
        loss = _learn(model, optimisers, _to(batch, device), spread, judge, recipe)
        if not math.isfinite(loss):
            raise RuntimeError(f"the loss is {loss} at step {step}: lower rate, or go back to a checkpoint")
        if (step + 1) % recipe.log_every == 0:
            row = {"step": step + 1, "seconds": round(time.perf_counter() - started, 1), **judge.summary()}
            with (out / "log.jsonl").open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            log.info("%s", row)
        if (step + 1) % recipe.save_every == 0 or step + 1 == len(lessons):
            _save(out, model, processor, optimisers, step + 1)
    (out / "recipe.json").write_text(recipe.model_dump_json(indent=2, by_alias=True) + "\n")
    return out / "checkpoint"


def corpus(scenes: int = 200) -> Iterator[str]:
    """Everything the world says, for the tokenizer; and each coordinate often enough to become a word."""
    rng = np.random.default_rng(0)
    for seed in range(scenes):
        scene = compose(seed, "train")
        view = _blank(scene.size.width, scene.size.height)
        yield from (
            "What is where?",
            "What is on each?",
            text_of(say_places(scene, view)),
            text_of(say_patterns(scene)),
        )
        for category in CATEGORIES:
            for mark in scene.landmarks:
                asked = ask(scene, rng, category, mark)
                if asked is not None:
                    yield ERGO_TINY.prompts.region.format(question=asked.question)
                    yield with_choices(asked.question, asked.choices)
                    yield text_of(say_region(asked, view, snapped(asked.honest, view)))
                    yield text_of(say_answer(asked, view))
    for number in range(0, 1001, GRID):
        yield from [f"[{number}, {number}"] * 200


def _blank(width: int, height: int) -> View:
    """A view of nothing: the corpus needs its frame only."""
    from PIL import Image

    picture = Picture(Image.new("RGB", (width, height)))
    return View.of(picture, TokenBudget(64), Box.whole(picture.size))


def _model(recipe: SftRecipe, out: Path) -> tuple[Any, Processor]:
    """The model to train: from `start`, or fresh with its tokenizer."""
    from transformers import AutoModelForImageTextToText

    if recipe.start:
        start = weights(recipe.start)
        return AutoModelForImageTextToText.from_pretrained(start).float(), load_processor(start)
    tokenizer = tiny.make_tokenizer(corpus())
    shape = recipe.shape
    config = tiny.make_config(tokenizer, shape.vision, shape.depth, shape.text, shape.layers, shape.heads)
    model = tiny.make_model(config, tokenizer, recipe.seed)
    mean, std = tiny.MEAN, tiny.STD
    return model, Processor(tokenizer, tiny.PATCH, 1, 1, Normalisation((mean,) * 3, (std,) * 3))


def _batches(lessons: Lessons, first: int, workers: int) -> Iterator[dict[str, torch.Tensor]]:
    rest = torch.utils.data.Subset(lessons, range(first, len(lessons)))
    loader: Any = torch.utils.data.DataLoader(
        rest, batch_size=None, num_workers=workers, prefetch_factor=6 if workers else None
    )
    yield from loader


def _to(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _optimisers(model: Any, recipe: SftRecipe) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices between hidden layers, AdamW for the rest (Muon: places in half the steps, docs/log.md).

    The patch embedding learns at PATCH_RATE of the rate: each of its outputs sums 2,352 pixels that
    are alike in a bright patch, and at the full rate colour grows within a hundred steps until the
    normalisation leaves nothing of the position.
    """
    patches: list[torch.nn.Parameter] = []
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, weight in model.named_parameters():
        hidden = weight.dim() == 2 and "embed" not in name and "lm_head" not in name
        (patches if "patch_embed" in name else matrices if hidden else others).append(weight)
    muon = torch.optim.Muon(
        [{"params": matrices, "highest": recipe.matrix_rate}], weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(
        [{"params": others, "highest": recipe.rate}, {"params": patches, "highest": PATCH_RATE * recipe.rate}],
        betas=(0.9, 0.98),
        weight_decay=recipe.decay,
    )
    return muon, adam


def _schedule(step: int, warmup: int, total: int) -> float:
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / total))
    return min(1.0, (step + 1) / warmup) * cosine


Optimisers = Sequence[torch.optim.Optimizer]


def _learn(
    model: Any,
    optimisers: Optimisers,
    batch: dict[str, torch.Tensor],
    spread: torch.Tensor,
    judge: Judge,
    recipe: SftRecipe,
) -> float:
    """One step; returns the loss (nats per taught token)."""
    attention_layer = Watched(model.model.language_model.layers[recipe.attention_layer])
    seen = model.model.get_image_features(batch["pixel_values"], batch["image_grid_thw"], return_dict=True)
    hidden = model.model(
        input_ids=batch["input_ids"],
        attention_mask=attention(batch["branch"]),
        position_ids=batch["position_ids"],
        mm_encoder_outputs={"image": seen},
    ).last_hidden_state
    taught = batch["labels"] != IGNORED
    logits = model.lm_head(hidden[taught])
    labels = batch["labels"][taught]
    loss = -(spread[labels] * logits.log_softmax(-1)).sum(-1).mean()
    named = loss.new_zeros(())
    if recipe.patch_label_weight:
        named = name_what_lies_under(model, hidden[batch["input_ids"] == model.config.image_token_id], batch["under"])
    model.zero_grad()
    looked = attention_layer.loss(batch["look_from"], batch["look_at"])
    (loss + recipe.patch_label_weight * named + recipe.attention_weight * looked).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    for optimiser in optimisers:
        optimiser.step()
    judge.see(
        logits.detach(),
        labels,
        batch["group"][taught],
        float(loss.detach()),
        float(norm),
        float(named.detach()),
        float(looked.detach()),
    )
    return float(loss.detach())


def name_what_lies_under(model: Any, hidden: torch.Tensor, under: torch.Tensor) -> torch.Tensor:
    """Loss of saying, at each vision token [tokens, hidden], the word for what lies under it.

    Said by the language model's last layer, where it is in nobody's way: said by the vision tower's
    features themselves, naming drove the position out of them (docs/log.md).
    """
    known = under != IGNORED
    under = under[known]
    losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[known]), under, reduction="none")
    weights = torch.where(under == model.config.pad_token_id, 0.15, 1.0)
    mean: torch.Tensor = (losses * weights).sum() / weights.sum()
    return mean


class Watched:
    """Reads the attention of one layer's first heads in a forward pass, and says where it should be.

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


def number_words(tokenizer: Any) -> dict[int, tuple[bool, int]]:
    """Token id -> (written with a space before, value) of every coordinate on the grid."""
    words = {}
    for word, token in tokenizer.get_vocab().items():
        digits = word.lstrip("Ġ")
        if digits.isdecimal() and digits.isascii() and int(digits) % GRID == 0 and int(digits) <= 1000:
            words[token] = (word != digits, int(digits))
    return words


def softened(tokenizer: Any, deviation: float) -> torch.Tensor:
    """[vocabulary, vocabulary]: row = target distribution of a label; one-hot but for coordinates."""
    table = torch.eye(len(tokenizer))
    if deviation > 0:
        words = number_words(tokenizer)
        for token, (spaced, value) in words.items():
            for other, (other_spaced, other_value) in words.items():
                if spaced == other_spaced:
                    table[token, other] = math.exp(-(((value - other_value) / deviation) ** 2) / 2)
    return table / table.sum(1, keepdim=True)


class Judge:
    """Accuracy of the words that matter, on batches that were never seen before.

    near_GROUP: coordinates at most one grid step off. pattern_GROUP: pattern words. Groups: GROUPS.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._value = torch.full((len(tokenizer),), -(10**6))
        for token, (_, value) in number_words(tokenizer).items():
            self._value[token] = value
        patterns = {token for word, token in tokenizer.get_vocab().items() if word.lstrip("Ġ") in PATTERNS}
        self._pattern = torch.tensor([token in patterns for token in range(len(tokenizer))])
        self._sums: dict[str, list[float]] = defaultdict(list)

    def see(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        groups: torch.Tensor,
        loss: float,
        norm: float,
        named: float,
        looked: float,
    ) -> None:
        """logits [taught, vocabulary]; labels and groups [taught]."""
        said, labels, groups = logits.argmax(-1).cpu(), labels.cpu(), groups.cpu()
        self._sums["loss"].append(loss)
        self._sums["gradient_norm"].append(norm)
        self._sums["naming"].append(named)
        self._sums["looking"].append(looked)
        number = self._value[labels] >= 0
        for index, name in enumerate(GROUPS):
            chosen = (groups == index) & self._pattern[labels]
            if chosen.any():
                self._sums[f"pattern_{name}"].append(float((said[chosen] == labels[chosen]).float().mean()))
            chosen = (groups == index) & number
            if chosen.any():
                off = (self._value[said[chosen]] - self._value[labels[chosen]]).abs()
                self._sums[f"near_{name}"].append(float((off <= GRID).float().mean()))

    def summary(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: round(float(np.mean(values)), 4) for name, values in sorted(self._sums.items())}
        self._sums.clear()
        return means


def _save(out: Path, model: Any, processor: Processor, optimisers: Optimisers, step: int) -> None:
    """Weights for anyone, state for the resume; written aside and moved into place."""
    tiny.save(out / "checkpoint", model, processor.tokenizer)
    state = {"step": step, "model": model.state_dict(), "optimisers": [each.state_dict() for each in optimisers]}
    torch.save(state, out / "state.new")
    (out / "state.new").replace(out / "state.pt")


def _resume(out: Path, model: Any, optimisers: Optimisers) -> int:
    """Load the state if there is one; returns the step to go on from."""
    path = out / "state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    for optimiser, kept in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(kept)
    log.info("going on from step %d", state["step"])
    return int(state["step"])
