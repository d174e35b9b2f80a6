"""A job over many pictures: every row once, whatever is killed; poison is named; what is done is not done again."""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.batch.rows import BatchRow, read_rows
from ergo.batch.run import JOURNAL, MAX_CRASHES, run_here
from ergo.batch.shards import SCHEMA, Shards
from ergo.batch.worker import BatchConfig, Worker
from ergo.cli.batch import batch
from ergo.cli.main import parser
from ergo.core.errors import BackendError, DataError, UsageError
from ergo.core.messages import Request
from ergo.families import QWEN2_5_VL


def reply(request: Request) -> str | BackendError:
    if "fail" in request.chat[-1].text:
        return BackendError("no", "http_500")
    return "<zoom>[28, 28, 56, 56]</zoom>" if request.expect == "region" else "<answer>yes</answer>"


def opened() -> Model:
    return Model(ScriptedBackend(reply, record=False), QWEN2_5_VL, 28, "scripted")


def worker(concurrency: int = 4) -> Worker:
    return Worker(opened(), BatchConfig(budget=16), concurrency)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (90 + number, 60), (number, 0, 0)).save(
            folder / ("deeper" if number % 2 else ".") / f"{number}.jpg"
        )
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (folder / "notes.txt").write_text("no picture")
    return folder


def typed(*words: object) -> argparse.Namespace:
    return parser("batch").parse_args(["batch", *map(str, words)])


def rows_in(output: Path) -> list[dict[str, Any]]:
    return list(Shards(str(output)).rows())


def kind(row: dict[str, Any]) -> str | None:
    """The name of a row's failure."""
    return row["error"]["kind"] if row["error"] else None


def test_a_folder_becomes_shards_and_the_broken_picture_is_named(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert batch(typed(pictures, out, "--question", "Is it there?", "--budget", 16, "--shard", 4), opened) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("ergo: 11 done")
    assert "1 failed" in printed.err
    assert printed.out == f"rows in {out}\n"
    rows = rows_in(out)
    assert len(rows) == len({row["id"] for row in rows}) == 11
    [broken] = [row for row in rows if row["error"]]
    assert str(broken["picture"]).endswith("broken.jpg")
    assert kind(broken) == "broken"
    good = next(row for row in rows if not row["error"])
    assert good["answer"] == "yes"
    assert good["region"]
    assert len(good["turns"]) == 2  # type: ignore[arg-type]
    assert sorted(path.suffix for path in out.iterdir()) == [".parquet"] * 3


def test_the_same_command_does_only_what_is_left(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("--question", "Is it there?", "--shard", 3)
    batch(typed(pictures, out, *words, "--limit", 5), opened)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    batch(typed(pictures, out, *words), opened)
    assert "ergo: 6 done" in capsys.readouterr().err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(rows_in(out)) == 11
    assert batch(typed(pictures, out, *words), opened) == 1  # the broken picture has no answer yet
    said = capsys.readouterr().err
    assert "nothing left to do" in said
    assert "1 rows have an error: --retry-failed" in said


def test_only_what_failed_is_asked_again_when_wanted(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("--question", "Is it there?", "--shard", 100)
    batch(typed(pictures, out, *words), opened)
    Image.new("RGB", (50, 50)).save(pictures / "broken.jpg")
    assert batch(typed(pictures, out, *words, "--retry-failed"), opened) == 0
    assert "ergo: 1 failed rows are asked again" in capsys.readouterr().err
    rows = rows_in(out)
    assert len(rows) == 11
    assert not any(row["error"] for row in rows)


def test_tables_bring_their_own_questions_options_and_ids(pictures: Path, tmp_path: Path) -> None:
    records = [
        {"id": "a", "image": "pictures/0.jpg", "question": "One?", "options": "x|y"},
        {"image": "pictures/2.jpg", "question": "Two?"},
    ]
    with (tmp_path / "t.csv").open("w") as file:
        table = csv.DictWriter(file, ["id", "image", "question", "options"])
        table.writeheader()
        table.writerows(records)
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        first, second = read_rows(str(tmp_path / name), None)
        assert first == BatchRow("a", f"{tmp_path}/pictures/0.jpg", "One?", ("x", "y"))
        assert (second.id, second.question, second.options) == (f"{name}:1", "Two?", ())
        assert [row.question for row in read_rows(str(tmp_path / name), "Other?")] == ["Other?"] * 2


def test_rows_that_are_none_are_answered_by_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"image": "a.jpg"}\nnot json\n[1]\n{"question": "x"}\n{"image": "nowhere.jpg", "question": "x"}\n'
    )
    out = tmp_path / "out"
    batch(typed(tmp_path / "t.jsonl", out), opened)
    assert Counter(kind(row) for row in rows_in(out)) == {"bad_row": 4, "missing": 1}
    assert len(rows_in(out)) == 5


def test_mistakes_are_one_line(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "twice.jsonl").write_text('{"id": 1, "image": "a"}\n{"id": 1, "image": "b"}\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.docx").write_text("x")
    for words, error in (
        ((pictures, tmp_path / "o1"), UsageError),
        ((tmp_path / "nothing", tmp_path / "o2", "--question", "x"), DataError),
        ((tmp_path / "none.jsonl", tmp_path / "o3"), DataError),
        ((tmp_path / "twice.jsonl", tmp_path / "o4", "--question", "x"), DataError),
        ((pictures, tmp_path / "other", "--question", "x"), UsageError),
        ((pictures, tmp_path / "o5", "--question", "x", "--shard", 0), UsageError),
    ):
        with pytest.raises(error):
            batch(typed(*words), opened)


def test_any_fsspec_address_will_do(pictures: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in pictures.glob("*.jpg"):
        memory.pipe(f"/in/{path.name}", path.read_bytes())
    batch(typed("memory://in", "memory://out", "--question", "Is it there?"), opened)
    rows = list(Shards("memory://out").rows())
    assert len(rows) == len(list(pictures.glob("*.jpg")))
    assert sum(row["error"] is None for row in rows) == 5


def test_a_row_that_ends_the_process_is_quarantined_and_stops_nobody(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"id": str(n), "image": "a.png", "question": f"q{n}"}) for n in range(30))
    )
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_batch as t
def deadly(request):
    return os._exit(9) if "q7 " in request.chat[-1].text else t.reply(request)
