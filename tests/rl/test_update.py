"""The update computes little, and yet what computing every rollout by itself would give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from training import make_step, make_trainer, recipe

from ergo.backends import TINY
from ergo.core.errors import TrainingStopped
from ergo.rl.trl_bridge import TrlTrainer

SETTINGS = ("trl.per_device_train_batch_size=4", "trl.gradient_accumulation_steps=3", "trl.epsilon=10.0")


def gradients(trainer: TrlTrainer) -> dict[str, torch.Tensor]:
    """Of one step, as the trainer makes them, in as many parts as the recipe says."""
    inputs = [dict(trainer.train_dataset[number // 4]) for number in range(12)]
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 3
    for part in range(3):
        trainer._step = part
        trainer.compute_loss(trainer.model, trainer._prepare_inputs(inputs)).backward()
    return {name: weight.grad.clone() for name, weight in trainer.model.named_parameters() if weight.grad is not None}


def by_hand(trainer: TrlTrainer, advantages: torch.Tensor, loss: str) -> dict[str, torch.Tensor]:
    """The same loss of the same rollouts, one by one, unpadded, with all logits of the plain model."""
    model, processor, recipe = trainer.model, trainer.step.processor, trainer.step.recipe
    model.zero_grad()
    tokens = sum(sum(one.sampled) for one in trainer.episodes)
    for one, advantage in zip(trainer.episodes, advantages, strict=True):
        ids = torch.tensor([[*one.prompt, *one.completion]])
        values, grids = processor.pixels(one.views)
        pictures = (ids == processor.image_id).int()
        logits = model(input_ids=ids, pixel_values=values, image_grid_thw=grids, mm_token_type_ids=pictures).logits
        scores = (logits[0, :-1] / recipe.temperature).log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        own = scores[len(one.prompt) - 1 :][torch.tensor(one.sampled) == 1]
        ratio = (own - own.detach()).exp()
        total = -(ratio * advantage).sum()
        (total / tokens if loss == "dapo" else total / len(own) / len(advantages)).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("loss", ["dapo", "grpo"])
@pytest.mark.parametrize("change", ["", "trl.gradient_checkpointing=true", "frozen=[]"],
                         ids=["frozen tower", "recomputed", "trained tower"])  # fmt: skip
def test_gradients_are_those_of_each_rollout_by_itself(change: str, loss: str, tmp_path: Path) -> None:
    """To 1e-5 of each weight's largest, whether a group's prompt is computed once or, recomputed by layers, for each row."""
    if change == "trl.gradient_checkpointing=true" and loss == "grpo":
        pytest.skip("rows are computed whole there, whatever the loss")
    changes = [change] if change else []
    trainer = make_trainer(recipe(*SETTINGS, f"trl.loss_type='{loss}'", *changes), tmp_path)
    trainer.model.train()
    assert trainer.shares_prompts == (change != "trl.gradient_checkpointing=true")
    found = gradients(trainer)
    batch = trainer._buffered_inputs
    assert batch is not None
    advantages = torch.zeros(12)
    for part in batch:
        advantages[part["rows"]] = part["advantages"]
    expected = by_hand(trainer, advantages, loss)
    assert set(found) == set(expected)
    assert any("visual" in name for name in found) == (change == "frozen=[]")
    for name, wanted in expected.items():
        assert (found[name] - wanted).abs().max() <= 1e-5 * max(float(wanted.abs().max()), 1e-3), name


def test_rollouts_without_advantage_are_not_computed(tmp_path: Path) -> None:
    """Unless there is a divergence from the reference to be kept small, or a mean over the tokens that are there."""
    trainer = make_trainer(recipe(*SETTINGS), tmp_path)
    ones = torch.ones((12, 5), dtype=torch.int)
    batch = {
        "advantages": torch.tensor([0.0] * 4 + [1.0, -1.0, 0.0, 2.0] + [0.0] * 4),
        "tool_mask": ones,
        "completion_mask": ones,
    }
    assert trainer._parts(batch) == [[4], [5], [7]]
    failed = ones.clone()
    failed[5] = 0  # left out of its group: nothing of it is learnt
    assert trainer._parts(batch | {"tool_mask": failed}) == [[0], [4], [7]]
    nothing = trainer._parts(batch | {"advantages": torch.zeros(12)})
    assert nothing == [[0], [1], [2]]  # no process may stand still while others compute
    for change in ("trl.beta=0.1", "trl.loss_type='bnpo'"):
        whole = make_trainer(recipe(*SETTINGS, change), tmp_path)
        assert whole._parts(batch) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


class Cramped(TrlTrainer):
    """A trainer with memory for parts cut into `fits` pieces; an attempt breaks off after gradients were made."""

    fits = 1
    broken = 0

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if self.pieces < self.fits:
            torch.autograd.backward(loss)
            self.broken += 1
            raise torch.cuda.OutOfMemoryError("tried to allocate 7 GiB")
        return loss


@pytest.mark.parametrize("accumulated", [1, 3])
def test_an_update_that_does_not_fit_is_split_with_the_same_gradients(accumulated: int, tmp_path: Path) -> None:
    chosen = recipe(
        f"trl.per_device_train_batch_size={12 // accumulated}", f"trl.gradient_accumulation_steps={accumulated}",
        "trl.loss_type='grpo'", "trl.epsilon=10.0",
    )  # fmt: skip
    found = []
    for fits in (1, 4):
        trainer = Cramped(make_step(chosen), TINY, tmp_path)
        trainer.current_gradient_accumulation_steps = accumulated
        inputs = [dict(trainer.train_dataset[number // 4]) for number in range(12)]
        for part in range(accumulated):
            if part == accumulated - 1:
                trainer.fits = fits  # the last part of a step: what was there before must not be lost
            trainer.training_step(trainer.model, inputs)
        assert (trainer._step, trainer.pieces, trainer.broken) == (accumulated, fits, fits // 2)
        found.append(
            {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.grad is not None}
        )
    whole, split = found
    assert set(whole) == set(split)
    for name, wanted in whole.items():
        assert (split[name] - wanted).abs().max() <= 1e-5 * max(float(wanted.abs().max()), 1e-3), name


def test_an_update_whose_single_rows_do_not_fit_stops_the_run_in_one_line(tmp_path: Path) -> None:
    trainer = Cramped(make_step(recipe()), TINY, tmp_path)
    trainer.fits = 99
    trainer.current_gradient_accumulation_steps = 1
    inputs = [dict(trainer.train_dataset[number // 4]) for number in range(8)]
    with pytest.raises(TrainingStopped, match="the update does not fit into GPU memory"):
        trainer.training_step(trainer.model, inputs)
