"""A job over many pictures: every row once, whatever is killed; poison is named; what is done is not done again."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from interrupting import started
from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.batch.rows import BatchRow, read_rows
from ergo.batch.run import JOURNAL, MAX_CRASHES, Actor, run_here
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
    assert printed.err.startswith("ergo: 11 of 11 done")
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
    assert sorted(path.suffix or path.name for path in out.iterdir()) == [".json", ".lock", *[".parquet"] * 3]


def test_the_same_command_does_only_what_is_left(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("--question", "Is it there?", "--shard", 3)
    batch(typed(pictures, out, *words, "--limit", 5), opened)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.parquet")}
    batch(typed(pictures, out, *words), opened)
    assert "ergo: 6 of 6 done" in capsys.readouterr().err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(rows_in(out)) == 11
    assert batch(typed(pictures, out, *words), opened) == 1  # the broken picture has no answer yet
    said = capsys.readouterr().err
    assert "nothing left to do" in said
    assert "rows with an error: 1 (broken 1); --retry-failed" in said


def test_only_what_failed_is_asked_again_when_wanted(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ("--question", "Is it there?", "--shard", 100)
    batch(typed(pictures, out, *words), opened)
    Image.new("RGB", (50, 50)).save(pictures / "broken.jpg")
    assert batch(typed(pictures, out, *words, "--retry-failed"), opened) == 0
    assert "ergo: failed rows that are asked again: 1" in capsys.readouterr().err
    rows = rows_in(out)
    assert len(rows) == 11
    assert not any(row["error"] for row in rows)


def test_pictures_inside_a_parquet_file_are_asked_about(pictures: Path, tmp_path: Path) -> None:
    encoded = (pictures / "0.jpg").read_bytes()
    records = [{"id": "a", "image": {"bytes": encoded, "path": "0.jpg"}, "question": "One?", "A": "x", "B": "y"}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    batch(typed(tmp_path / "t.parquet", tmp_path / "out"), opened)
    [row] = rows_in(tmp_path / "out")
    assert (row["id"], row["picture"], row["error"]) == ("a", "data URI", None)


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
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1] / "helpers")!r}]
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
sys.path[:0] = [{here!r}, {here!r} + "/../helpers"]
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


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_was_answered_and_ends_within_two_seconds(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg")
    for number in range(3000):
        os.link(tmp_path / "a.jpg", source / f"{number:04}.jpg")
    job = JOB.format(here=str(Path(__file__).parent)).replace('"--shard", "7"', '"--shard", "100000"')
    began = time.perf_counter()
    process = started([sys.executable, "-c", job, str(source), str(out)], stderr=subprocess.PIPE)
    journal = out / JOURNAL
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 60):
        assert process.poll() is None
        time.sleep(0.02)
    start = time.perf_counter() - began  # on a busy machine both take longer
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    end = time.perf_counter() - began
    print(f"started within {start:.1f} s, ended within {end:.1f}")
    assert end < min(5, max(2, start / 2))
    assert 30 < len(rows_in(out)) < 3000


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
    shards.begin({})
    for finished, _ in enumerate(run_here(endless(), shards, worker(4), 5, None), 1):
        assert len(drawn) <= finished + 4 + 1


def test_a_row_has_every_field_of_a_trace(pictures: Path) -> None:
    """One vocabulary: what `ergo.traces` writes of a Trace is what stands in the shard."""
    rows = list(worker().answers([BatchRow("a", str(pictures / "0.jpg"), "x"), BatchRow("b", "nowhere.jpg", "x")]))
    assert all(set(SCHEMA.names) == set(row) for row in rows)
    assert pa.Table.from_pylist(rows, SCHEMA).to_pylist() == rows


# ── whose answers stand in a folder ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("change", "name"),
    [(("--question", "Another?"), "question"), (("--budget", 32), "budget"), (("--flow", "one_look"), "flow"),
     (("--options", "a", "b"), "options"), (("--max-tokens", 9), "max_tokens"), (("--model", "openai:http://x"), "model")],
)  # fmt: skip
def test_another_job_in_the_same_folder_is_refused(
    pictures: Path, tmp_path: Path, change: tuple[object, ...], name: str
) -> None:
    """It once printed "nothing left to do" and kept the answers to another question."""
    out, words = tmp_path / "out", ("--question", "Is it there?")
    batch(typed(pictures, out, *words, "--limit", 3), opened)
    with pytest.raises(UsageError, match=f"another job .*{name} was"):
        batch(typed(pictures, out, *words, *change), opened)
    assert len(rows_in(out)) == 3


def test_the_job_is_written_down_before_anything_else(pictures: Path, tmp_path: Path) -> None:
    def never() -> Model:
        raise UsageError("no such model")

    out = tmp_path / "out"
    with pytest.raises(UsageError, match="no such model"):
        batch(typed(pictures, out, "--question", "Is it there?"), never)
    job = json.loads((out / "job.json").read_text())
    assert job["job"]["question"] == "Is it there?"
    assert job["job"]["input"] == str(pictures)
    assert "versions" in job["made_with"]


def test_rows_of_a_job_that_nobody_wrote_down_are_not_mixed_with_others(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(typed(pictures, out, "--question", "x", "--limit", 2), opened)
    (out / "job.json").unlink()
    with pytest.raises(UsageError, match="nobody wrote down"):
        batch(typed(pictures, out, "--question", "y"), opened)
    (out / "job.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        batch(typed(pictures, out, "--question", "y"), opened)


def test_a_row_whose_question_changed_is_done_again_and_its_old_answer_goes(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    table, out = tmp_path / "t.jsonl", tmp_path / "out"

    def write(*questions: str) -> None:
        lines = [json.dumps({"id": str(n), "image": "a.png", "question": q}) for n, q in enumerate(questions)]
        table.write_text("\n".join(lines))

    write("one?", "two?", "three?")
    batch(typed(table, out), opened)
    write("one?", "TWO?", "three?", "four?")
    batch(typed(table, out), opened)
    assert sorted((row["id"], row["question"]) for row in rows_in(out)) == [
        ("0", "one?"), ("1", "TWO?"), ("2", "three?"), ("3", "four?"),
    ]  # fmt: skip


def test_two_jobs_do_not_write_into_one_folder_at_once(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each answered every row: all were there twice, and the slower one lost its journal."""
    out, words = tmp_path / "out", ("--question", "x", "--limit", 3)
    during: list[str] = []

    def asked_meanwhile(request: Request) -> str | BackendError:
        if not during:
            during.append("")
            with pytest.raises(UsageError) as refused:
                batch(typed(pictures, out, *words), opened)
            during.append(str(refused.value))
        return reply(request)

    model = Model(ScriptedBackend(asked_meanwhile, record=False), QWEN2_5_VL, 28, "scripted")
    batch(typed(pictures, out, *words, "--concurrency", 1), lambda: model)
    assert "another ergo batch is writing into" in during[1]
    assert len(rows_in(out)) == 3
    batch(typed(pictures, out, *words), opened)  # and afterwards it may
    assert "nothing left to do" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes everywhere")
