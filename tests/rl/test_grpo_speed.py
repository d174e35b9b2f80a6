"""What two looks and a verifier cost beside TRL's plain single-turn trainer: same model, same lengths, runs in turns.

`pytest -m slow -s tests/rl/test_grpo_speed.py` prints the table of docs/results.md.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from PIL import Image
from tiny_models import fed
from training import RECIPE, make_trainer
from transformers import AutoModelForImageTextToText, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ergo.backends import TINY
from ergo.backends.transformers.loading import load_processor
from ergo.backends.transformers.processor import Prepared
from ergo.core.geometry import TokenBudget
from ergo.core.view import View
from ergo.images.picture import Picture
from ergo.recipes import read_recipe
from ergo.rl.recipe import grpo_recipe
from ergo.rl.trl_bridge import TrlProcessor
from ergo.world.questions import generate

ROLLOUTS, STEPS, ROUNDS = 64, 3, 2
VISION, GENERATED = 145, 26  # mean tokens of a two-look rollout of ergo-tiny under this recipe


class Plain(TrlProcessor):
    """What stock TRL asks of a processor, with the world's pictures already at the size that is shown."""

    def __init__(self) -> None:
        self.views = load_processor(TINY)
        super().__init__(self.views, TINY)

    def _prepared(self, text: str, images: list[Image.Image]) -> Prepared:
        views = tuple(View.of(Picture(image), TokenBudget(10**6, patch=self.views.patch)) for image in images)
        return Prepared(tuple(self.views._tokenize(text, views)), views)

    def _fed(self, prepared: list[Prepared]) -> dict[str, Any]:
        values, grids = self.views.pixels([view for one in prepared for view in one.views])
        return {"pixel_values": values, "image_grid_thw": grids}

    def apply_chat_template(self, conversation: Any, tokenize: bool = False, **_: Any) -> Any:
        if not tokenize:
            return self._rendered(conversation)
        images = [[part["image"] for part in turn[0]["content"] if part["type"] == "image"] for turn in conversation]
        prepared = [
            self._prepared(self._rendered(turn), image) for turn, image in zip(conversation, images, strict=True)
        ]
        ids = [list(one.ids) for one in prepared]
        kinds = [[int(token == self.views.image_id) for token in row] for row in ids]
        return {"input_ids": ids, "mm_token_type_ids": kinds, **self._fed(prepared)}

    def _rendered(self, conversation: list[dict[str, Any]]) -> str:
        return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))

    def __call__(self, images: Any, text: list[str], **_: Any) -> dict[str, Any]:
        prepared = [self._prepared(one, image) for one, image in zip(text, images, strict=True)]
        return {**fed(self.views, prepared), **self._fed(prepared)}


def length(completion_ids: list[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 7) for ids in completion_ids]


def plain(folder: Path) -> GRPOTrainer:
    rows = []
    for sample in islice(generate("train", 8 * STEPS), 8 * STEPS):
        assert isinstance(sample.image, Picture)
        view = View.of(sample.image, TokenBudget(VISION, patch=28))
        rows.append({"prompt": [{"role": "user", "content": sample.question}], "image": view.pixels})
    model = AutoModelForImageTextToText.from_pretrained(
        TINY, dtype=torch.float32
    )  # as ours; it is shipped in half precision
    for name, weight in model.named_parameters():
        weight.requires_grad_("visual" not in name)
    arguments = GRPOConfig(
        output_dir=str(folder), max_steps=STEPS, num_generations=8, per_device_train_batch_size=16,
        gradient_accumulation_steps=4, gradient_checkpointing=False, max_completion_length=GENERATED,
        generation_kwargs={"min_new_tokens": GENERATED}, report_to="none", save_strategy="no", use_cpu=True, bf16=False,
        logging_steps=1,
    )  # fmt: skip
    return GRPOTrainer(
        model=model,
        reward_funcs=length,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=Plain(),
    )


def ours(folder: Path) -> GRPOTrainer:
    changes = [
        f"trl.max_steps={STEPS}",
        "trl.report_to='none'",
        "trl.save_strategy='no'",
        "show_every=0",
        "samples=100",
    ]
    return make_trainer(
        grpo_recipe(read_recipe(RECIPE, ["start='ergo-tiny'", "verifier='ergo-tiny'", *changes])), folder
    )


class Clock(TrainerCallback):  # type: ignore[misc]
    """CPU seconds of each step: one thread, so what a core of its own would take, whoever else is busy."""

    def __init__(self) -> None:
        self.steps: list[float] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.steps.append(time.process_time() - self.began)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_looks_and_a_verifier_beside_plain_grpo(tmp_path: Path) -> None:
    steps: dict[str, list[float]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    tokens: dict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for make in (ours, plain):
            trainer, clock = make(tmp_path / make.__name__), Clock()
            trainer.add_callback(clock)
            trainer.train()
            steps[make.__name__] += clock.steps
            for row in trainer.state.log_history if make is ours else ():
                if "step_time" in row:
                    for part in ("rollout", "verifier"):
                        shares[part].append(row[f"seconds/{part}"] / row["step_time"])
                    for name in ("tokens/vision", "tokens/generated"):
                        tokens[name].append(row[name])
    middle = {name: statistics.median(values) for name, values in (steps | shares | tokens).items()}
    print({name: round(value, 2) for name, value in middle.items()})
    print(f"samples a CPU second: ours {ROLLOUTS / middle['ours']:.2f}, plain {ROLLOUTS / middle['plain']:.2f}, "
          f"ratio {middle['plain'] / middle['ours']:.2f}")  # fmt: skip
    assert middle["ours"] < 1.25 * middle["plain"]
