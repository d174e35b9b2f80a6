"""A run that cannot get better, or whose rollouts fail, stops itself and says what to change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import RECIPE, SMALL, make_trainer, recipe
from transformers import TrainerControl, TrainerState

from ergo.cli.train import train
from ergo.core.errors import TrainingStopped
from ergo.rl.watch import Watch


def watch(tmp_path: Path, **settings: int) -> Watch:
    trainer: Any = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=True), failures=Counter(verifier_timeout=5, picture_truncated=1)
    )
    return Watch(recipe(*(f"{name}={value}" for name, value in settings.items())), trainer, tmp_path)


def log(watching: Watch, step: int, **logs: float) -> None:
    watching.on_log(None, SimpleNamespace(global_step=step), None, {"left_out": 0.0} | logs)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    for name in ("loss", "grad_norm"):
        with pytest.raises(TrainingStopped, match="learning_rate"):
            log(watch(tmp_path), 1, **{name: float("nan")})


@pytest.mark.parametrize(
    ("stuck", "well", "advice"),
    [
        ({"region/area": 0.91}, {"region/area": 0.9}, "`box` more weight"),
        ({"region/area": 0.1, "frac_reward_zero_std": 1.0}, {"frac_reward_zero_std": 0.9}, "temperature"),
        ({"left_out": 0.5}, {"left_out": 0.49}, "verifier_timeout 5, picture_truncated 1"),
    ],
)
def test_steps_in_a_row_that_teach_nothing_end_the_run(
    stuck: dict[str, float], well: dict[str, float], advice: str, tmp_path: Path
) -> None:
    watching = watch(tmp_path, patience=3, max_failed_steps=3)
    for step, logs in enumerate([stuck, stuck, well, stuck, stuck], 1):
        log(watching, step, **logs)
    with pytest.raises(TrainingStopped, match=advice):
        log(watching, 6, **stuck)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_the_row_at_the_end_of_a_run_counts_for_nothing(tmp_path: Path) -> None:
    watching = watch(tmp_path, patience=1, max_failed_steps=1)
    watching.on_log(None, SimpleNamespace(global_step=9), None, {"train_loss": 0.1})


def test_validation_is_logged_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    """Into log.jsonl, and into TensorBoard under the step at which it was measured; OUT/best is a checkpoint."""
    settings = [*SMALL, "validate_every=1", "validation_samples=10", "trl.max_steps=2", "trl.report_to='tensorboard'"]
    rate = [*settings, "trl.learning_rate=1e-3", "trl.warmup_steps=0", "trl.lr_scheduler_type='constant'"]
    train(RECIPE, tmp_path, rate)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    accuracy = {row["step"]: row["validation/accuracy"] for row in lines if "validation/accuracy" in row}
    assert sorted(accuracy) == [0, 1, 2]
    assert [row["step"] for row in lines if "reward" in row] == [1, 2], "the steps' own rows are there too"
    best = json.loads((tmp_path / "best.json").read_text())
    assert best == {"step": max(accuracy, key=lambda step: (accuracy[step], -step)), "accuracy": max(accuracy.values())}
    events = EventAccumulator(str(next((tmp_path / "runs").iterdir())))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("train/validation/accuracy")}
    assert shown == pytest.approx(accuracy)


def test_weights_are_kept_where_they_are_better_than_ever(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text('{"step": 3, "accuracy": 0.0}')
    trainer = make_trainer(recipe("validate_every=1", "validation_samples=10"), tmp_path)
    watching = Watch(trainer.step.recipe, trainer, tmp_path)
    state = TrainerState(global_step=4, max_steps=9)
    watching.on_step_end(trainer.args, state, TrainerControl())
    assert (tmp_path / "best" / "model.safetensors").is_file()
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["step"] == 4
    assert best["accuracy"] > 0
    watching.on_step_end(trainer.args, TrainerState(global_step=5, max_steps=9), TrainerControl())
    assert json.loads((tmp_path / "best.json").read_text()) == best, "as good is not better"