model = t.Model(t.ScriptedBackend(deadly, record=False), t.QWEN2_5_VL, 28, "x")
t.batch(t.typed({str(tmp_path / "t.jsonl")!r}, {str(tmp_path / "out")!r}, "--shard", 5), lambda: model)
"""
    ends = 0
    while subprocess.run([sys.executable, "-c", code], check=False).returncode == 9:
        ends += 1
        assert ends <= MAX_CRASHES
    assert ends == MAX_CRASHES
    rows = rows_in(tmp_path / "out")
    assert len(rows) == len({row["id"] for row in rows}) == 30
    assert [(row["id"], kind(row)) for row in rows if row["error"]] == [("7", "killed_worker")]
    assert not (tmp_path / "out" / JOURNAL).exists()


JOB = """
import sys, time
sys.path.insert(0, {here!r})
import test_batch as t
def slow(request):
    time.sleep(0.004)
    return t.reply(request)
model = t.Model(t.ScriptedBackend(slow, record=False), t.QWEN2_5_VL, 28, "x")
t.batch(t.typed(sys.argv[1], sys.argv[2], "--shard", "7", "--concurrency", "8", "--question", "x"), lambda: model)
"""


def killed_at_random(source: Path, out: Path, kills: int) -> None:
    generator = random.Random(kills)
    command = [sys.executable, "-c", JOB.format(here=str(Path(__file__).parent)), str(source), str(out)]
    for _ in range(kills):
        process = subprocess.Popen(command)
        until = len(list(out.glob("*.parquet"))) + generator.randrange(1, 4)
        while process.poll() is None and len(list(out.glob("*.parquet"))) < until:
            time.sleep(0.002)
        time.sleep(generator.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True)


def timeless(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(
        (
            row | {"seconds": 0, "turns": [turn | {"seconds": 0} for turn in row["turns"]]}  # type: ignore[attr-defined]
            for row in rows
        ),
        key=lambda row: str(row["id"]),
    )


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_each_row_is_there_once(tmp_path: Path, kills: int) -> None:
    picture = tmp_path / "a.jpg"
    Image.new("RGB", (300, 200)).save(picture)
    source = tmp_path / "in"
    source.mkdir()
    for number in range(60 * max(1, kills // 4)):
        os.link(picture, source / f"{number:04}.jpg")
    killed_at_random(source, tmp_path / "killed", kills)
    subprocess.run(
        [sys.executable, "-c", JOB.format(here=str(Path(__file__).parent)), str(source), str(tmp_path / "whole")],
        check=True,
    )
    disturbed, undisturbed = rows_in(tmp_path / "killed"), rows_in(tmp_path / "whole")
    assert timeless(disturbed) == timeless(undisturbed)
    assert len(disturbed) == len(list(source.iterdir()))


def test_pictures_are_opened_only_for_rows_in_progress(tmp_path: Path) -> None:
    """Memory is that of the rows in progress: rows are drawn from the input one by one."""
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    drawn: list[int] = []

    def endless():  # type: ignore[no-untyped-def]
        for number in range(50):
            drawn.append(number)
            yield BatchRow(str(number), str(tmp_path / "a.png"), "x")

    shards = Shards(str(tmp_path / "out"))
    shards.prepare()
    for finished, _ in enumerate(run_here(endless(), shards, worker(4), 5, None), 1):
        assert len(drawn) <= finished + 4 + 1


def test_a_row_has_every_field_of_a_trace(pictures: Path) -> None:
    """One vocabulary: what `ergo.traces` writes of a Trace is what stands in the shard."""
    rows = list(worker().answers([BatchRow("a", str(pictures / "0.jpg"), "x"), BatchRow("b", "nowhere.jpg", "x")]))
    assert all(set(SCHEMA.names) == set(row) for row in rows)
    assert pa.Table.from_pylist(rows, SCHEMA).to_pylist() == rows
