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
from pathlib import Path

import torch

from ergo.photo_world.assets import assets_of
from ergo.photo_world.learn_letters import whitening_patches
from ergo.photo_world.learner import Learner, load_start
from ergo.photo_world.lessons import Mix, make_pages, make_talks
from ergo.photo_world.model import make_config, make_model, make_tokenizer, save
from ergo.photo_world.place_heads import start_place_heads
from ergo.photo_world.questions import all_words
from ergo.photo_world.training import Journal, Optimisers, half_products, load_state, rate_share, save_state


def train(
    out: Path,
    start: Path | None,
    mix: Mix,
    steps: int,
    rates: tuple[float, float],
    shape: tuple[int, ...],
    seed: int,
    attention_weight: float,
    patch_label_weight: float,
    place_heads: bool = False,
) -> None:
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
        if place_heads:
            start_place_heads(learner, assets, seed)
    journal = Journal(out / "log.jsonl", 20)
    for step in range(first, steps):
        rows = [learner.rows.row(talks) for talks in make_talks(assets, mix, seed, step)]
        with half_products():
            loss, notes = learner.loss(rows, attention_weight, patch_label_weight, make_pages(assets, mix, seed, step))
        norm = optimisers.step(loss, rate_share(step, min(30, steps // 10), steps))
        journal.note(step, norm=norm, **notes)
        if (step + 1) % 20 == 0 or step + 1 == steps:
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
    parser.add_argument("--empty", type=float, default=0.0)
    parser.add_argument("--crops", type=float, default=0.0)
    parser.add_argument("--pages", type=int, default=0)
    parser.add_argument("--hardness", type=float, default=0.7)
    parser.add_argument("--place-heads", action="store_true", help="fit them to the start's weights (place_heads.py)")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--matrix-rate", type=float, default=3e-3)
    parser.add_argument("--attention-weight", type=float, default=0.3)
    parser.add_argument("--patch-label-weight", type=float, default=0.5)
    parser.add_argument("--shape", default="[192, 4, 4, 6]", help="width, depth, layers, heads")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    mix = Mix(args.words, args.places, args.looks, args.hardness, args.empty, args.crops, args.pages)
    rates, shape = (args.rate, args.matrix_rate), tuple(json.loads(args.shape))
    weights = args.attention_weight, args.patch_label_weight
    train(args.out, args.start, mix, args.steps, rates, shape, args.seed, *weights, args.place_heads)
