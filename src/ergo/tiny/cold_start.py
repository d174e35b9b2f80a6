"""The cold start: supervised learning of both looks for a tiny policy.

Every batch is made by its number (lessons.py), so a run that is killed and resumed is the run that
was not. Each coordinate is one token; the target of a coordinate is spread a little over its neighbours,
because nearly right is nearly right.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ergo.backends.transformers.loading import load_processor
from ergo.backends.transformers.processor import Normalisation, Processor
from ergo.core.errors import TrainingStopped
from ergo.families import ERGO_TINY
from ergo.recipes import weights
from ergo.recipes.run_folder import training_run
from ergo.tiny import model as tiny
from ergo.tiny.corpus import corpus
from ergo.tiny.lessons import Lessons
from ergo.tiny.losses import Accuracy, AttentionLoss, patch_label_loss, smoothed_targets
from ergo.tiny.packing import IGNORED, attention
from ergo.tiny.recipe import SftRecipe

log = logging.getLogger(__name__)

PATCH_RATE = 0.03


MAY_CHANGE = frozenset(("threads", "workers", "save_every", "log_every"))
"""Keys of a recipe on which nothing that is learnt depends."""


def train(recipe: SftRecipe, out: Path, allow_changed: bool = False) -> Path:
    """Run (or go on with) a cold start in folder `out`; returns the folder of the final checkpoint.

    allow_changed: go on although the recipe is another than the one the run was begun with.
    """
    with training_run(out, recipe, "world:train", MAY_CHANGE, allow_changed):
        return _train(recipe, out)


def _train(recipe: SftRecipe, out: Path) -> Path:
    torch.set_num_threads(recipe.threads)
    model, processor = _model(recipe)
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
    targets = smoothed_targets(processor.tokenizer, recipe.label_smoothing).to(device)
    accuracy = Accuracy(processor.tokenizer)
    started = time.perf_counter()
    for step, batch in enumerate(_batches(lessons, first, recipe.workers), first):
        rate = schedule(step, recipe.warmup, len(lessons))
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = group["highest"] * rate
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        loss = learn(model, optimisers, on_device, targets, accuracy, recipe)
        if not math.isfinite(loss):
            raise TrainingStopped(f"the loss is {loss} at step {step}: lower `rate`, or go back to a checkpoint")
        if (step + 1) % recipe.log_every == 0:
            row = {
                "step": step + 1,
                "rate": round(rate, 4),
                "seconds": round(time.perf_counter() - started, 1),
            } | accuracy.summary()
            with (out / "log.jsonl").open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            log.info("%s", row)
        if (step + 1) % recipe.save_every == 0 or step + 1 == len(lessons):
            _save(out, model, processor, optimisers, step + 1)
    return out / "checkpoint"


def _model(recipe: SftRecipe) -> tuple[Any, Processor]:
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


def schedule(step: int, warmup: int, total: int) -> float:
    """Share of the highest rate: it rises over `warmup` steps, and falls as a cosine to a twentieth.

    >>> [round(schedule(step, 4, 1000), 2) for step in (0, 1, 3, 4, 500, 1000)]
    [0.25, 0.5, 1.0, 1.0, 0.53, 0.05]
    """
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / total))
    return min(1.0, (step + 1) / max(1, warmup)) * cosine


Optimisers = Sequence[torch.optim.Optimizer]


def learn(
    model: Any,
    optimisers: Optimisers,
    batch: dict[str, torch.Tensor],
    targets: torch.Tensor,
    accuracy: Accuracy,
    recipe: SftRecipe,
) -> float:
    """One step; returns the loss (nats per taught token)."""
    attention_loss = AttentionLoss(model.model.language_model.layers[recipe.attention_layer])
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
    loss = -(targets[labels] * logits.log_softmax(-1)).sum(-1).mean()
    patches = loss.new_zeros(())
    if recipe.patch_label_weight:
        vision = hidden[batch["input_ids"] == model.config.image_token_id]
        patches = patch_label_loss(model, vision, batch["under"])
    model.zero_grad()
    attended = attention_loss.loss(batch["look_from"], batch["look_at"])
    (loss + recipe.patch_label_weight * patches + recipe.attention_weight * attended).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
    for optimiser in optimisers:
        optimiser.step()
    accuracy.add(
        logits.detach(),
        labels,
        batch["group"][taught],
        loss=float(loss.detach()),
        gradient_norm=float(norm),
        patch_label_loss=float(patches.detach()),
        attention_loss=float(attended.detach()),
    )
    return float(loss.detach())


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
