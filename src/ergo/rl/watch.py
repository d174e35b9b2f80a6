"""Watching a run: log.jsonl, validation now and then with the best weights kept, a stop where going on would be a waste."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl

from ergo.core.errors import TrainingStopped
from ergo.core.messages import Sampling
from ergo.rl.evidence import Rollout, answered_right
from ergo.rl.page import write_page
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.source import source_of
from ergo.rl.step import roll_out
from ergo.rl.trl_bridge import TrlTrainer
from ergo.samples.sample import Sample

log = logging.getLogger(__name__)

WHOLE = 0.9  # a mean region area above this is the collapse that the paper describes
FAILED = 0.5  # share of a step's rollouts from which on the step counts as failed
AT_ONCE = 50  # samples validated in one batch


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measures the policy now and then, keeps log.jsonl, and stops a run that cannot get better.

    whole, zero_advantage, failed: how many steps in a row, up to now, the region was the whole picture, no rollout had an advantage,
    and half of the rollouts failed.
    """

    def __init__(self, recipe: GrpoRecipe, trainer: TrlTrainer, out: Path) -> None:
        self.recipe = recipe
        self.trainer = trainer
        self.out = out
        self.whole = self.zero_advantage = self.failed = 0
        self._validation: list[Sample] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._validate(args, state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        every = self.recipe.validate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._validate(args, state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.accelerator.is_main_process:
            write_page(self.out, [reward.name for reward in self.recipe.rewards], running=False)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if self.trainer.accelerator.is_main_process:
            row = {"step": state.global_step} | {name: _short(value) for name, value in logs.items()}
            with (self.out / "log.jsonl").open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            write_page(self.out, [reward.name for reward in self.recipe.rewards], running=True)
            log.info("%s", row)
        if any(isinstance(logs.get(name), float) and math.isnan(logs[name]) for name in ("loss", "grad_norm")):
            raise TrainingStopped(
                "the loss is not a number: lower trl.learning_rate, or start from an earlier checkpoint"
            )
        if "left_out" not in logs:  # the row of the whole run, at its end
            return
        self.whole = self.whole + 1 if logs.get("region/area", 0.0) > WHOLE else 0
        self.zero_advantage = self.zero_advantage + 1 if logs.get("frac_reward_zero_std", 0.0) >= 1.0 else 0
        self.failed = self.failed + 1 if logs["left_out"] >= FAILED else 0
        if self.failed >= self.recipe.max_failed_steps:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.trainer.failures.most_common())
            raise TrainingStopped(
                f"for {self.failed} steps at least half of the rollouts failed, at last by {kinds}: "
                "the log names the samples; `ergo train` goes on from the last checkpoint"
            )
        if self.whole >= self.recipe.patience:
            raise TrainingStopped(
                f"for {self.whole} steps the region was the whole picture: give the reward `box` more weight (paper eq. 2)"
            )
        if self.zero_advantage >= self.recipe.patience:
            raise TrainingStopped(
                f"for {self.zero_advantage} steps all rollouts of each group scored the same, so nothing is learnt: raise the "
                "temperature or trl.num_generations, or take easier or harder samples"
            )

    def _validate(self, args: Any, state: Any) -> None:
        """Measured by the first process; logged wherever the run logs, TensorBoard among it; better weights kept in OUT/best."""
        if not self.recipe.validate_every:
            return
        self.trainer.push_weights()
        improved = False
        if self.trainer.accelerator.is_main_process:
            measured = accuracy_of(self._validated(), self.recipe)
            logs = {f"validation/{name}": value for name, value in measured.items()}
            # a control of its own: the run would take this step for logged, and lose its row
            self.trainer.callback_handler.on_log(args, state, TrainerControl(), logs)
            best = json.loads((self.out / "best.json").read_text()) if (self.out / "best.json").is_file() else None
            improved = best is None or measured["accuracy"] > best["accuracy"]
        found = torch.tensor(int(improved), device=self.trainer.accelerator.device)
        if not self.trainer.accelerator.reduce(found):  # every process takes part in saving
            return
        if state.global_step:  # what a run starts from need not be saved
            self.trainer.save_model(str(self.out / "best"))
        if self.trainer.accelerator.is_main_process:
            best = {"step": state.global_step, "accuracy": measured["accuracy"]}
            (self.out / "best.json").write_text(json.dumps(best) + "\n")

    def _validated(self) -> list[Rollout]:
        if not self._validation:
            source = source_of(self.recipe.validation, self.recipe.validation_samples)
            self._validation = [source[number] for number in range(min(len(source), self.recipe.validation_samples))]
        sampling = Sampling(self.recipe.max_completion_length)
        rollouts: list[Rollout] = []
        for start in range(0, len(self._validation), AT_ONCE):
            part = self._validation[start : start + AT_ONCE]
            with self.trainer.policy(len(part)) as policy:
                rollouts += roll_out(
                    policy, part, [self.recipe.budget] * len(part), [sampling] * len(part),
                    self.recipe.flow, max(2, self.recipe.looks),
                )  # fmt: skip
        return rollouts


def accuracy_of(rollouts: Sequence[Rollout], recipe: GrpoRecipe) -> dict[str, float]:
    """Accuracy over all and per category, a failure counts as wrong; vision tokens; coverage of and area around the true
    regions of those who looked again."""
    answers = [(one, one.trace.answer) for one in rollouts]
    looked = [(one, answer) for one, answer in answers if answer is None or answer.region_reading is not None]
    regions = [(one, answer.region if answer else None) for one, answer in looked]
    covered = [box.coverage_of(one.sample.region) if box else 0.0 for one, box in regions if one.sample.region]
    areas = [box.area / one.picture.size.area if box and one.picture else 1.0 for one, box in regions]
    right: dict[str, list[bool]] = {}
    for one in rollouts:
        right.setdefault(one.sample.category, []).append(answered_right(one.sample, one.trace, recipe.matching))
    return {
        "accuracy": _short(np.mean([one for group in right.values() for one in group])),
        **{f"accuracy_{name}": _short(np.mean(group)) for name, group in sorted(right.items()) if name},
        "coverage": _short(np.mean(covered)) if covered else math.nan,
        "area": _short(np.mean(areas)) if areas else math.nan,
        "vision_tokens": _short(np.mean([one.trace.vision_tokens for one in rollouts])),
    }


def _short(value: Any) -> Any:
    return round(float(value), 5) if isinstance(value, float) else value