def test_an_output_that_takes_no_files_is_one_line(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot be written"):
        batch(typed(pictures, tmp_path / "locked" / "out", "--question", "x"), opened)


@pytest.mark.parametrize("words", [("", "out", "--question", "x"), ("a.jpg", " ", "--question", "x"), ("a.jpg", "out", "--question", " ")])  # fmt: skip
def test_an_empty_word_is_no_folder_and_no_question(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="is empty"):
        batch(typed(*words), opened)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_reading_and_writing_shards_leaves_no_threads_to_the_interpreters_end(pictures: Path, tmp_path: Path) -> None:
    """Arrow's data sets start one, also without `use_threads`; now and then a finished job was aborted by it."""
    batch(typed(pictures, tmp_path / "out", "--question", "x"), opened)
    code = """
import os, sys
from ergo.batch.shards import Shards
shards = Shards(sys.argv[1])
shards.begin({})
count = lambda: len(os.listdir("/proc/self/task"))
before = count()
shards.write(list(shards.rows()))
print(before, shards.failed().total(), len(shards.done()), count())
"""
    (tmp_path / "out" / "job.json").write_text('{"job": {}, "made_with": {}}')
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True)
    before, failed, done, after = map(int, told.stdout.split())
    assert (failed, done) == (1, 11)
    assert after == before, told.stderr


# ── what failed, and when to stop ──────────────────────────────────────────────────────────────


def test_a_job_in_which_rows_failed_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "t.jsonl").write_text(
        "\n".join(json.dumps({"image": "a.png", "question": f"fail {n}"}) for n in range(5))
        + '\n{"image": "gone.png", "question": "x"}'
    )
    assert batch(typed(tmp_path / "t.jsonl", tmp_path / "out"), opened) == 1
    assert "rows with an error: 6 (http_500 5, missing 1); --retry-failed" in capsys.readouterr().err


def test_a_model_that_is_gone_stops_the_job_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    table, out = tmp_path / "t.jsonl", tmp_path / "out"
    table.write_text("\n".join(json.dumps({"image": "a.png", "question": f"q{n}"}) for n in range(200)))
    gone = Model(ScriptedBackend(lambda _: BackendError("nobody there", "refused"), record=False), QWEN2_5_VL, 28, "x")
    words = ("--stop-after", 10, "--concurrency", 4)
    assert batch(typed(table, out, *words), lambda: gone) == 1
    said = capsys.readouterr().err
    assert "stopped: 10 rows failed in a row; the last: nobody there" in said
    assert 10 <= len(rows_in(out)) <= 14
    assert batch(typed(table, out, *words, "--retry-failed"), opened) == 0
    assert len(rows_in(out)) == 200


