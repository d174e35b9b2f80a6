"""First part of the reader's training: the vision tower learns which character or thing lies under every patch.

    python -m ergo.photo_world.learn_letters OUT --steps 1500

Only the tower is trained, with a linear head that is thrown away afterwards.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ergo.photo_world.assets import Assets, assets_of
from ergo.photo_world.heads import LabelHead, label_loss
from ergo.photo_world.lettering import NOTHING
from ergo.photo_world.model import make_config, make_model, make_tokenizer, save
from ergo.photo_world.pages import PATCH, SIGN, Crop, make_page, make_places, make_word
from ergo.photo_world.tower import in_tower_order, patches_of, see
from ergo.photo_world.training import (
    Journal,
    Optimisers,
    half_products,
    load_state,
    rate_share,
    save_state,
    share_right,
)

RATE, MATRIX_RATE = 1e-3, 3e-3
RAMP = 400  # steps until pictures are as hard as they get


def make_batch(assets: Assets, seed: int, step: int) -> list[Crop]:
    """A step's pictures, all of one size; the same whenever they are made."""
    rng = np.random.default_rng([seed, step])
    hardness = min(step / RAMP, 1.0)
    draw = rng.random()
    if draw < 0.65:
        return [make_page(rng, assets, (224, 224), hardness) for _ in range(12)]
    if draw < 0.8:
        return [make_word(rng, assets, (252, 112), hardness) for _ in range(20)]
    return [make_places(rng, assets, (280, 280), hardness) for _ in range(8)]


def whitening_patches(assets: Assets, seed: int) -> torch.Tensor:
    """Patches of 200 pictures as they will be seen."""
    rng = np.random.default_rng([seed, 10**6])
    pages = [make_page(rng, assets, (224, 224), 0.7).pixels for _ in range(100)]
    words = [make_word(rng, assets, (224, 224), 0.7).pixels for _ in range(100)]
    return patches_of(np.stack([*pages, *words]), PATCH).flatten(0, 1)


def train(out: Path, steps: int, width: int, depth: int, layers: int, heads: int, seed: int, tokenizer: Any) -> None:
    """Run, or go on with, `steps` steps in folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    assets = assets_of("train")
    model = make_model(
        make_config(tokenizer, width, depth, layers, heads), tokenizer, whitening_patches(assets, seed), seed
    )
    visual, head = model.model.visual, LabelHead(width)
    optimisers = Optimisers([*visual.named_parameters(), *head.named_parameters()], RATE, MATRIX_RATE)
    first = load_state(out / "state.pt", (model, head), optimisers)
    journal = Journal(out / "log.jsonl", 25)
    for step in range(first, steps):
        crops = make_batch(assets, seed, step)
        patches = patches_of(np.stack([crop.pixels for crop in crops]), PATCH)
        labels = torch.from_numpy(in_tower_order(np.stack([crop.codes for crop in crops]))).long()
        with half_products():
            logits = head(see(visual, patches, *crops[0].codes.shape)).float()
            loss = label_loss(logits, labels)
        optimisers.step(loss, rate_share(step, 30, steps))
        guessed = logits.detach().argmax(-1)
        letters, things = (labels > NOTHING) & (labels < SIGN), labels > SIGN
        kind = "page" if len(crops) == 12 else "word"
        journal.note(
            step,
            loss=float(loss.detach()),
            background=share_right(guessed, labels, labels == NOTHING),
            things=share_right(guessed, labels, things),
            **{f"letters_{kind}": share_right(guessed, labels, letters)},
        )
        if (step + 1) % 100 == 0 or step + 1 == steps:
            save_state(out / "state.pt", step + 1, (model, head), optimisers)
    save(out / "checkpoint", model, tokenizer)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    words = make_tokenizer([])
    train(args.out, args.steps, args.width, args.depth, args.layers, args.heads, args.seed, words)
