"""Each training set in its published layout, a few rows of it made here."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ergo.core.errors import DataError
from ergo.core.geometry import Box, Size
from ergo.data import DATASETS
from ergo.data.example import Dropped, Example, Row, region_of


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra `data`")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def picture(width: int = 40, height: int = 20) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "navy").save(out, "png")
    return out.getvalue()


def read(name: str, folder: Path) -> tuple[list[Example], list[Dropped]]:
    rows: list[Row] = list(DATASETS[name](folder))
    return [row for row in rows if isinstance(row, Example)], [row for row in rows if isinstance(row, Dropped)]


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "jsonl"])
def test_a_folder_that_is_no_copy_of_the_set_gets_the_command_that_fetches_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hf download \S+/\S+ --repo-type dataset"):
        list(DATASETS[name](tmp_path))


def test_visual_cot_boxes_are_pixels_of_the_stated_size(tmp_path: Path) -> None:
    row = {"question": "What is on the sign?", "answer": "stop", "possible_answers": ["stop"], "image": "1.jpg",
           "width": 400, "height": 200, "bboxs": [[40, 20, 80, 60], [100, 20, 120, 40]], "dataset": "textvqa", "split": "train"}  # fmt: skip
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "textvqa_cot_train.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({"question": "?"})
    )
    (tmp_path / "metadata" / "visual7w_cot_train.jsonl").write_text(json.dumps(row))
    (tmp_path / "cot" / "cot_image_data").mkdir(parents=True)
    (first, second), (broken,) = read("visual_cot", tmp_path)
    assert first.sample.image == tmp_path / "cot" / "cot_image_data" / "textvqa" / "1.jpg"
    assert second.sample.image == tmp_path / "cot" / "cot_image_data" / "v7w" / "1.jpg"
    assert (first.sample.question, first.sample.answer, first.sample.category) == (
        "What is on the sign?",
        "stop",
        "textvqa",
    )
    assert region_of(first.boxes, first.unit, Size(400, 200)) == Box(40, 20, 120, 60)  # the smallest that holds both
    assert region_of(first.boxes, first.unit, Size(800, 400)) == Box(80, 40, 240, 120)  # stored at twice the size
    assert broken.reason == "layout"
    assert "answer" in broken.detail


def test_treevgr_boxes_are_pixels_and_its_letters_become_texts(tmp_path: Path) -> None:
    target = {"bbox": [10, 5, 20, 15], "label": "car", "name": "white car"}
    free = {"images": ["images/0.jpg"], "problem": "<image>\nWhat colour is the car?", "answer": "white", "target_instances": [target]}  # fmt: skip
    lettered = free | {"problem": "<image>Where is it?\nA. left\nB. right", "answer": "B", "target_instances": []}
    two = free | {"images": ["images/0.jpg", "images/1.jpg"]}
    write_parquet(tmp_path / "vstar30k_visdrone6k_x1y1x2y2.parquet", [free, lettered, two])
    (first, second), (several,) = read("treevgr", tmp_path)
    assert first.sample.image == tmp_path / "images" / "0.jpg"
    assert first.sample.question == "What colour is the car?"
    assert (first.boxes, first.unit) == (((10, 5, 20, 15),), "pixels")
    assert first.sample.info == {"targets": ["white car"]}
    assert (second.sample.question, second.sample.choices, second.sample.answer) == (
        "Where is it?",
        ("left", "right"),
        "right",
    )
    assert second.boxes == ()
    assert several.reason == "several_pictures"


def test_vgr_regions_stand_in_the_reasoning_as_fractions(tmp_path: Path) -> None:
    reply = (
        "<think>It is here <SOT>[0.1, 0.2, 0.3, 0.4]<EOT><image> and <SOT>[0.5, 0.2, 0.6, 0.4]<EOT><image>.</think>\n42"
    )
    question = {"from": "human", "value": "<image>\nHow much?"}
    rows = [
        {"image": "chartqa/1.png", "conversations": [question, {"from": "gpt", "value": reply}]},
        {"image": "chartqa/1.png", "conversations": [question, {"from": "gpt", "value": "42"}]},
    ]
    write_parquet(tmp_path / "data" / "vgr_shortcot.parquet", rows)
    (only,), (unthinking,) = read("vgr", tmp_path)
    assert only.sample.image == tmp_path / "llava_next_raw_format" / "chartqa" / "1.png"
    assert (only.sample.question, only.sample.answer, only.sample.category) == ("How much?", "42", "chartqa")
    assert region_of(only.boxes, only.unit, Size(100, 50)) == Box(10, 10, 60, 20)
    assert unthinking.reason == "layout"


def test_deepeyes_questions_come_without_the_tool_s_prompt(tmp_path: Path) -> None:
    row = {
        "data_source": "vstar",
        "prompt": [
            {"role": "system", "content": "# Tools ..."},
            {"role": "user", "content": "<image>\nWhat is it?\nThink first"},
        ],
        "images": [{"bytes": picture(), "path": None}],
        "reward_model": {"ground_truth": "A", "style": "model"},
        "extra_info": {"question": "What is it?\n(A) a bag\n(B) a hat", "answer": "A", "index": 0, "split": "train"},
    }
    write_parquet(tmp_path / "data_0.1.2_visual_toolbox_v2.parquet", [row, row | {"images": []}])
    (only,), (without,) = read("deepeyes", tmp_path)
    assert (only.sample.question, only.sample.choices, only.sample.answer) == (
        "What is it?",
        ("a bag", "a hat"),
        "a bag",
    )
    assert only.sample.image == picture()
    assert only.boxes == ()
    assert without.reason == "several_pictures"


def test_visual_probe_paths_begin_with_the_set_s_name(tmp_path: Path) -> None:
    row = {"images": ["VisualProbe_train/data/visual_probe_train_7.jpg"], "problem": "<image>\nWhich number is on the door?",
           "solution": "17", "data_source": "visual_probe", "doc_id": 7}  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps([row, row | {"solution": ["17"]}]))
    examples, _ = read("visual_probe", tmp_path)
    assert examples[0].sample.image == tmp_path / "data" / "visual_probe_train_7.jpg"
    assert [example.sample.answer for example in examples] == ["17", "17"]


@pytest.mark.parametrize(
    "box",
    [(0.0, 0.0, 0.0, 1.0), (3.0, 3.0, 2.0, 4.0), (0.0, 0.0, 300.0, 20.0), (float("nan"), 0.0, 1.0, 1.0)],
    ids=["no width", "reversed", "of another frame", "not a number"],
)
def test_what_is_no_region_of_the_picture_is_said_to_be_none(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"is (empty|not inside)"):
        region_of([box], "pixels", Size(40, 20))


def test_a_box_a_little_over_the_edge_is_cut_off_there() -> None:
    assert region_of([(0.0, 0.0, 40.5, 20.2)], "pixels", Size(40, 20)) == Box(0, 0, 40, 20)


def test_mme_realworld_keeps_the_questions_of_lite_out(tmp_path: Path) -> None:
    row = {
        "Question_id": "perception/ocr/1", "Image": "ocr/1.png", "Text": "What does it say?", "Question Type": "Multiple Choice",
        "Answer choices": ["(A) exit", "(B) stop", "(C) open", "(D) shut", "(E) The image does not feature the text."], "Ground truth": "B",
        "Category": "Perception", "Subtask": "OCR",
    }  # fmt: skip
    lettered = row | {"Question_id": "perception/ocr/3", "Ground truth": "Q"}
    (tmp_path / "MME_RealWorld.json").write_text(json.dumps([row, row | {"Question_id": "perception/ocr/2"}, lettered]))
    with pytest.raises(DataError, match=r"MME_RealWorld_Lite\.json"):
        list(DATASETS["mme_realworld"](tmp_path))
    (tmp_path / "MME_RealWorld_Lite.json").write_text(json.dumps([row]))
    (only,), (tested, broken) = read("mme_realworld", tmp_path)
    assert only.sample.image == tmp_path / "ocr" / "1.png"
    assert (only.sample.id, only.sample.answer, only.sample.category) == ("perception/ocr/2", "stop", "Perception/OCR")
    assert only.sample.choices == ("exit", "stop", "open", "shut", "The image does not feature the text.")
    assert (tested.reason, broken.reason) == ("held_out", "layout")
    (tmp_path / "MME_RealWorld_Lite.json").write_text("[]")
    with pytest.raises(DataError, match="holds no Question_id"):
        list(DATASETS["mme_realworld"](tmp_path))
