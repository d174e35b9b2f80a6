"""The command line: what a person sees."""

from __future__ import annotations

import io
import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
from faulty import FaultyServer, reply, says, status
from PIL import Image

import ergo
from ergo import recipes
from ergo.api import BUNDLED
from ergo.backends.scripted import ScriptedBackend
from ergo.cli.main import main
from ergo.core.errors import UsageError
from ergo.families import QWEN2_5_VL

SCRIPTED = "scripted:<think>left</think><zoom>[0, 0, 200, 200]</zoom><answer>B</answer>"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "large.png"
    Image.new("RGB", (3000, 2000), "green").save(path)
    return str(path)


def test_ask_tells_answer_region_and_cost(picture: str, capsys: Captured) -> None:
    assert main(["ask", picture, "Which?", "--options", "red", "blue", "--model", SCRIPTED]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert re.fullmatch(
        r"answer    \(B\) blue\n"
        r"region    \[0, 0, 714, 714\], 8\.5% of 3000x2000 pixels\n"
        r"thought   left\n"
        r"looked    (\d+) \+ (\d+) = (\d+) vision tokens, [\d.]+% of a direct look \(7597\)\n"
        r"took      \d+\.\d\d s, \d+ output tokens\n",
        printed.out,
    )
    coarse, close, both = map(int, re.findall(r"\d+", printed.out.split("looked")[1])[:3])
    assert coarse + close == both
    assert max(coarse, close) <= 640


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ("no idea", ["answer    no idea  (no_tag)", "region    none that could be read (none_given): looked at the whole picture again"]),
        ("<zoom>[0, 0, 20.5, 20]</zoom><answer>", ["answer    (none)  (empty)", "(repaired_float)"]),
        ("<zoom>[9, 9, 1, 1]</zoom><answer>B", ["answer    B  (repaired_tag)", "(repaired_order)"]),
    ],
)  # fmt: skip
def test_what_was_repaired_is_printed(script: str, lines: list[str], picture: str, capsys: Captured) -> None:
    empty = lines[0].startswith("answer    (none)")
    assert main(["ask", picture, "Which?", "--model", f"scripted:{script}"]) == empty
    printed = capsys.readouterr().out
    assert all(line in printed for line in lines)
    assert ("remark    the model's last reply holds no answer" in printed) == empty


def test_a_budget_and_a_flow_are_flags(picture: str, capsys: Captured) -> None:
    for flags, looks in (
        (["--budget", "40"], 2),
        (["--budget", "40", "--flow", "one_look"], 1),
        (["--budget", "40", "--flow", "crop_only", "--region", "0", "0", "900", "900"], 1),
    ):
        assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--json", *flags]) == 0
        turns = json.loads(capsys.readouterr().out)["turns"]
        assert len(turns) == looks
        assert all(view["tokens"] <= 40 for turn in turns for view in turn["views"])


def test_one_look_at_the_same_tokens_is_a_line_after_the_others(picture: str, capsys: Captured) -> None:
    words = ["ask", picture, "Which?", "--compare", "--options", "red", "blue", "--model", SCRIPTED]
    assert main(words) == 0
    *_, looked, _, one = capsys.readouterr().out.splitlines()
    said = re.fullmatch(r"one look  \(B\) blue, at (\d+) vision tokens", one)
    total = re.search(r"= (\d+) vision tokens", looked)
    assert said
    assert total
    assert 0.9 * int(total[1]) < int(said[1]) <= int(total[1])
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["compared"]["choice"], row["compared"]["vision_tokens"]) == (1, int(said[1]))


