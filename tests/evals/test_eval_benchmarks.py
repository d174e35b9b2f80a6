"""Each data set in its published layout, a few rows of it made here; real rows of V* where they lie at hand."""

from __future__ import annotations

import base64
import csv
import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from evaluating import PIXELS

from ergo.core.errors import DataError, UsageError
from ergo.core.geometry import Box
from ergo.evals import benchmarks
from ergo.evals.benchmarks import hrbench, mme_realworld, treebench, visual_probe, vstar
from ergo.evals.conditions import POSTFIX
from ergo.grading import Truth, grade_published
from ergo.images.decode import load_image
from ergo.images.picture import Picture

ENCODED = base64.b64encode(PIXELS).decode()
REAL_VSTAR = Path(__file__).resolve().parents[3] / "shared" / "data" / "vstar" / "vstar_bench"


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra `eval`")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


# ── by name ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("vstar", "hf download craigwu/vstar_bench --repo-type dataset --local-dir there/vstar_bench"),
        (
            "hrbench_4k",
            "hf download DreamMr/HR-Bench hr_bench_4k.parquet --repo-type dataset --local-dir there/HR-Bench",
        ),
        (
            "hrbench_8k",
            "hf download DreamMr/HR-Bench hr_bench_8k.parquet --repo-type dataset --local-dir there/HR-Bench",
        ),
        (
            "mme_realworld",
            "hf download yifanzhang114/MME-RealWorld-Lmms-eval --repo-type dataset --local-dir there/MME-RealWorld",
        ),
        (
            "mme_realworld_lite",
            "hf download yifanzhang114/MME-RealWorld-lite-lmms-eval --repo-type dataset --local-dir there/MME-RealWorld-Lite",
        ),
    ],
)
def test_a_missing_data_set_gets_the_command_that_fetches_it(name: str, command: str) -> None:
    with pytest.raises(DataError) as missing:
        benchmarks.find(name, Path("there"))
    assert command in str(missing.value)


def test_unknown_names_splits_and_files_are_told() -> None:
    for name, split in (("vstarr", None), ("world", "tests"), ("mine.jsonl", None)):
        with pytest.raises(UsageError):
            benchmarks.find(name, split=split)


# ── V* ─────────────────────────────────────────────────────────────────────────────────────────


def vstar_folder(folder: Path) -> Path:
    (folder / "relative_position").mkdir()
    (folder / "relative_position" / "a.jpg").write_bytes(PIXELS)
    (folder / "relative_position" / "a.json").write_text('{"bbox": [[10, 20, 5, 6], [40, 8, 10, 4]]}')
    text = f"Is the dog left of the cat?\n(A) left\n(B) right\n{POSTFIX}"
    row = {
        "image": "relative_position/a.jpg",
        "text": text,
        "category": "relative_position",
        "label": "B",
        "question_id": 7,
    }
    (folder / "test_questions.jsonl").write_text(json.dumps(row) + "\n")
    return folder


def test_vstar_gives_question_options_answer_category_and_region(tmp_path: Path) -> None:
    [sample] = vstar.read(vstar_folder(tmp_path))
    assert sample.question == "Is the dog left of the cat?"
    assert sample.choices == ("left", "right")
    assert sample.answer == "right"
    assert sample.category == "relative_position"
    assert sample.region == Box(10, 8, 50, 26)  # the smallest box that holds both
    assert load_image(sample.image).size.width == 112


def test_a_folder_that_is_not_vstar_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="craigwu/vstar_bench"):
        list(vstar.read(tmp_path))
    (tmp_path / "test_questions.jsonl").write_text('{"image": "x"}\n')
    with pytest.raises(DataError, match=r"test_questions\.jsonl:1"):
        list(vstar.read(tmp_path))


@pytest.mark.skipif(not REAL_VSTAR.is_dir(), reason="the rows of V* are not on this machine")
def test_real_rows_of_vstar_under_the_published_protocol() -> None:
    rows = [json.loads(line) for line in (REAL_VSTAR / "test_questions.jsonl").read_text().splitlines()]
    samples = list(vstar.read(REAL_VSTAR))
    assert len(samples) == len(rows)
    for row, sample in zip(rows, samples, strict=True):
        first, *options, postfix = row["text"].split("\n")
        assert (sample.question, postfix) == (first, POSTFIX)
        assert [f"({chr(65 + place)}) {choice}" for place, choice in enumerate(sample.choices)] == options
        assert sample.category == row["category"]
        assert grade_published(f"<answer>({row['label']})</answer>", Truth.of(sample)).right
        wrong = "A" if row["label"] != "A" else "B"
        assert not grade_published(f"<answer>{wrong}</answer>", Truth.of(sample)).right
    with_region = [sample for sample in samples if sample.region]
    assert len(with_region) >= 2
    for sample in with_region:
        assert sample.region is not None
        size = load_image(sample.image).size
        assert sample.region.clamped(size) == sample.region
        assert sample.region.area < 0.1 * size.area


# ── parquet ────────────────────────────────────────────────────────────────────────────────────


