"""Odd text in a data set and odd sampling: every row is asked or named, none ends the evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from ergo.cli.main import main

MODEL = "scripted:<zoom>[1,1,30,30]</zoom><answer>7</answer>"


@pytest.mark.parametrize("more", [[], ["--temperature", "1e-40"], ["--option-order", "shuffled", "--seeds", "2"]])
def test_odd_rows_are_rows_like_any_other(tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    texts = ("half \ud83d of a pair", "\x00", "{question} %s", "<answer>", "x" * 31_000)
    rows = [{"id": f"{n} \udc00", "image": "a.png", "question": text, "answer": "7"} for n, text in enumerate(texts)]
    rows.append({"id": "gone", "image": "\ud83d.png", "question": "x", "answer": "7"})
    (tmp_path / "odd.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["eval", str(tmp_path / "odd.jsonl"), "--out", str(tmp_path / "out"), "--model", MODEL, *more]) == 1
    kept = [json.loads(line) for line in (tmp_path / "out" / "traces.jsonl").read_text().splitlines()]
    assert len(kept) == len(rows) * (2 if "--seeds" in more else 1)
    assert "failed, and wrong: " in capsys.readouterr().out
