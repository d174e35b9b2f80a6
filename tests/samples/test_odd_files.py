"""Files as people have them: each gives the right samples, or one line with the row and the reason."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ergo.core.errors import DataError, UsageError
from ergo.core.geometry import Box
from ergo.evals.benchmarks import find
from ergo.images.address import open_picture
from ergo.samples.options import options_of, split_prompt
from ergo.samples.pictures import picture_of
from ergo.samples.reader import ReaderConfig, Refused, read_rows, read_samples
from ergo.samples.sample import Sample


def png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "navy").save(out, "png")
    return out.getvalue()


PIXELS = png()
ENCODED = base64.b64encode(PIXELS).decode()


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def parquet(*rows: dict[str, Any]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra `eval`")
    out = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(list(rows)), out)
    return out.getvalue()


HEAD = "image,question,answer,choices\n"
ASKED = {"image": "a.png", "question": "What colour?", "answer": "B"}
LISTED = ASKED | {"choices": ["red", "blue"]}


@dataclass(frozen=True)
class Odd:
    """A file, and what one looks for in its first sample: (question, answer, also right, options)."""

    name: str
    content: bytes | Callable[[], bytes]
    question: str = "What colour?"
    answer: str = "blue"
    also: tuple[str, ...] = ()
    options: tuple[str, ...] = ("red", "blue")


def text(name: str, content: str, encoding: str = "utf-8", **seen: Any) -> Odd:
    return Odd(name, content.encode(encoding), **seen)


READ = {
    # ── options in every form ──
    "a list": Odd("x.jsonl", jsonl(LISTED)),
    "a list with letters": Odd("x.jsonl", jsonl(ASKED | {"choices": ["(A) red", "(B) blue"]})),
    "a list with letters and no brackets": Odd("x.jsonl", jsonl(ASKED | {"options": ["A. red", "B. blue"]})),
    "a dictionary by letter": Odd("x.jsonl", jsonl(ASKED | {"options": {"A": "red", "B": "blue"}})),
    "labels and texts": Odd("x.jsonl", jsonl(ASKED | {"choices": {"label": ["A", "B"], "text": ["red", "blue"]}})),
    "pipes": text("x.csv", HEAD + "a.png,What colour?,B,red|blue\n"),
    "a Python list as text": text("x.csv", HEAD + "a.png,What colour?,B,\"['red', 'blue']\"\n"),
    "a NumPy array as text": text("x.csv", HEAD + "a.png,What colour?,B,['red' 'blue']\n"),
    "a JSON list as text": text("x.csv", HEAD + 'a.png,What colour?,B,"[""red"", ""blue""]"\n'),
    "a dictionary as text": text("x.csv", HEAD + "a.png,What colour?,B,\"{'A': 'red', 'B': 'blue'}\"\n"),
    "lettered in one line": text("x.csv", HEAD + "a.png,What colour?,B,(A) red (B) blue\n"),
    "lettered in lines": text("x.csv", HEAD + 'a.png,What colour?,B,"A. red\nB. blue"\n'),
    "MME-RealWorld's text": text("x.tsv", f"index\timage\tquestion\tmulti-choice options\tanswer\n0\t{ENCODED}\tWhat colour?\t\"The choices are listed below:\n(A) red\n(B) blue\"\tB\n"),
    "full-width letters": Odd("x.jsonl", jsonl(ASKED | {"choices": ["（A）红", "（B）蓝"]}), answer="蓝", options=("红", "蓝")),
    "columns A to D": text("x.csv", "image,question,A,B,C,D,answer\na.png,What colour?,red,blue,,,B\n"),
    "columns option_a": text("x.csv", "image,question,option_a,option_b,answer\na.png,What colour?,red,blue,b\n"),
    "inside the question": Odd("x.jsonl", jsonl(ASKED | {"question": "What colour?\nA. red\nB. blue\nAnswer with the letter."})),
    "V* of lmms-eval": Odd("x.jsonl", jsonl({"image": "a.png", "text": "What colour?\n(A) red\n(B) blue\nAnswer directly.", "label": "B", "category": "c", "question_id": 0})),
    "numbers": Odd("x.jsonl", jsonl(ASKED | {"choices": [2, 3.0]}), answer="3", options=("2", "3")),
    # ── answers in every form ──
    "the text": Odd("x.jsonl", jsonl(LISTED | {"answer": "blue"})),
    "the text in another case": Odd("x.jsonl", jsonl(LISTED | {"answer": "Blue"})),
    "the letter in brackets": Odd("x.jsonl", jsonl(LISTED | {"answer": "(B)"})),
    "letter and text": Odd("x.jsonl", jsonl(LISTED | {"answer": "B. blue"})),
    "a list of one": Odd("x.jsonl", jsonl(LISTED | {"answer": ["B"]})),
    "several right options": Odd("x.jsonl", jsonl(LISTED | {"answer": ["B", "A"]}), also=("red",)),
    "any of several texts": Odd("x.jsonl", jsonl(ASKED | {"answer": ["blue", "navy"]}), also=("navy",), options=()),
    "any of several, as text": text("x.csv", "image,question,answer\na.png,What colour?,\"['blue', 'navy']\"\n", also=("navy",), options=()),
    "true": Odd("x.jsonl", jsonl(ASKED | {"answer": True}), answer="yes", options=()),
    "true among options": Odd("x.jsonl", jsonl(ASKED | {"answer": False, "choices": ["True", "False"]}), answer="False", options=("True", "False")),
    "a number": Odd("x.jsonl", jsonl(ASKED | {"answer": 3}), answer="3", options=()),
    "a whole float": Odd("x.jsonl", jsonl(ASKED | {"answer": 3.0}), answer="3", options=()),
    "letters as texts": Odd("x.jsonl", jsonl(ASKED | {"choices": ["B", "A"]}), answer="B", options=("B", "A")),
    "letters as texts, lettered": Odd("x.jsonl", jsonl(ASKED | {"choices": {"A": "B", "B": "A"}}), answer="A", options=("B", "A")),
    # ── names ──
    "synonyms": Odd("x.jsonl", jsonl({"picture": "a.png", "query": "What colour?", "options": ["red", "blue"], "gt": "B"})),
    "capitals and spaces": text("x.csv", "Image Path,Question ,Answer,Choices\na.png,What colour?,B,red|blue\n"),
    "columns of its own": text("x.csv", "image,question,answer,choices,difficulty\na.png,What colour?,B,red|blue,hard\n"),
    # ── encodings and dialects ──
    "a byte order mark": text("x.csv", HEAD + "a.png,What colour?,B,red|blue\n", "utf-8-sig"),
    "a mark before JSON": Odd("x.jsonl", b"\xef\xbb\xbf" + jsonl(LISTED)),
    "UTF-16": text("x.csv", HEAD + "a.png,What colour?,B,red|blue\n", "utf-16"),
    "UTF-16 without a mark": text("x.tsv", HEAD.replace(",", "\t") + "a.png\tWhat colour?\tB\tred|blue\n", "utf-16-le"),
    "UTF-16 JSON lines": Odd("x.jsonl", jsonl(LISTED).decode().encode("utf-16")),
    "GBK": text("x.csv", HEAD + "a.png,这辆停在路边的汽车是什么颜色的？,B,红色|蓝色\n" * 3, "gbk", question="这辆停在路边的汽车是什么颜色的？", answer="蓝色", options=("红色", "蓝色")),
    "latin-1": text("x.csv", HEAD + "a.png,Quelle est la couleur de la voiture garée près du café à côté de l'hôtel ?,B,rouge|bleu foncé\n", "latin-1", question="Quelle est la couleur de la voiture garée près du café à côté de l'hôtel ?", answer="bleu foncé", options=("rouge", "bleu foncé")),
    "semicolons": text("x.csv", HEAD.replace(",", ";") + "a.png;What colour?;B;red|blue\n"),
    "tabs in a CSV": text("x.csv", HEAD.replace(",", "\t") + "a.png\tWhat colour?\tB\tred|blue\n"),
    "Windows lines": text("x.csv", (HEAD + "a.png,What colour?,B,red|blue\n").replace("\n", "\r\n")),
    "empty lines": text("x.csv", HEAD + "\n,,,\na.png,What colour?,B,red|blue\n\n"),
    "a JSON list": Odd("x.json", json.dumps([LISTED]).encode()),
    "other lines first": Odd("x.jsonl", b"\n\n" + jsonl(LISTED) + b"\n\n"),
    "rows in an object": Odd("x.json", json.dumps({"version": 1, "data": [LISTED]}).encode()),
    "rows by their id": Odd("x.json", json.dumps({"q1": LISTED, "q2": LISTED}).encode()),
    "one row": Odd("x.json", json.dumps(LISTED).encode()),
    "packed JSON lines": Odd("x.jsonl.gz", lambda: gzip.compress(jsonl(LISTED))),
    "a packed CSV": Odd("x.csv.gz", lambda: gzip.compress((HEAD + "a.png,What colour?,B,red|blue\n").encode())),
    "packed, and not named so": Odd("x.jsonl", lambda: gzip.compress(jsonl(LISTED))),
    "commas behind the lines": Odd("x.jsonl", jsonl(LISTED) + b",\n" + jsonl(LISTED) + b",\n"),
    "a list, an object a line": Odd("x.jsonl", b"[\n" + jsonl(LISTED) + b",\n" + jsonl(LISTED) + b"\n]\n"),
    "a list in one line": Odd("x.jsonl", json.dumps([LISTED, LISTED]).encode()),
    "bars between cells": text("x.csv", "image|question|answer|A|B\na.png|What colour?|B|red|blue\n"),
    # ── pictures ──
    "a path as Windows writes it": text("x.csv", HEAD + ".\\a.png,What colour?,B,red|blue\n"),
    "blanks around a path": text("x.csv", HEAD + " a.png ,What colour?,B,red|blue\n"),
    "a data URI": Odd("x.jsonl", jsonl(LISTED | {"image": f"data:image/png;base64,{ENCODED}"})),
    "base64": Odd("x.jsonl", jsonl(LISTED | {"image": ENCODED})),
    "bytes in Parquet": Odd("x.parquet", lambda: parquet(LISTED | {"image": PIXELS})),
    "bytes and path": Odd("x.parquet", lambda: parquet(LISTED | {"image": {"bytes": PIXELS, "path": "gone.png"}})),
    "a path and no bytes": Odd("x.parquet", lambda: parquet(LISTED | {"image": {"bytes": None, "path": "a.png"}})),
    "a list of one picture": Odd("x.jsonl", jsonl(LISTED | {"images": ["a.png"]})),
    "a list as text": text("x.csv", "images,question,answer,choices\n['a.png'],What colour?,B,red|blue\n"),
    "an address": Odd("x.jsonl", lambda: jsonl(LISTED | {"image": "memory://a.png"})),
    "a picture in another row": text("x.tsv", f"index\timage\tquestion\tA\tB\tanswer\n7\t{ENCODED}\tWhat colour?\tred\tblue\tB\n8\t7\tAnd now?\tred\tblue\tA\n"),
}  # fmt: skip


def written(tmp_path: Path, name: str, content: bytes | Callable[[], bytes]) -> Path:
    (tmp_path / "a.png").write_bytes(PIXELS)
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content())
    return path


@pytest.mark.parametrize("case", READ)
def test_a_file_gives_the_right_samples(case: str, tmp_path: Path) -> None:
    if case == "an address":
        fsspec = pytest.importorskip("fsspec", reason="addresses need the extra `batch`")
        with fsspec.open("memory://a.png", "wb") as file:
            file.write(PIXELS)
    odd = READ[case]
    sample = next(iter(read_samples(written(tmp_path, odd.name, odd.content))))
    assert (sample.question, sample.answer, sample.also_right, sample.choices) == (
        odd.question, odd.answer, odd.also, odd.options,
    )  # fmt: skip
    assert not isinstance(sample.image, Image.Image)
    assert open_picture(sample.image).size.width == 40


MANY = [f"option number {number}" for number in range(27)]
REFUSED = {
    # ── columns ──
    "no answer column": (text("x.csv", "image,question\na.png,What?\n"), r"x\.csv: no column answer \(or answers, label, solution\); it has image, question"),
    "a misspelt column": (text("x.csv", "image,question,anwser\na.png,What?,B\n"), r"no column 'anwser'; did you mean 'answer'\?"),
    "a misspelt key": (Odd("x.jsonl", jsonl(LISTED | {"quesion": "x"})), r"x\.jsonl:1: there is no column 'quesion'; did you mean 'question'\?"),
    "a column twice": (text("x.csv", "image,question,answer,answer\na.png,What?,B,C\n"), "'answer' stands twice"),
    "a column under two spellings": (text("x.csv", "image,question,answer,Answer\na.png,What?,B,C\n"), "'Answer' stands twice"),
    # ── options ──
    "27 options": (Odd("x.jsonl", jsonl(ASKED | {"choices": MANY})), r"x\.jsonl:1: 27 options, and there are letters for 26"),
    "one option": (text("x.csv", HEAD + "a.png,What?,A,\"['red, blue']\"\n"), r"row 1: only one option, 'red, blue'"),
    "options in one text": (text("x.csv", HEAD + 'a.png,What?,A,"red, blue"\n'), r"row 1: choices 'red, blue' are one text; separate them by \|"),
    "an empty option": (text("x.csv", HEAD + "a.png,What?,A,red||blue\n"), "option B is empty"),
    "a gap in the columns": (text("x.csv", "image,question,A,B,C,answer\na.png,What?,red,,blue,C\n"), "row 1: option B is empty"),
    "a gap in the letters": (Odd("x.jsonl", jsonl(ASKED | {"choices": {"A": "red", "C": "blue"}})), "letters A, B, C ... without a gap, not A, C"),
    "a missing column of options": (text("x.csv", "image,question,A,C,answer\na.png,What?,red,blue,C\n"), "not A, B, C"),
    # ── answers ──
    "no answer": (text("x.csv", "image,question,answer\na.png,What?,B\na.png,What?,\n"), r"row 2: no answer; a test set without answers cannot be scored"),
    "null": (Odd("x.jsonl", jsonl(LISTED | {"answer": None})), r"x\.jsonl:1: no answer"),
    "NaN": (Odd("x.jsonl", json.dumps(LISTED | {"answer": math.nan}).encode()), "no answer"),
    "an empty list": (Odd("x.jsonl", jsonl(LISTED | {"answer": []})), "no answer"),
    "a letter that is not there": (text("x.csv", HEAD + "a.png,What?,C,red|blue\n"), r"row 1: the answer 'C' is none of its options red, blue, nor a letter from A to B"),
    "a text that is not there": (Odd("x.jsonl", jsonl(LISTED | {"answer": "green"})), "'green' is none of its options"),
    "a place": (Odd("x.jsonl", jsonl(LISTED | {"answer": 1})), "the answer 1 is a number and none of its options: give the letter or the text"),
    "an object": (Odd("x.jsonl", jsonl(LISTED | {"answer": {"text": "blue"}})), "neither text nor number"),
    # ── pictures and the rest ──
    "no picture": (text("x.csv", "image,question,answer\n,What?,B\n"), "row 1: no picture in image"),
    "two pictures": (Odd("x.jsonl", jsonl(LISTED | {"images": ["a.png", "b.png"]}) .replace(b'"image": "a.png", ', b"")), "2 pictures; a look is at one"),
    "a number for a picture": (Odd("x.jsonl", jsonl(LISTED | {"image": 5})), "a picture is a path"),
    "a row that is not there": (text("x.tsv", f"index\timage\tquestion\tanswer\n1\t{ENCODED}\tWhat?\tred\n2\t9\tWhat?\tred\n"), "no row '9' before it"),
    "no question": (text("x.csv", "image,question,answer\na.png, ,B\n"), "row 1: no question"),
    "a region of three": (text("x.csv", "image,question,answer,region\na.png,What?,B,1 2 3\n"), "row 1: the region '1 2 3'"),
    "too many cells": (text("x.csv", "image,question,answer\na.png,What, please?,B\n"), r"row 1: 4 cells under 3 columns; put text that holds ',' in quotes"),
    "too few cells": (text("x.csv", HEAD + "a.png,What?,B\n"), r"row 1: 3 cells under 4 columns; write ',' for empty cells, and close quotes"),
    "an open quote": (text("x.csv", HEAD + 'a.png,"What?,B,red|blue\na.png,What?,B,red|blue\n'), "row 1: 2 cells under 4 columns; .* close quotes"),
    # ── files ──
    "two objects in a line": (Odd("x.jsonl", jsonl(LISTED) * 2), r"x\.jsonl:1: the line is not a JSON object \(Extra data"),
    "several lists": (text("x.json", json.dumps({"train": [LISTED], "test": [LISTED]})), r"several lists of rows \(train, test\)"),
    "a sheet of Excel": (Odd("x.csv", b"PK\x03\x04\0\0"), "a sheet of Excel: save the sheet as CSV"),
    "a web page": (text("x.csv", "<!DOCTYPE html><html>404"), "is a web page"),
    "a pointer of Git LFS": (text("x.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"), "git lfs pull"),
    "values without names": (text("x.csv", "a.png,What?,B\n"), "no rows .the first line of a CSV or TSV names its columns"),
    "a chat": (Odd("x.json", json.dumps([{"image": "a.png", "conversations": []}]).encode()), r"row 1: no column question .* it has image, conversations"),
    "half a line of JSON": (Odd("x.jsonl", jsonl(LISTED) + b'\n{"image": "a.p'), r"x\.jsonl:2: the line is not a JSON object"),
    "an empty file": (text("x.csv", ""), "is empty"),
    "a header alone": (text("x.csv", HEAD), "holds no rows"),
    "an object for a list": (text("x.json", "{}"), "holds no list of rows"),
    "not Parquet": (Odd("x.parquet", b"PAR0 nothing"), "cannot be read as parquet"),
    "another ending": (Odd("x.xlsx", b"PK"), r"is no table: their names end in \.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_with_a_fault_gives_one_line_with_the_row_and_the_reason(case: str, tmp_path: Path) -> None:
    odd, reason = REFUSED[case]
    with pytest.raises(DataError, match=reason) as caught:
        list(read_samples(written(tmp_path, odd.name, odd.content)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_one_bad_row_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl", jsonl(LISTED, LISTED | {"answer": "E"}, {"no": 1}, LISTED))
    rows = list(read_rows(str(path)))
    assert [type(row) for row in rows] == [Sample, Refused, Refused, Sample]
    assert [row.id for row in rows] == ["0", "1", "2", "3"]


def test_a_question_for_all_needs_neither_question_nor_answer_in_the_table(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", b"picture\na.png\n")
    [row] = read_rows(str(path), ReaderConfig(answers=False, question="Which colour?", options=("red", "blue")))
    assert isinstance(row, Sample)
    assert (row.question, row.choices, row.answer) == ("Which colour?", ("red", "blue"), "")


def test_region_hint_category_cluster_and_what_else_is_said_are_kept(tmp_path: Path) -> None:
    row = LISTED | {
        "bbox_xyxy": "[1, 2, 30, 18]",
        "hint": "Look left.",
        "question_type": "colour",
        "group": 7,
        "split": "dev",
        "index": 12.0,
    }
    [sample] = read_samples(written(tmp_path, "x.jsonl", jsonl(row)))
    assert sample.region == Box(1, 2, 30, 18)
    assert sample.question == "Look left.\nWhat colour?"
    assert (sample.id, sample.category, sample.info) == ("12", "colour", {"split": "dev", "cluster": "7"})


def test_the_place_of_the_right_option_is_kept_where_two_have_one_text(tmp_path: Path) -> None:
    [sample] = read_samples(
        written(tmp_path, "x.jsonl", jsonl(ASKED | {"answer": "C", "choices": ["red", "blue", "red"]}))
    )
    assert (sample.answer, sample.right_choice) == ("red", 2)


def test_any_text_of_options_is_options_or_a_reason() -> None:
    for text in ("[", "['a'", "{'A'}", "((((", "[1, [2]]", "A.", "(A) x", "nan", "[None, 'a']", "[" * 5000):
        with suppress(ValueError):
            assert isinstance(options_of(text).texts, tuple)


def test_options_in_a_question_are_taken_off_only_from_a_on() -> None:
    assert split_prompt("A. Smith asks:\nhow many?").options == ()
    assert split_prompt("What?\nA. red\nC. blue").options == ()
    assert split_prompt("Read it.\nA. He went.\nThen what?\nA. red\nB. blue").options == ("red", "blue")


def test_a_picture_at_an_address_with_blanks_is_asked_for_as_servers_want_it() -> None:
    assert picture_of("https://example.org/my pictures/a b.png ", ".") == "https://example.org/my%20pictures/a%20b.png"


def test_a_folder_with_one_table_is_that_table(tmp_path: Path) -> None:
    """As Hugging Face's folders of pictures have it: metadata.jsonl beside them."""
    (tmp_path / "set" / "test").mkdir(parents=True)
    (tmp_path / "set" / "test" / "a.png").write_bytes(PIXELS)
    row = {"file_name": "a.png", "question": "What?", "answer": "blue"}
    (tmp_path / "set" / "test" / "metadata.jsonl").write_bytes(jsonl(row))
    [sample] = find(str(tmp_path / "set")).samples()
    assert open_picture(sample.image).size.width == 40
    (tmp_path / "set" / "train").mkdir()
    (tmp_path / "set" / "train" / "metadata.jsonl").write_bytes(jsonl(row))
    with pytest.raises(UsageError, match=r"a folder with 2 tables .*: name the one"):
        find(str(tmp_path / "set"))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match="is no table: their names end in"):
        find(str(tmp_path / "notes.txt"))
