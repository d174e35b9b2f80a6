"""A run that cannot get better, or whose rollouts fail, stops itself and says what to change."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training import recipe

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