def test_what_a_model_that_knows_little_says_is_no_mended_reply(picture: str, capsys: Captured) -> None:
    words = ["ask", picture, "Which?", "--compare", "--model", "scripted:<zoom>[240, seen", "--family", "ergo_tiny"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("answer    I cannot tell\n")
    assert "\none look  I cannot tell, at " in printed


def test_one_look_that_fails_is_named_and_counts(picture: str, tmp_path: Path, capsys: Captured) -> None:
    looks = [says(reply("<zoom>[0, 0, 200, 200]</zoom>")), says(reply("<answer>B</answer>"))]
    with FaultyServer(*looks, *[status(404)] * 4) as server:
        words = ["ask", picture, "Which?", "--compare", "--model", f"openai:{server.url}", "--family", "qwen2_5_vl"]
        assert main([*words, "--save", str(tmp_path / "look.html")]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("answer    B\n")
    assert re.search(r"^one look  failed, \w+: .+$", printed, re.MULTILINE)
    page = (tmp_path / "look.html").read_text(encoding="utf-8")
    assert "One look at the same tokens" in page
    assert "Failed: " in page


def test_the_family_is_a_flag(picture: str, capsys: Captured) -> None:
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--family", "qwen3_vl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["region"] == [0, 0, 600, 400]  # thousandths


def test_ask_as_json(picture: str, capsys: Captured) -> None:
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["answer"] == "B"
    assert len(row["turns"]) == 2


@pytest.mark.parametrize("name", ["look.png", "look.html", "LOOK.PNG"])
def test_ask_saves_what_was_looked_at(picture: str, tmp_path: Path, name: str, capsys: Captured) -> None:
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--save", str(tmp_path / name)]) == 0
    assert (tmp_path / name).stat().st_size > 1000
    assert capsys.readouterr().out.endswith(f"saved     {tmp_path / name}\n")
    assert main(["ask", picture, "Which?", "--model", SCRIPTED, "--json", "--save", str(tmp_path / name)]) == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["look.gif", "look", "nowhere/look.png", "folder.png"])
def test_a_place_that_cannot_be_saved_to_is_refused_before_asking(
    name: str, picture: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "folder.png").mkdir()
    asked = ["ask", picture, "Which?", "--model", "hf:/no/such/folder", "--save", str(tmp_path / name)]
    assert main(asked) == 2
    assert capsys.readouterr().err.startswith("ergo: --save")


def test_a_model_that_does_not_answer_is_a_failed_question(picture: str, tmp_path: Path, capsys: Captured) -> None:
    """The server is there when the model is opened, and then does not speak."""
    with FaultyServer(*[status(404)] * 4) as server:
        saved = str(tmp_path / "look.png")
        assert (
            main(
                ["ask", picture, "Which?", "--model", f"openai:{server.url}", "--family", "qwen2_5_vl", "--save", saved]
            )
            == 1
        )
    printed = capsys.readouterr().out
    assert printed.startswith("failed    ")
    assert Path(saved).is_file()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_reply_that_the_terminal_cannot_show_is_spelled_out(
    picture: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["ask", picture, "Which?", "--model", "scripted:<answer>\ud800 é \x1b[31m</answer>"]) == 0
    out.seek(0)
    printed = out.read()
    assert printed.startswith("answer    \\ud800 " + ("é" if encoding == "utf-8" else "\\xe9") + " \\x1b[31m\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["PICTURE", "", "--model", SCRIPTED], "question is empty"),
        (["PICTURE"], "a picture and a question are wanted"),
        (["PICTURE", "q", "--model", "gpt"], "no model is named"),
        (["PICTURE", "q", "--model", SCRIPTED, "--budget", "0"], "--budget"),
        (["PICTURE", "q", "--model", SCRIPTED, "--save", "x.gif"], ".png or .html"),
        (["PICTURE", "q", "--model", SCRIPTED, "--flow", "three_looks"], "coarse_to_fine"),
        (["PICTURE", "q", "--model", SCRIPTED, "--flow", "crop_only"], "region"),
        (["PICTURE", "q", "--model", SCRIPTED, "--flow", "one_look", "--region", "0", "0", "9", "9"], "crop_only"),
        (["PICTURE", "q", "--model", SCRIPTED, "--region", "9", "9", "1", "1"], "a region is left, top"),
        (["PICTURE", "q", "--model", SCRIPTED, "--region", "9", "9"], "expected 4 arguments"),
        (["PICTURE", "q", "--model", SCRIPTED, "--max-tokens", "0"], "at least 1 token"),
        (["PICTURE", "q", "--model", SCRIPTED, "--concurrency", "0"], "concurrency is at least 1"),
        (["PICTURE", "q", "--model", SCRIPTED, "--family", "llava"], "invalid choice: 'llava'"),
        (["PICTURE", "q", "--model", SCRIPTED, "--timeout", "9"], "timeout"),
        (["PICTURE", "q", "--model", "ergo-tiny", "--timeout", "9"], "timeout is a setting of an endpoint"),
        (
            ["PICTURE", "q", "--model", "openai:http://127.0.0.1:9", "--device", "cpu"],
            "device is a setting of a model in",
        ),
        (["PICTURE", "q", "--model", "openai:http://127.0.0.1:9", "--extra-body", "x"], "not JSON"),
        (["PICTURE", "q", "--model", "openai:http://127.0.0.1:9", "--extra-body", "[1]"], "an object is wanted"),
        (["PICTURE", "q", "--model", "openai:http://127.0.0.1:9", "--retries", "-1"], "retries"),
        (["PICTURE", "q", "--model", "hf:/no/such/folder"], "there is no folder /no/such/folder"),
        (["PICTURE", "q", "--model", SCRIPTED, "--options", "bars,slashes"], "did you mean 2, ['bars', 'slashes']?"),
        (["PICTURE", "q", "--model", SCRIPTED, "--compare", "--flow", "one_look"], "nothing to compare"),
        (["PICTURE", "q", "--model", SCRIPTED, "--compare", "--region", "0", "0", "9", "9"], "nothing to compare"),
        (["PICTURE", "q", "--model", SCRIPTED, "--max-looks", "5"], "max_looks is for the flow as_needed"),
        (["PICTURE", "q", "--option", "red"], "ask: unrecognized arguments: --option red (see ergo ask --help)"),
        (["-", "-"], "stdin (-) holds one picture or one question"),
    ],
)
def test_wrong_use_gets_one_line_and_status_2(arguments: list[str], says: str, picture: str, capsys: Captured) -> None:
    assert main(["ask", *(picture if word == "PICTURE" else word for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.jpg", "q", "--model", SCRIPTED], "missing.jpg"),
        (["/etc/hostname", "q", "--model", SCRIPTED], "not a picture"),
        (["data:image/png;base64,xx", "q", "--model", SCRIPTED], "base64"),
        (["PICTURE", "q", "--model", "openai:http://127.0.0.1:9/v1", "--pause", "0.01"], "127.0.0.1:9"),
    ],
)
def test_what_fails_gets_one_line_and_status_1(arguments: list[str], says: str, picture: str, capsys: Captured) -> None:
    assert main(["ask", *(picture if word == "PICTURE" else word for word in arguments)]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main(["world", str(tmp_path / "file" / "out"), "--limit", "1"]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "file") in error
    assert error.count("\n") == 1


# ── several at once, and stdin ─────────────────────────────────────────────────────────────────


def test_several_pictures_and_questions_are_answered_in_order(picture: str, tmp_path: Path, capsys: Captured) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (90, 60), "red").save(small)
    words = ["ask", picture, str(small), "-q", "One?", "-q", "Two?", "--model", SCRIPTED]
    assert main([*words, "--save", str(tmp_path / "look.png")]) == 0
    blocks = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        f"{name}: {question}" for name in (picture, small) for question in ("One?", "Two?")
    ]
    assert all(block.splitlines()[1] == "answer    B" for block in blocks)
    assert len({(tmp_path / f"look-{number}.png").stat().st_size for number in (1, 2, 3, 4)}) > 1
    assert main([*words, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["picture"], row["question"]) for row in rows] == [
        (name, question) for name in (picture, str(small)) for question in ("One?", "Two?")
    ]