def hrbench_row(index: int, cycle: int) -> dict[str, Any]:
    options = ["red", "blue", "green", "black"]
    turned = options[cycle:] + options[:cycle]
    letter = "ABCD"[turned.index("blue")]
    row = {
        "index": index,
        "image": ENCODED,
        "question": f"Question {index // 4}? ",
        "answer": letter,
        "category": "single",
    }
    return row | dict(zip("ABCD", turned, strict=True)) | {"cycle_category": str(cycle)}


def test_hrbench_rows_of_one_question_are_one_cluster(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hr_bench_4k.parquet", [hrbench_row(index, index % 4) for index in range(8)])
    samples = list(hrbench.read_4k(tmp_path))
    assert [sample.answer for sample in samples] == ["blue"] * 8
    assert [sample.choices.index("blue") for sample in samples[:4]] == [1, 0, 3, 2]
    assert len({sample.info["cluster"] for sample in samples}) == 2
    assert isinstance(samples[0].image, bytes)  # encoded: nothing is decoded by a reader
    with pytest.raises(DataError, match=r"hf download DreamMr/HR-Bench hr_bench_8k\.parquet"):
        list(hrbench.read_8k(tmp_path))


def test_mme_realworld_reads_lettered_options_from_all_its_files(tmp_path: Path) -> None:
    options = ["(A) 3", "(B) 4", "(C) 5", "(D) 6", "(E) The image does not feature it"]
    for number in range(2):
        row = {
            "index": "0",  # the published indices repeat
            "bytes": ENCODED,
            "question": "How many?",
            "multi-choice options": options,
            "answer": "E",
            "category": "Perception/Remote Sensing",
            "l2-category": "count",
        }
        write_parquet(tmp_path / "data" / f"train-0000{number}-of-00002.parquet", [row])
    samples = list(mme_realworld.read(tmp_path))
    assert [sample.id for sample in samples] == ["0", "1"]
    assert samples[0].choices == ("3", "4", "5", "6", "The image does not feature it")
    assert samples[0].answer == "The image does not feature it"
    assert samples[0].category == "Perception/Remote Sensing"


def test_a_parquet_file_of_another_kind_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path / "hr_bench_4k.parquet", [{"index": 0, "image": ENCODED}])
    with pytest.raises(DataError, match="row 0"):
        list(hrbench.read_4k(tmp_path))
    (tmp_path / "hr_bench_8k.parquet").write_bytes(b"not parquet")
    with pytest.raises(DataError, match="parquet"):
        list(hrbench.read_8k(tmp_path))


# ── the world, and one's own ───────────────────────────────────────────────────────────────────


def test_the_world_is_drawn_as_it_is_asked_about() -> None:
    data = benchmarks.find("world", limit=2)
    first, second = data.samples()
    assert isinstance(first.image, Picture)
    assert first.region is not None
    assert [sample.id for sample in data.samples()] == [first.id, second.id]  # and can be read again
    assert len(list(islice(benchmarks.find("world").reader(Path(), "validation"), 3))) == 3


def test_a_csv_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PIXELS)
    (tmp_path / "mine.csv").write_text(
        "picture,question,answer,choices,region,category\n"
        "a.png,What colour?,B,red|blue,,\n"
        'a.png,"How many, roughly?",3,,0 0 50 40,count\n'
    )
    first, second = benchmarks.find(str(tmp_path / "mine.csv")).samples()
    assert (first.choices, first.answer, first.region) == (("red", "blue"), "blue", None)
    assert (second.answer, second.region, second.category) == ("3", Box(0, 0, 50, 40), "count")
    assert load_image(first.image).size.height == 84


@pytest.mark.parametrize(
    "text",
    [
        "picture,question\na.png,What?\n",
        "picture,question,answer\na.png,,3\n",
        "picture,question,answer,choices\na.png,What?,C,red|blue\n",
        "picture,question,answer,choices\na.png,What?,green,red|blue\n",
        "picture,question,answer,region\na.png,What?,3,1 2 3\n",
    ],
)
def test_a_csv_with_a_mistake_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(DataError):
        list(benchmarks.find(str(tmp_path / "mine.csv")).samples())


