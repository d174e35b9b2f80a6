"""A run's weights in half precision, with the training heads beside them: what is kept, and where a later run starts.

python -m ergo.photo_world.export RUN FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ergo.photo_world.learner import Learner, load_start, save_heads
from ergo.photo_world.model import make_config, make_model, make_tokenizer, save
from ergo.photo_world.pages import PATCH
from ergo.photo_world.questions import all_words


def export(run: Path, folder: Path, shape: tuple[int, ...]) -> None:
    """Write the model of run folder `run` as a checkpoint that plain transformers loads."""
    tokenizer = make_tokenizer(all_words())
    anything = torch.randn(1000, 3 * PATCH * PATCH)  # replaced, as every weight is
    learner = Learner(make_model(make_config(tokenizer, *shape), tokenizer, anything, 0), tokenizer)
    load_start(learner, run)
    save(folder, learner.model.half(), tokenizer)
    save_heads(learner, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    export(args.run, args.folder, (192, 4, 4, 6))