def test_a_broken_picture_among_several_stops_nobody(picture: str, capsys: Captured) -> None:
    assert main(["ask", "missing.jpg", picture, "q", "--model", SCRIPTED]) == 1
    first, second = capsys.readouterr().out.split("\n\n")
    assert first == "missing.jpg: q\nfailed    missing: there is no file missing.jpg"
    assert "answer    B" in second


def test_the_options_stand_in_the_json_with_the_one_chosen(picture: str, capsys: Captured) -> None:
    words = ["ask", picture, "q", "--model", "scripted:<answer>blue</answer>", "--json", "--options", "red", "blue"]
    assert main(words) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["options"], row["choice"]) == (["red", "blue"], 1)


def test_an_answer_that_is_no_option_is_remarked(picture: str, capsys: Captured) -> None:
    words = ["ask", picture, "q", "--model", "scripted:<answer>green</answer>", "--options", "red", "blue"]
    assert main(words) == 0
    assert "answer    green\nremark    this is none of the options, or more than one\n" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["remark"] == "no_option"


def test_a_bundled_picture_is_found_by_name_and_a_file_of_ones_own_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["ask", "plate.jpg", "q", "--model", SCRIPTED, "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["turns"][0]["views"][0]["source"] == list(
        Image.open(BUNDLED / "plate.jpg").size
    )
    Image.new("RGB", (90, 60)).save("plate.jpg")
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["turns"][0]["views"][0]["source"] == [90, 60]
    assert main(["ask", "folder/plate.jpg", "q", "--model", SCRIPTED]) == 1


# ── the other verbs ────────────────────────────────────────────────────────────────────────────


def test_recipes_are_listed_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert listed == list(recipes.shipped())
    assert all(len(line) <= 100 for line in lines)
    assert main(["recipes", "tiny-grpo"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["kind"] == "grpo"
    assert main(["recipes", "nothing"]) == 2


def test_train_takes_a_recipe_by_name_and_refuses_what_it_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    for words, line in ((["nothing"], "no recipe is called"), (["tiny-grpo", "--set", "no.such=1"], "no")):
        assert main(["train", *words]) == 2
        error = capsys.readouterr().err
        assert line in error
        assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_nothing_typed_shows_the_verbs(capsys: Captured) -> None:
    assert main([]) == 2
    assert "ask " in capsys.readouterr().err


def test_the_python_api_is_as_short(picture: str) -> None:
    opened = ergo.Model(ScriptedBackend(["<zoom>[0, 0, 50, 50]</zoom>", "blue"]), QWEN2_5_VL, 28, "fake")
    trace = ergo.ask(picture, "Which?", model=opened)
    assert trace.answer is not None
    assert trace.answer.text == "blue"


@pytest.mark.parametrize(("kind", "size"), [("photographs", ("1", "1.1")), ("drawn", ("0.3", "0.4"))])
def test_world_writes_a_data_set_that_eval_reads(kind: str, size: tuple[str, str], tmp_path: Path) -> None:
    assert main(["world", str(tmp_path), "--limit", "2", "--megapixels", *size, "--kind", kind]) == 0
    run = ["eval", str(tmp_path / "samples.jsonl"), "--model", SCRIPTED, "--out", str(tmp_path / "run")]
    assert main(run) == 0
    assert json.loads((tmp_path / "run" / "report.json").read_text())["samples"] == 2


def test_unknown_models_are_named() -> None:
    with pytest.raises(UsageError, match="hf:NAME"):
        ergo.open_backend("what")
