"""Reinforcement learning, from a recipe to a checkpoint.

train                     recipe -> checkpoint
├── verifier_errors       what the verifier can tell, measured before the first step
├── mixed_outcomes        only questions that teach something, where the recipe wants them chosen
├── TrlTrainer, Watch     the steps (step.py, trl_bridge.py), and an eye on them (watch.py)
└── average               the last checkpoints' mean
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from transformers.utils import SAFE_WEIGHTS_NAME

from ergo.backends import open_backend
from ergo.backends.transformers.loading import load_processor
from ergo.core.errors import PictureError, TrainingStopped
from ergo.core.messages import Sampling
from ergo.images.address import open_picture
from ergo.recipes import weights
from ergo.recipes.run_folder import training_run
from ergo.rl.evidence import Verification, Verifier, answered_right, error_rate
from ergo.rl.likelihood import can_grade
from ergo.rl.recipe import MAY_CHANGE, NO_VERIFIER, GrpoRecipe
from ergo.rl.source import Source, source_of
from ergo.rl.step import GrpoStep, roll_out, seed_of
from ergo.rl.trl_bridge import TrlTrainer, trl_config
from ergo.rl.watch import Watch

log = logging.getLogger(__name__)

PROBED = 100  # samples on which the verifier's errors are measured
PROBED_AT_ONCE = 64  # rollouts


def train(recipe: GrpoRecipe, out: Path, allow_changed: bool = False) -> Path:
    """Run (or go on with) reinforcement learning in folder `out`; returns the folder of the final checkpoint.

    allow_changed: go on although the recipe, or the data, is another than the one the run was begun with.
    """
    source = source_of(recipe.data, recipe.samples)
    with training_run(out, recipe, source.identity, MAY_CHANGE, allow_changed):
        return _train(recipe, source, out)


def _train(recipe: GrpoRecipe, source: Source, out: Path) -> Path:
    torch.set_num_threads(recipe.threads)
    start = weights(recipe.start)
    trl_config(
        recipe, out
    )  # gives this process its GPU: a verifier loaded before lies on the first one, of every process
    verifier = frozen_verifier(recipe, start)
    trainer = TrlTrainer(GrpoStep(recipe, source, verifier, load_processor(start)), start, out)
    trainer.add_callback(Watch(recipe, trainer, out))
    last = get_last_checkpoint(str(out))
    if last is None and trainer.accelerator.is_main_process:
        check_verifier(verifier, source, recipe, out / "verifier.json")
    trainer.accelerator.wait_for_everyone()
    if recipe.probe:
        with trainer.accelerator.main_process_first():
            numbers = mixed_outcomes(trainer, out / "mixed-outcomes.json")
        trainer.train_dataset = trainer.train_dataset.select(numbers)
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(out / "checkpoint"))
    if recipe.average and trainer.accelerator.is_main_process:
        average(out, recipe.average)
    return out / "checkpoint"


def frozen_verifier(recipe: GrpoRecipe, start: str) -> Verifier:
    """R: the recipe's, or the policy as it starts; it is shown crops at the budget of the policy's looks."""
    model = None if recipe.verifier == NO_VERIFIER else open_backend(recipe.verifier or f"hf:{start}")
    graded = any(reward.name == "likelihood" for reward in recipe.rewards)
    if graded and model:
        can_grade(model.backend)
    asked: set[Verification] = {"likelihood"} if graded else {"answer"}
    if any(reward.name == "region" for reward in recipe.rewards):
        asked.add("answer")
    return Verifier(model, recipe.budget, recipe.matching, frozenset(asked))


def check_verifier(verifier: Verifier, source: Source, recipe: GrpoRecipe, measured: Path) -> None:
    """Measure how well the verifier tells true crops from wrong ones, and stop before the first step if it does not."""
    if verifier.model is None:
        measured.write_text("null\n")
        return
    samples = []
    for sample in (source[number] for number in range(min(PROBED, len(source)))):
        try:
            samples.append((sample, open_picture(sample.image)))
        except PictureError as error:
            log.warning("sample %s is left out of the measurement: %s", sample.id, error)
    errors = error_rate(verifier, samples, recipe.seed)
    known = {name: None if value != value else value for name, value in asdict(errors).items()}
    measured.write_text(json.dumps(known) + "\n")
    if not errors.true + errors.failed:
        log.warning("the verifier is not measured: no true region is known of the first %d samples", len(samples))
        return
    log.info("verifier: right on %.0f%% of %d true crops, on %.0f%% of %d wrong ones, %d failed",
             100 * errors.right_on_true, errors.true, 100 * errors.right_on_wrong, errors.wrong, errors.failed)  # fmt: skip
    fault = errors.fault(recipe.min_verifier_gap) if recipe.min_verifier_gap else None
    if fault:
        raise TrainingStopped(fault)


def mixed_outcomes(trainer: TrlTrainer, kept: Path) -> list[int]:
    """Numbers of the questions that the start answers sometimes rightly, sometimes wrongly; found once, then read from `kept`.

    A group whose rollouts all score the same has no advantage and teaches nothing.
    """
    if kept.is_file():
        return list(json.loads(kept.read_text()))
    recipe, source = trainer.step.recipe, trainer.step.source
    at_once = max(1, PROBED_AT_ONCE // recipe.probe)
    mixed = []
    for start in range(0, len(source), at_once):
        numbers = [number for number in range(start, min(start + at_once, len(source))) for _ in range(recipe.probe)]
        samples = {number: source[number] for number in set(numbers)}
        seeds = [seed_of(recipe.seed, start, place, recipe.probe) for place in range(len(numbers))]
        sampling = [Sampling(recipe.max_completion_length, recipe.temperature, seed=seed) for seed in seeds]
        with trainer.policy(len(numbers)) as policy:
            rollouts = roll_out(
                policy,
                [samples[number] for number in numbers],
                [recipe.budget] * len(numbers),
                sampling,
                recipe.flow,
                max(2, recipe.looks),
            )
        right = Counter(
            number
            for number, one in zip(numbers, rollouts, strict=True)
            if answered_right(one.sample, one.trace, recipe.matching)
        )
        mixed += [number for number in sorted(samples) if 0 < right[number] < recipe.probe]
    if not mixed:
        raise TrainingStopped(
            f"the start answers each of {len(source)} questions always rightly or always wrongly: "
            "raise temperature, probe or samples"
        )
    log.info("%d of %d questions have mixed outcomes", len(mixed), len(source))
    kept.write_text(json.dumps(mixed) + "\n")
    return mixed


def average(out: Path, count: int) -> None:
    """Put the mean of the last `count` saved checkpoints' weights into the final checkpoint."""
    final = out / "checkpoint" / SAFE_WEIGHTS_NAME
    folders = sorted(out.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    saved = folders[-count:]
    if len(saved) < count or not final.is_file():
        raise TrainingStopped(
            f"{len(saved)} checkpoints with {SAFE_WEIGHTS_NAME} cannot be averaged as {count}: raise trl.save_total_limit, or lower `average`"
        )
    weights = [load_file(folder / SAFE_WEIGHTS_NAME) for folder in saved]
    mean = {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(first.dtype)
        for name, first in weights[0].items()
    }
    save_file(mean, final, metadata={"format": "pt"})
