"""The server and the batch worker in front of a real engine: both looks reach it, and its cache is seen from outside."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from conftest import Engine
from test_engines import noise

from ergo.backends import open_backend
from ergo.batch.rows import BatchRow
from ergo.batch.worker import BatchConfig, Worker

pytestmark = pytest.mark.engines


@pytest.fixture
def served(engine: Engine) -> Iterator[str]:
    """`ergo serve` as a user starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "ergo",
        "serve",
        "--model",
        f"openai:{engine.url}",
        "--family",
        engine.family.name,
        "--port",
        str(port),
        "--budget",
        "256",
    ]
    server = subprocess.Popen(command)
    try:
        address = f"http://127.0.0.1:{port}"
        while True:
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.TransportError:
                assert server.poll() is None
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait()


def test_the_client_sees_that_the_second_look_found_the_first(served: str) -> None:
    out = io.BytesIO()
    noise(77).pixels.save(out, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "What colour is it?"}]
    reply = openai.OpenAI(base_url=f"{served}/v1", api_key="none").chat.completions.create(
        model="ergo",
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
        max_tokens=40,
    )
    first, second = reply.ergo["turns"]  # type: ignore[attr-defined]
    assert reply.usage
    assert reply.usage.prompt_tokens_details
    cached = reply.usage.prompt_tokens_details.cached_tokens or 0
    print(
        f"\nserved: prompts {first['usage']['prompt_tokens']} and {second['usage']['prompt_tokens']}, cached {cached}"
    )
    assert second["usage"]["cached_tokens"] >= 0.7 * first["usage"]["prompt_tokens"]
    assert cached == (first["usage"]["cached_tokens"] or 0) + second["usage"]["cached_tokens"]


def test_sixteen_rows_in_flight_keep_their_first_looks(engine: Engine, tmp_path: Path) -> None:
    for number in range(48):
        noise(1000 + number, 600, 450).pixels.save(tmp_path / f"{number}.png")
    rows = [BatchRow(str(number), str(tmp_path / f"{number}.png"), "What colour is it?") for number in range(48)]
    worker = Worker(
        open_backend(f"openai:{engine.url}", engine.family.name), BatchConfig(budget=128, max_tokens=24), concurrency=16
    )
    done = list(worker.answers(rows))
    assert not [row["error"] for row in done if row["error"]]
    looks = [[turn["usage"] for turn in row["turns"]] for row in done]
    firsts, prompts = (sum(usages[place]["prompt_tokens"] for usages in looks) for place in (0, 1))
    cached = sum(usages[1]["cached_tokens"] or 0 for usages in looks)
    print(
        f"\n{engine.name}, 16 in flight, 48 rows: {cached:,} of {prompts:,} prompt tokens of second looks cached ({cached / prompts:.0%}; the first looks are {firsts / prompts:.0%})"
    )
    assert cached > 0.3 * firsts
