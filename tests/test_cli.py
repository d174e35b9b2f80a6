"""The command line: what a person sees."""

import json
from pathlib import Path

import pytest
from PIL import Image

import ergo
from ergo.backends.scripted import ScriptedBackend
from ergo.cli import main
from ergo.dialect import QWEN2_5_VL
from ergo.errors import UsageError

SCRIPTED = "scripted:<think>left</think><zoom>[0, 0, 200, 200]</zoom><answer>B</answer>"


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "large.png"
    Image.new("RGB", (3000, 2000), "green").save(path)
    return str(path)


def test_ask_tells_answer_region_and_cost(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", picture, "Which?", "--options", "red", "blue", "--model", SCRIPTED]) == 0
    told = capsys.readouterr().out
    assert "answer    B" in told
    assert "region    [0, 0, 714, 714]" in told
    assert "vision tokens" in told


def test_ask_as_json(picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["answer"] == "B"
    assert len(row["turns"]) == 2


@pytest.mark.parametrize("name", ["look.png", "look.html"])
def test_ask_saves_what_was_looked_at(picture: str, tmp_path: Path, name: str) -> None:
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--save", str(tmp_path / name)]) == 0
    assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg", "q", "--model", SCRIPTED], "missing.jpg"),
        (["PICTURE", "", "--model", SCRIPTED], "question is empty"),
        (["PICTURE", "q", "--model", "gpt"], "no model is named"),
        (["PICTURE", "q", "--model", SCRIPTED, "--budget", "0"], "--budget"),
        (["PICTURE", "q", "--model", SCRIPTED, "--save", "x.gif"], ".png or .html"),
        (["PICTURE", "q", "--model", SCRIPTED, "--flow", "three_looks"], "coarse_to_fine"),
        (["PICTURE", "q", "--model", SCRIPTED, "--flow", "crop_only"], "region"),
        (["PICTURE", "q", "--model", "openai:http://127.0.0.1:9/v1"], "127.0.0.1:9"),
    ],
)
def test_a_mistake_gets_one_line(
    arguments: list[str], says: str, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", *(picture if word == "PICTURE" else word for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("verb", ["", "ask", "eval", "report", "bench", "world", "train"])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*([verb] if verb else []), "--help"])
    assert stopped.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_the_python_api_is_as_short(picture: str) -> None:
    opened = ergo.Opened(ScriptedBackend(["<zoom>[0, 0, 50, 50]</zoom>", "blue"]), QWEN2_5_VL, 28, "fake")
    trace = ergo.ask(picture, "Which?", model=opened)
    assert trace.answer is not None
    assert trace.answer.text == "blue"


def test_world_writes_a_data_set_that_eval_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", str(tmp_path), "--limit", "2", "--megapixels", "0.3", "0.4"]) == 0
    run = ["eval", str(tmp_path / "samples.jsonl"), "--model", SCRIPTED, "--out", str(tmp_path / "run")]
    assert main(run) == 0
    assert json.loads((tmp_path / "run" / "report.json").read_text())["samples"] == 2


def test_unknown_models_are_named() -> None:
    with pytest.raises(UsageError, match="hf:NAME"):
        ergo.open_backend("what")
