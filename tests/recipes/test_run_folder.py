"""A training's folder says what the run is before anything is learnt, and another run does not go on in it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from training import recipe

from ergo.core.errors import UsageError
from ergo.recipes.run_folder import training_run
from ergo.rl.recipe import MAY_CHANGE, GrpoRecipe


def test_what_a_run_is_stands_there_first(tmp_path: Path) -> None:
    with training_run(tmp_path / "run", recipe(), "world"):
        written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["config"]["budget"] == 40
    assert written["config"]["trl.num_generations"] == 4
    assert written["config"]["data_is"] == "world"
    assert written["made_with"]["training"]["trl"].startswith("1.16")
    assert written["made_with"]["versions"]["torch"]


@pytest.mark.parametrize(
    ("change", "data", "named"),
    [
        ("budget=41", "world", "budget was 40, is 41"),
        ("trl.beta=0.5", "world", "trl.beta was 0.0, is 0.5"),
        ("trl.top_k=3", "world", "trl.top_k was None, is 3"),
        ("budget=40", "sha256 other", "data_is was 'world', is 'sha256 other'"),
    ],
)
def test_another_run_is_refused_by_what_is_other(change: str, data: str, named: str, tmp_path: Path) -> None:
    with training_run(tmp_path, recipe(), "world", MAY_CHANGE):
        pass
    begun = (tmp_path / "config.json").read_text()
    with pytest.raises(UsageError, match=named), training_run(tmp_path, recipe(change), data, MAY_CHANGE):
        pass
    assert (tmp_path / "config.json").read_text() == begun


def test_a_change_that_is_allowed_is_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with training_run(tmp_path, recipe(), "world"):
        pass
    with caplog.at_level(logging.WARNING), training_run(tmp_path, recipe("budget=41"), "world", allow_changed=True):
        pass
    assert "budget was 40, is 41" in caplog.text
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["config"]["budget"], written["before"]["config"]["budget"]) == (41, 40)
    with training_run(tmp_path, recipe("budget=41"), "world"):
        pass


def test_what_changes_nothing_that_is_learnt_may_change(tmp_path: Path) -> None:
    with training_run(tmp_path, recipe(), "world", MAY_CHANGE):
        pass
    with training_run(tmp_path, recipe("show_every=9", "trl.save_steps=7"), "world", MAY_CHANGE):
        pass
    known = set(GrpoRecipe.model_fields)
    assert all(key in known or key.startswith("trl.") for key in MAY_CHANGE)


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    held = training_run(tmp_path, recipe(), "world")
    with held, pytest.raises(UsageError, match="another process"), training_run(tmp_path, recipe(), "world"):
        pass
    with training_run(tmp_path, recipe(), "world"):
        pass
