"""A sample travels through its JSONL line unchanged, or the line is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ergo.core.errors import DataError
from ergo.core.geometry import Box
from ergo.images.picture import Picture
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample, sample_from_json, sample_to_json, write_samples

FULL = Sample("7", "a.png", "Which\ncup?", "réd", ("réd", "blue"), Box(1, 2, 30, 40), "attribute", {"size": [3, 4.5]})
BARE = Sample("8", "data:image/png;base64,AAAA", "Why?", "because")


def test_samples_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    assert write_samples(path, [FULL, BARE]) == 2
    full, bare = read_samples(path)
    assert full.image == tmp_path / "a.png"  # relative to the file
    assert sample_to_json(full).replace(f"{tmp_path}/", "") == sample_to_json(FULL)
    assert bare == BARE


def test_an_absolute_path_stays_where_it_is(tmp_path: Path) -> None:
    line = sample_to_json(Sample("1", "/pictures/a.png", "q", "a"))
    assert sample_from_json(line, tmp_path, "here").image == Path("/pictures/a.png")


@given(st.text(), st.text(min_size=1), st.lists(st.text(), max_size=5), st.text())
def test_any_text_travels(question: str, answer: str, choices: list[str], category: str) -> None:
    sample = Sample("1", "data:image/png;base64,", question, answer, tuple(choices), None, category)
    line = sample_to_json(sample)
    assert "\n" not in line
    assert sample_from_json(line.encode(), Path("."), "here") == sample


def test_empty_lines_and_missing_extras_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    least = json.dumps({"id": 3, "image": "a.png", "question": "q", "answer": 12})
    path.write_text(f"\n{least}\n\n")
    assert list(read_samples(path)) == [Sample("3", tmp_path / "a.png", "q", "12")]


def test_samples_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    write_samples(path, [FULL])
    with path.open("a") as file:
        file.write("not JSON\n")
    reading = read_samples(path)
    assert next(reading).id == "7"
    with pytest.raises(DataError, match=r"samples.jsonl:2: the line is not a JSON object"):
        next(reading)


GOOD = json.loads(sample_to_json(BARE))


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"null",
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe",
        json.dumps({key: value for key, value in GOOD.items() if key != "answer"}).encode(),
        json.dumps(GOOD | {"image": 5}).encode(),
        json.dumps(GOOD | {"region": [1, 2, 3]}).encode(),
        json.dumps(GOOD | {"region": [9, 9, 1, 1]}).encode(),
        json.dumps(GOOD | {"choices": "red"}).encode(),
    ],
)
def test_a_line_that_is_no_sample_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(DataError, match=r"samples\.jsonl") as caught:
        list(read_samples(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        list(read_samples(tmp_path / "nothing.jsonl"))


@pytest.mark.parametrize("image", [b"bytes", Picture(Image.new("RGB", (2, 2)))])
def test_pixels_are_not_written_into_lines(image: bytes | Picture) -> None:
    with pytest.raises(DataError, match="save its picture to a file first"):
        sample_to_json(Sample("1", image, "q", "a"))
