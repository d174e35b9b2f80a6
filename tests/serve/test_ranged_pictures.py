"""Pyramids at addresses that a server allows: their tiles alone are fetched, each request under the same guard."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest
from range_server import ranges_served
from serving import chat_body, scripted, serving

from ergo.core.errors import PictureError
from ergo.serve import fetch
from ergo.serve.fetch import WebFile, opened
from ergo.serve.settings import Settings, Sources

tifffile = pytest.importorskip("tifffile", reason="the extra `tiff`")


@pytest.fixture
def _loopback_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")


def pyramid(folder: Path, levels: int = 4) -> int:
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    with tifffile.TiffWriter(folder / "slide.tif") as writer:
        for level in range(levels):
            kind = {"subfiletype": 1} if level else {}
            writer.write(pixels[:: 2**level, :: 2**level], tile=(128, 128), photometric="rgb", metadata=None, **kind)
    return (folder / "slide.tif").stat().st_size


@pytest.mark.usefixtures("_loopback_is_public")
def test_a_question_about_a_pyramid_fetches_the_tiles_it_looks_at(tmp_path: Path) -> None:
    size = pyramid(tmp_path)
    with ranges_served(tmp_path) as (files, sent):
        host = files.removeprefix("http://").replace("127.0.0.1", "localhost")
        sources = Sources(hosts=frozenset({host}))
        with serving(scripted(), Settings(sources=sources, budget=64)) as address:
            body = chat_body("What?", f"http://{host}/slide.tif")
            answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        views = [view for turn in answer.json()["ergo"]["turns"] for view in turn["views"]]
        assert views[0]["source"] == [2048, 2048]
        assert views[0]["read_from"] == [512, 512]
        assert sent.bytes < 0.4 * size


@pytest.mark.usefixtures("_loopback_is_public")
def test_a_range_goes_through_the_same_guard(tmp_path: Path) -> None:
    pyramid(tmp_path)
    with ranges_served(tmp_path) as (files, _):
        host = files.removeprefix("http://").replace("127.0.0.1", "localhost")
        file = opened(f"http://{host}/slide.tif", Sources(hosts=frozenset({host})), 10**9)
        assert isinstance(file, WebFile)
        assert file.read_ranges([(0, 4)]) == [(tmp_path / "slide.tif").read_bytes()[:4]]
        elsewhere = WebFile(file.url, Sources(), file.size)
        with pytest.raises(PictureError, match="not fetched from there"):
            elsewhere.read_ranges([(0, 4)])
    with pytest.raises(PictureError, match="could not be reached"):
        file.read_ranges([(0, 4)])


def test_what_is_inside_is_not_read_by_ranges_either() -> None:
    inside = WebFile("http://localhost:9/slide.tif", Sources(hosts=frozenset({"localhost:9"})), 10**9)
    with pytest.raises(PictureError, match="not public"):
        inside.read_ranges([(0, 4)])
