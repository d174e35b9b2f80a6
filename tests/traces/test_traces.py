"""A run folder survives being killed at any byte, and never mixes two runs."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, DataError, UsageError
from ergo.core.flows import Answer, Question, coarse_to_fine
from ergo.core.runner import Trace, drive
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture
from ergo.traces import provenance
from ergo.traces.folder import RunFolder, read_rows, read_sessions
from ergo.traces.provenance import folder_hash
from ergo.traces.rows import read_box, trace_to_dict, turn_to_dict


def row(key: str, error: str | None = None) -> dict[str, object]:
    return {"key": key, "error": {"kind": error} if error else None, "text": "ü\n" * 3}


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {"model": "m"}) as run:
        run.write(row("a"))
        run.write(row("b", "timeout"))
    with RunFolder(tmp_path, {"model": "m"}) as run:
        assert list(run.rows()) == ["a", "b"]
        assert run.done() == {"a"}
        assert run.rows()["a"]["text"] == "ü\n" * 3


def test_a_failure_may_be_written_again_and_the_last_line_counts(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as run:
        run.write(row("a", "timeout"))
        run.write(row("a"))
        assert run.done() == {"a"}


def test_a_writer_killed_at_any_byte_loses_only_its_last_line(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as run:
        run.write(row("a"))
        run.write(row("b"))
    whole = (tmp_path / "traces.jsonl").read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(len(whole) + 1):
        (tmp_path / "traces.jsonl").write_bytes(whole[:cut])
        expected = {"a", "b"} if cut == len(whole) else {"a"} if cut >= first else set()
        assert set(read_rows(tmp_path / "traces.jsonl")) == expected  # a report of a run still going on
        if cut % 9:  # opening asks git for the commit, which takes its time
            continue
        with RunFolder(tmp_path, {}) as run:
            assert run.done() == expected
            run.write(row("c"))
        assert set(read_rows(tmp_path / "traces.jsonl")) == expected | {"c"}


def test_a_long_half_line_is_dropped_too(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_bytes(b'{"key": "a", "error": null}\n' + b"x" * 200_000)
    with RunFolder(tmp_path, {}) as run:
        assert run.done() == {"a"}


def test_another_configuration_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    RunFolder(tmp_path, {"model": "m", "budget": 640}).close()
    with pytest.raises(UsageError) as refused:
        RunFolder(tmp_path, {"model": "m", "budget": 1280})
    assert "budget was 640, is 1280" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "model" not in str(refused.value).split("(")[1]


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}), pytest.raises(UsageError, match="another process"):
        RunFolder(tmp_path, {})
    RunFolder(tmp_path, {}).close()  # let go of


def test_half_a_surrogate_pair_from_a_model_is_kept(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as run:
        run.write({"key": "a", "error": None, "text": "\ud83d"})
        assert run.rows()["a"]["text"] == "\ud83d"


def test_a_file_that_is_not_of_a_run_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text('{"key": "a", "error": null}\nnonsense\n')
    with pytest.raises(DataError, match=r"traces\.jsonl:2"):
        read_rows(tmp_path / "traces.jsonl")


def test_the_folder_says_what_it_was_made_with(tmp_path: Path) -> None:
    RunFolder(tmp_path, {"model": "m"}).close()
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["config"] == {"model": "m"}
    assert {"commit", "python", "machine", "versions"} <= set(written["made_with"])


def test_sessions_are_noted(tmp_path: Path) -> None:
    with RunFolder(tmp_path, {}) as run:
        run.note({"condition": "x", "answers": 3})
    assert read_sessions(tmp_path) == [{"condition": "x", "answers": 3}]


def test_a_model_folder_is_known_by_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = folder_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = folder_hash(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({before, renamed, folder_hash(tmp_path)}) == 3


def test_a_trace_has_one_dictionary() -> None:
    picture = Picture(Image.new("RGB", (1000, 500)))
    backend = ScriptedBackend(["<think>there</think><zoom>[100, 100, 300, 200]</zoom>", "<answer>red</answer>"])
    opened = Model(backend, QWEN2_5_VL, 28, "scripted")
    config = opened.look_config(64)
    trace = drive((None, lambda: coarse_to_fine(picture, Question("Which colour?"), config)), backend)
    record = trace_to_dict(trace)
    assert record == json.loads(json.dumps(record))
    assert (record["answer"], record["thought"], record["error"]) == ("red", "there", None)
    assert read_box(record["region"]) == trace.answer.region  # type: ignore[union-attr]
    coarse, close = (turn["views"][0] for turn in record["turns"])
    assert coarse["source"] == close["source"] == [1000, 500]
    assert (coarse["box"], close["box"]) == ([0, 0, 1000, 500], record["region"])
    assert record["vision_tokens"] == coarse["tokens"] + close["tokens"]
    assert record["direct_vision_tokens"] == trace.direct_vision_tokens > record["vision_tokens"]
    assert record["turns"][0] == turn_to_dict(trace.turns[0])
    assert record["turns"][0]["text"].startswith("<think>there")


def test_a_failed_trace_has_the_same_keys() -> None:
    failed = trace_to_dict(Trace((), None, BackendError("nobody is there", "refused")))
    answered = trace_to_dict(Trace((), Answer("red", "exact")))
    assert failed.keys() == answered.keys()
    assert failed["error"] == {"kind": "refused", "message": "nobody is there"}
    assert (failed["answer"], failed["region"], failed["vision_tokens"]) == (None, None, 0)


OWN = 'name = "ergo-vlm"\n'


@pytest.mark.parametrize(
    ("project", "place", "known"),
    [
        (OWN, "src/ergo/traces", True),
        ('name = "photos"\n', "src/ergo/traces", False),  # copied into the sources of somebody
        ('name = "photos"\n', ".venv/lib/python3.12/site-packages/ergo/traces", False),
        (OWN, ".venv/lib/python3.12/site-packages/ergo/traces", False),  # a wheel beside a checkout of another commit
    ],
)
def test_the_commit_is_of_this_package_and_of_no_repository_around_it(
    project: str, place: str, known: bool, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text(project)
    folder = tmp_path / place
    folder.mkdir(parents=True)
    copied = Path(shutil.copy(provenance.__file__, folder))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "-f", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert runpy.run_path(str(copied))["commit"]() == (head if known else None)
    if known:
        with copied.open("a") as out:
            out.write("\n")
        assert runpy.run_path(str(copied))["commit"]() == head + "+"
        shutil.rmtree(tmp_path / ".git")
        assert runpy.run_path(str(copied))["commit"]() is None  # an unpacked archive