def test_a_jsonl_of_ones_own(tmp_path: Path) -> None:
    line = {"id": "x", "image": "a.png", "question": "What?", "answer": "red", "choices": ["red", "blue"]}
    (tmp_path / "mine.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line | {"answer": "green"}) + "\n")
    reader = benchmarks.find(str(tmp_path / "mine.jsonl")).samples()
    assert next(reader).image == tmp_path / "a.png"
    with pytest.raises(DataError, match="green"):
        next(reader)


def test_a_tsv_of_vlmevalkit(tmp_path: Path) -> None:
    rows = [
        ["index", "image", "question", "A", "B", "answer", "category"],
        ["0", ENCODED, "What colour?", "red", "blue", "B", "colour"],
        ["1", "0", "And now?", "red", "blue", "A", "colour"],
        ["2", ENCODED, "How many?", "", "", "3", "count"],
    ]
    path = tmp_path / "set.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    first, second, third = benchmarks.find(str(path)).samples()
    assert (first.answer, second.answer, third.answer) == ("blue", "red", "3")
    assert first.image == second.image == PIXELS  # row 1 refers to the picture of row 0
    assert third.choices == ()
    path.write_text("index\timage\tquestion\tanswer\n0\t[a, b]\tWhat?\tyes\n")
    with pytest.raises(DataError, match="row 1: 2 pictures; a look is at one"):
        list(benchmarks.find(str(path)).samples())


# ── two that reviewers asked ERGO for ──────────────────────────────────────────────────────────


def test_treebench_reads_its_options_from_one_text(tmp_path: Path) -> None:
    row = {"index": 3, "image": ENCODED, "question": "Which is in front?", "answer": "C", "category": "Reasoning/Ordering",
           "multi-choice options": "(A) the cup\n(B) the pot\n(C) the lid", "A": "the cup", "B": "the pot", "C": "the lid",
           "l2-category": "ordering", "target_instances": "[]"}  # fmt: skip
    write_parquet(tmp_path / "data" / "train-00000-of-00001.parquet", [row])
    [sample] = treebench.read(tmp_path)
    assert (sample.id, sample.answer, sample.choices) == ("3", "the lid", ("the cup", "the pot", "the lid"))
    assert (sample.category, sample.info["l2-category"]) == ("Reasoning/Ordering", "ordering")
    assert load_image(sample.image).size.width == 112
    with pytest.raises(DataError, match="HaochenWang/TreeBench"):
        list(treebench.read(tmp_path / "data" / "nothing"))


def test_visualprobe_finds_its_pictures_below_data(tmp_path: Path) -> None:
    folder = tmp_path / "VisualProbe_Hard"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "1.jpg").write_bytes(PIXELS)
    row = {"images": ["VisualProbe_Hard/data/1.jpg"], "problem": "<image>\nWhat does it say?", "solution": "STOP",
           "doc_id": "h-1", "data_source": "VisualProbe_Hard"}  # fmt: skip
    (folder / "val.json").write_text(json.dumps([row]))
    [sample] = visual_probe.read(folder)
    assert (sample.id, sample.question, sample.answer, sample.choices) == ("h-1", "What does it say?", "STOP", ())
    assert load_image(sample.image).size.width == 112
    with pytest.raises(DataError, match="Mini-o3/VisualProbe_Easy"):
        list(visual_probe.read(tmp_path / "VisualProbe_Easy"))


# ── VLMEvalKit's and lmms-eval's own files ─────────────────────────────────────────────────────

OPTIONS = ["red", "blue", "green", "black"]
LAYOUTS: dict[str, dict[str, Any]] = {
    "VStarBench.tsv": {"index": 0, "image": ENCODED, "question": "What colour?", **dict(zip("ABCD", OPTIONS, strict=True)), "answer": "B", "category": "direct_attributes"},
    "HRBench4K.tsv": {"index": 0, "image": ENCODED, "question": "What colour?", **dict(zip("ABCD", OPTIONS, strict=True)), "answer": "B", "category": "single", "cycle_category": "0"},
    "MME-RealWorld-Lite.tsv": {"index": 0, "image": ENCODED, "question": "What colour?", "multi-choice options": "(A) red\n(B) blue\n(C) green\n(D) black", "answer": "B", "category": "Perception/Monitoring", "l2-category": "count"},
    "MME-RealWorld-CN.tsv": {"index": 0, "image": ENCODED, "question": "What colour?", "multi-choice options": "选项如下所示:\n(A) red\n(B) blue\n(C) green\n(D) black", "answer": "B", "category": "Perception", "l2-category": "count"},
    "vstar-bench.parquet": {"image": {"bytes": PIXELS, "path": None}, "text": "What colour?\n(A) red\n(B) blue\n(C) green\n(D) black\n" + POSTFIX, "label": "B", "category": "direct_attributes", "question_id": 0},
    "hr_bench_8k.parquet": {"index": 0, "image": ENCODED, "question": "What colour?", **dict(zip("ABCD", OPTIONS, strict=True)), "answer": "B", "category": "single", "cycle_category": "0"},
    "MME-RealWorld-lmms.parquet": {"index": 0, "bytes": ENCODED, "path": "x.jpg", "question": "What colour?", "multi-choice options": [f"({letter}) {text}" for letter, text in zip("ABCD", OPTIONS, strict=True)], "answer": "B", "category": "Perception", "l2-category": "count"},
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_their_files_are_read_as_they_are(name: str, tmp_path: Path) -> None:
    row, path = LAYOUTS[name], tmp_path / name
    if path.suffix == ".parquet":
        write_parquet(path, [row])
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, row, delimiter="\t")
            table.writeheader()
            table.writerow(row)
    [sample] = benchmarks.find(str(path)).samples()
    assert (sample.id, sample.question, sample.choices, sample.answer) == ("0", "What colour?", tuple(OPTIONS), "blue")
    assert sample.category == row["category"]
    assert load_image(sample.image).size.width == 112