def test_an_actor_whose_model_is_gone_takes_no_more_rows(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    gone = Model(ScriptedBackend(lambda _: BackendError("nobody there", "refused"), record=False), QWEN2_5_VL, 28, "x")
    actor = Actor(lambda: gone, BatchConfig(budget=16), 1, str(tmp_path), stop_after=5)
    rows = [BatchRow(str(number), str(tmp_path / "a.png"), "x") for number in range(20)]
    block = {"row": [json.dumps(asdict(row)) for row in rows]}
    assert actor(block)["done"] == [5]
    assert actor(block)["done"] == [0]
    assert len(rows_in(tmp_path)) == 5


def test_broken_pictures_do_not_count_as_a_model_that_is_gone(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(20):
        (source / f"{number:02}.jpg").write_bytes(b"\xff\xd8\xff nothing")
    Image.new("RGB", (64, 64)).save(source / "z.png")
    batch(typed(source, tmp_path / "out", "--question", "x", "--stop-after", 5, "--concurrency", 1), opened)
    assert len(rows_in(tmp_path / "out")) == 21


def test_progress_shows_what_it_costs(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch(typed(pictures, tmp_path / "out", "--question", "x", "--price", 1_000_000, 0), opened)
    said = capsys.readouterr().err
    prompt = sum(turn["usage"]["prompt_tokens"] for row in rows_in(tmp_path / "out") for turn in row["turns"])
    assert f"cost {prompt:,.2f} of about {prompt:,.2f}" in said


# ── what is a picture ──────────────────────────────────────────────────────────────────────────


def test_nothing_is_left_out_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "holiday [2024] {x}"
    (source / "deep").mkdir(parents=True)
    for name in ("a.jfif", "b.jpe", "c.JPG", "no_suffix", "photo.data", "deep/d.webp", "e.apng"):
        kind = {"webp": "WEBP", "apng": "PNG"}.get(name.rsplit(".", 1)[-1], "JPEG")
        Image.new("RGB", (30, 20)).save(source / name, kind)
    (source / "notes.txt").write_text("no picture, but long enough to look at")
    (source / "empty").write_bytes(b"")
    (source / ".hidden.jpg").write_bytes(b"x")
    out = tmp_path / "out"
    assert batch(typed(source, out, "--question", "x"), opened) == 0
    found = sorted(str(row["picture"]).rsplit("/", 1)[-1] for row in rows_in(out))
    assert found == ["a.jfif", "b.jpe", "c.JPG", "d.webp", "e.apng", "no_suffix", "photo.data"]
    for reason in ("7 pictures", "1 hidden", "1 not pictures (.txt)", "1 not pictures (no suffix)"):
        assert reason in caplog.text
    [one] = read_rows(str(source / "a.jfif"), "x")
    assert one.address.endswith("a.jfif")
    assert len(list(read_rows(str(tmp_path / "hol*" / "*.j*"), "x"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="names there are text")
def test_a_name_that_is_no_utf8_is_a_picture_like_any_other(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg")
    for name in (b"caf\xe9.jpg", b"caf\xe8.jpg"):
        os.link(tmp_path / "a.jpg", os.fsencode(source) + b"/" + name)
    (source / "more").symlink_to(source)
    for _ in range(2):
        assert batch(typed(source, tmp_path / "out", "--question", "x"), opened) == 0
        names = sorted(str(row["picture"]).rsplit("/", 1)[-1] for row in rows_in(tmp_path / "out"))
        assert names == [r"caf\xe8.jpg", r"caf\xe9.jpg"]


@pytest.mark.parametrize("shape", ["bytes", "struct"])
def test_parquet_with_pictures_inside(tmp_path: Path, shape: str) -> None:
    """As Hugging Face data sets have them: plain bytes, or {bytes, path}."""
    encoded = io.BytesIO()
    Image.new("RGB", (90, 60), "red").save(encoded, "PNG")
    cell: object = encoded.getvalue() if shape == "bytes" else {"bytes": encoded.getvalue(), "path": "a.png"}
    rows = [{"id": str(n), "image": cell, "question": "What?"} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    assert batch(typed(tmp_path / "t.parquet", tmp_path / "out"), opened) == 0
    assert [row["answer"] for row in rows_in(tmp_path / "out")] == ["yes"] * 3


def test_odd_text_in_rows_is_a_row_like_any_other(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    texts = ("half \ud83d of a pair", "\x00", "{question}", "<zoom>[1,2", "😀")
    lines = [json.dumps({"id": f"{n} \udc00", "image": "a.png", "question": text}) for n, text in enumerate(texts)]
    lines.append(json.dumps({"id": "gone", "image": "\ud83d.png", "question": "x"}))
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    assert batch(typed(tmp_path / "t.jsonl", tmp_path / "out"), opened) == 1
    rows = rows_in(tmp_path / "out")
    assert len(rows) == 6
    assert [kind(row) for row in rows if row["error"]] == ["missing"]
    assert batch(typed(tmp_path / "t.jsonl", tmp_path / "out"), opened) == 1
    assert len(rows_in(tmp_path / "out")) == 6
