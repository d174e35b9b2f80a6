"""`ergo eval` and `ergo report` as a person types them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from evaluating import knowing, model, picture, samples

from ergo.cli import eval as eval_verb
from ergo.cli import report as report_verb
from ergo.cli.eval import run_eval
from ergo.cli.report import run_report
from ergo.core.errors import UsageError


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    lines = ["id,picture,question,answer,choices"]
    for sample in samples(5):
        lines.append(f"{sample.id},a.png,{sample.question},{sample.answer},{'|'.join(sample.choices)}")
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "mine.csv"


def typed(*flags: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    eval_verb.add_arguments(parser)
    parser.set_defaults(model="scripted:x")
    return parser.parse_args([str(flag) for flag in flags])


def test_one_command_asks_and_reports(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    lines = list(
        run_eval(typed(mine, "--budget", "16,full", "--flow", "one_look,coarse_to_fine", "--out", out), model())
    )
    assert "one_look@16: 5 asked, 100.0% right" in lines[0]
    assert "coarse_to_fine@full" in lines[-2]
    assert str(out / "report.html") in lines[-1]
    told = json.loads((out / "report.json").read_text())
    assert list(told["conditions"]) == ["one_look@16", "one_look@full", "coarse_to_fine@16", "coarse_to_fine@full"]
    assert told["config"]["family"] == "qwen2_5_vl"
    assert told["samples"] == 5


def test_flows_with_budgets_of_their_own_make_one_run(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    list(run_eval(typed(mine, "--conditions", "one_look@16,full", "coarse_to_fine@16", "--out", out), model()))
    told = json.loads((out / "report.json").read_text())
    assert list(told["conditions"]) == ["one_look@16", "one_look@full", "coarse_to_fine@16"]
    with pytest.raises(UsageError, match="leave --flow and --budget out"):
        list(run_eval(typed(mine, "--conditions", "one_look@16", "--budget", "16", "--out", out), model()))


def test_the_same_command_goes_on_and_another_is_refused(mine: Path, tmp_path: Path) -> None:
    out, opened = tmp_path / "run", model()
    list(run_eval(typed(mine, "--budget", "16", "--limit", 3, "--out", out), opened))
    evaluated = len(opened.backend.requests)  # type: ignore[attr-defined]
    again = list(run_eval(typed(mine, "--budget", "16", "--limit", 3, "--out", out, "--concurrency", 2), opened))
    assert len(opened.backend.requests) == evaluated  # type: ignore[attr-defined]
    assert "100.0%" in again[0]
    for flags in (("--limit", 4), ("--limit", 3, "--mask"), ("--limit", 3, "--options", "shuffled")):
        with pytest.raises(UsageError, match="holds another run"):
            list(run_eval(typed(mine, "--budget", "16", "--out", out, *flags), opened))


def test_runs_are_reported_and_compared(mine: Path, tmp_path: Path) -> None:
    for name, script in (("a", knowing), ("b", lambda request: "<answer>A</answer>")):
        list(run_eval(typed(mine, "--flow", "one_look", "--budget", "16", "--out", tmp_path / name), model(script)))
    parser = argparse.ArgumentParser()
    report_verb.add_arguments(parser)
    lines = list(run_report(parser.parse_args([str(tmp_path / "a"), str(tmp_path / "b")])))
    assert "b:one_look@16" in lines[0]
    assert "-60.0" in lines[0]


def test_mistakes_are_one_line(mine: Path, tmp_path: Path) -> None:
    for flags in (("--limit", 0), ("--budget", "x"), ("--flow", "zoom"), ("--concurrency", 0), ("--seeds", 0)):
        with pytest.raises(UsageError) as told:
            list(run_eval(typed(mine, "--out", tmp_path / "run", *flags), model()))
        assert "\n" not in str(told.value)
