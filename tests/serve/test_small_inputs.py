"""Small inputs that once took gigabytes, against the server at its default settings: memory, and whether health answers.

`pytest -m slow -s tests/serve/test_small_inputs.py` prints the table of docs/results.md.
"""

from __future__ import annotations

import base64
import io
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from serving import serving
from test_load import looking, resident

from ergo.backends import open_backend
from ergo.serve.settings import Limits

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MEMORY, LATENCY = 1000.0, 0.25  # MB in all; seconds at most until health answers
STATED = (Limits().decode + Limits().bodies) / 1e6 + 200  # MB beside the model: docs/serve.md


def _serve(model: str, pipe: Connection) -> None:
    with serving(looking() if model == "scripted" else open_backend(model)) as address:
        pipe.send(address)
        pipe.recv()


def _probe(address: str, pipe: Connection) -> None:
    """Asks for health thirty times a second, in a process of its own, until it is told to end; then says how long it took."""
    found: list[float] = []
    with httpx.Client(base_url=address, timeout=30) as client:
        client.get("/health")
        pipe.send(found)  # it begins
        while not pipe.poll(0.03):
            started = time.perf_counter()
            client.get("/health")
            found.append(time.perf_counter() - started)
    pipe.send(sorted(found))


@contextmanager
def process(target: Callable[..., None], *values: Any) -> Iterator[tuple[Connection, int]]:
    mine, theirs = multiprocessing.Pipe()
    one = multiprocessing.get_context("spawn").Process(target=target, args=(*values, theirs))
    one.start()
    try:
        yield mine, one.pid or 0
    finally:
        one.terminate() if target is _probe else mine.send(None)
        one.join()


def picture(kind: str, size: tuple[int, int], mode: str = "RGB", **settings: Any) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, kind, **settings)
    return asked(b"data:image/%s;base64," % kind.lower().encode() + base64.b64encode(out.getvalue()))


def asked(url: bytes) -> bytes:
    return (b'{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"' + url
            + b'"}},{"type":"text","text":"What is it?"}]}]}')  # fmt: skip


CASES: dict[str, tuple[Callable[[], bytes], int, set[int]]] = {
    "nothing": (lambda: b'{"messages":[{"role":"user","content":"x"}]}', 1, {200}),
    "WebP, 147 megapixels": (lambda: picture("WEBP", (16_383, 9_000), lossless=True, method=0), 4, {400}),
    "JPEG 2000, 100 megapixels": (lambda: picture("JPEG2000", (10_000, 10_000), "L"), 4, {400}),
    "60 MB of %41": (lambda: asked(b"data:image/png;base64," + b"%41" * 20_000_000), 2, {400, 429}),
    "60 MB of base64 that is no picture": (lambda: asked(b"data:image/png;base64," + b"A" * 60_000_000), 2, {400, 429}),
    '60 MB of {"type":"a"}': (
        lambda: b'{"messages":[{"role":"user","content":[' + b'{"type":"a"},' * 4_600_000 + b'{"type":"a"}]}]}', 2, {400, 429},
    ),
    "60 MB of text": (lambda: b'{"messages":[{"role":"user","content":"' + b"a" * 60_000_000 + b'"}]}', 2, {400, 429}),
    "60 MB of brackets": (lambda: b"[" * 60_000_000, 2, {400, 429}),
    "60 MB of base64 and white space": (lambda: asked(b"data:image/png;base64," + b"AAAA   \\n" * 6_600_000), 2, {400, 429}),
    "2,500 pictures in 60 MB": (
        lambda: b'{"messages":[{"role":"user","content":[' + b",".join(
            [b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' + b"A" * 24_000 + b'"}}'] * 2_500) + b"]}]}", 2, {400, 429},
    ),
    "progressive JPEG, 60 megapixels": (lambda: picture("JPEG", (8_000, 7_500), progressive=True), 2, {200}),
    "AVIF, 60 megapixels": (lambda: picture("AVIF", (8_000, 7_500), speed=10), 2, {200}),
    "WebP, 38 megapixels": (lambda: picture("WEBP", (8_000, 4_750), lossless=True, method=0), 2, {200}),
    "JPEG 2000, 30 megapixels": (lambda: picture("JPEG2000", (8_000, 3_750)), 2, {200}),
    "JPEG, 150 megapixels": (lambda: picture("JPEG", (14_143, 10_607)), 1, {200}),
    "PNG, 150 megapixels": (lambda: picture("PNG", (14_143, 10_607), compress_level=1), 1, {200}),
    "8 x JPEG, 150 megapixels": (lambda: picture("JPEG", (14_143, 10_607)), 8, {200, 503}),
    "64 x JPEG, 150 megapixels": (lambda: picture("JPEG", (14_143, 10_607)), 64, {200, 429, 503, 504}),
    "64 x 40 MB, all at once": (lambda: asked(b"data:image/png;base64," + b"A" * 40_000_000), 64, {400, 429}),
}  # fmt: skip


@pytest.mark.parametrize("model", ["scripted", "ergo-photo"])
def test_small_inputs_take_little_memory_and_health_answers_meanwhile(model: str) -> None:
    print(f"\n{'input':36} {'answers':28} {'peak MB':>8} {'health: median':>15} {'most, ms':>9} {'s':>6}")
    over = []
    with process(_serve, model) as (server, pid):
        address = server.recv()
        before = resident(pid) * 2**20 / 1e6
        print(f"{model}: {before:.0f} MB before anything is asked")
        for name, (make, count, statuses) in CASES.items():
            if count > 8 and model != "scripted":  # which would be its own time, not the server's
                continue
            body = make()
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # from here on the peak is counted anew
            with process(_probe, address) as (prober, _):
                prober.recv()
                started = time.perf_counter()
                with ThreadPoolExecutor(count) as pool:
                    found = Counter(pool.map(lambda _, body=body: post(address, body), range(count)))
                seconds = time.perf_counter() - started
                prober.send(None)
                waited = prober.recv()
            peak, most = high_water(pid), waited[-1]
            answers = ", ".join(f"{status} x {n}" for status, n in sorted(found.items()))
            print(f"{name:36} {answers:28} {peak:8.0f} {1000 * waited[len(waited) // 2]:15.1f} {1000 * most:9.0f} {seconds:6.1f}", flush=True)  # fmt: skip
            assert set(found) <= statuses, name
            over += [f"{name}: {peak:.0f} MB"] if peak > (MEMORY if count < 8 else before + STATED) else []
            over += [f"{name}: {1000 * most:.0f} ms"] if most > LATENCY else []
        print(f"at the end {resident(pid) * 2**20 / 1e6:.0f} MB")
    assert not over


def post(address: str, body: bytes) -> int:
    headers = {"content-type": "application/json"}
    return httpx.post(f"{address}/v1/chat/completions", content=body, headers=headers, timeout=200).status_code


def high_water(pid: int) -> float:
    """MB at most since the count began."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6
