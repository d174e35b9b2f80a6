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


def test_a_run_can_be_repeated_from_its_file(mine: Path, tmp_path: Path) -> None:
    """Sampled with a checkpoint's own penalties: every flag below is read from config.json."""
    tiny_models = pytest.importorskip("tiny_models", reason="runs a model in this process")
    folder = tiny_models.save(tmp_path / "checkpoint", "qwen2_5_vl")
    stated = {"repetition_penalty": 1.3, "top_k": 5, "temperature": 0.1, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(stated))
    runs = [tmp_path / "first", tmp_path / "second"]
    sampled = ["--generation", "checkpoint", "--temperature", "0.7", "--max-tokens", "9", "--budget", "16"]
    main(["eval", str(mine), "--model", str(folder), "--out", str(runs[0]), *sampled])
    config = json.loads((runs[0] / "config.json").read_text())["config"]
    settings = config["settings"]
    assert (settings["repetition_penalty"], settings["top_k"], settings["checkpoint_states"]) == (1.3, 5, stated)
    assert (config["temperature"], config["top_p"], config["max_tokens"]) == (0.7, 1.0, 9)

    names = ("generation", "dtype")
    flags = [word for name in names for word in (f"--{name}", str(settings[name]))]
    flags += [word for name in ("temperature", "max_tokens", "family", "model", "seeds", "preset")
              for word in (f"--{name.replace('_', '-')}", str(config[name]))]  # fmt: skip
    main(["eval", config["benchmark"], *flags, "--conditions", *config["conditions"], "--out", str(runs[1])])
    assert json.loads((runs[1] / "config.json").read_text())["config"] == config
    first, second = ([json.loads(line) for line in (run / "traces.jsonl").read_text().splitlines()] for run in runs)
    assert [[turn["text"] for turn in row["turns"]] for row in first] == [
        [turn["text"] for turn in row["turns"]] for row in second
    ]
    used = {"max_tokens": 9, "temperature": 0.7, "top_p": 1.0, "seed": 0, "stop": []}
    assert first[0]["sampling"] | used == first[0]["sampling"]
