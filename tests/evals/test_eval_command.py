"""`ergo eval` and `ergo report` as a person types them."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest
from evaluating import knowing, model, picture, samples

from ergo.cli.eval import evaluate_and_report
from ergo.cli.main import main, parser
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
    return parser("eval").parse_args(["eval", "--model", "scripted:x", *map(str, flags)])


def test_one_command_asks_and_reports(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    flags = typed(mine, "--budget", "16,full", "--flow", "one_look,coarse_to_fine", "--out", out)
    assert evaluate_and_report(flags, model()) == 0
    printed = capsys.readouterr()
    assert re.match(r"ergo: one_look@16: 5 done, [\d,.]+/s, 100\.0% right\n", printed.err)
    assert printed.err.count("\n") == 4
    assert "coarse_to_fine@full" in printed.out
    assert str(out / "report.html") in printed.out.splitlines()[-1]
    told = json.loads((out / "report.json").read_text())
    assert list(told["conditions"]) == ["one_look@16", "one_look@full", "coarse_to_fine@16", "coarse_to_fine@full"]
    assert told["config"]["family"] == "qwen2_5_vl"
    assert told["samples"] == 5


def test_flows_with_budgets_of_their_own_make_one_run(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    evaluate_and_report(typed(mine, "--conditions", "one_look@16,full", "coarse_to_fine@16", "--out", out), model())
    told = json.loads((out / "report.json").read_text())
    assert list(told["conditions"]) == ["one_look@16", "one_look@full", "coarse_to_fine@16"]
    with pytest.raises(UsageError, match="leave --flow and --budget out"):
        evaluate_and_report(typed(mine, "--conditions", "one_look@16", "--budget", "16", "--out", out), model())


def test_the_same_command_goes_on_and_another_is_refused(mine: Path, tmp_path: Path) -> None:
    out, opened = tmp_path / "run", model()
    evaluate_and_report(typed(mine, "--budget", "16", "--limit", 3, "--out", out), opened)
    evaluated = len(opened.backend.requests)  # type: ignore[attr-defined]
    assert (
        evaluate_and_report(typed(mine, "--budget", "16", "--limit", 3, "--out", out, "--concurrency", 2), opened) == 0
    )
    assert len(opened.backend.requests) == evaluated  # type: ignore[attr-defined]
    for flags in (("--limit", 4), ("--limit", 3, "--mask"), ("--limit", 3, "--option-order", "shuffled")):
        with pytest.raises(UsageError, match="holds another run"):
            evaluate_and_report(typed(mine, "--budget", "16", "--out", out, *flags), opened)


def test_runs_are_reported_and_compared(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, script in (("a", knowing), ("b", lambda request: "<answer>A</answer>")):
        evaluate_and_report(
            typed(mine, "--flow", "one_look", "--budget", "16", "--out", tmp_path / name), model(script)
        )
    capsys.readouterr()
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    compared = capsys.readouterr().out.split("\n\n")[0]
    assert "b:one_look@16" in compared
    assert "-60.0" in compared


def test_mistakes_are_one_line(mine: Path, tmp_path: Path) -> None:
    for flags in (("--limit", 0), ("--budget", "x"), ("--flow", "zoom"), ("--concurrency", 0), ("--seeds", 0)):
        with pytest.raises(UsageError) as told:
            evaluate_and_report(typed(mine, "--out", tmp_path / "run", *flags), model())
        assert "\n" not in str(told.value)
