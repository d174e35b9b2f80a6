"""Many clients at once on loopback: each gets its own answer, memory stays flat, nobody is lost.

ERGO_LOAD_SECONDS shortens the two minutes. Run with `-s` to see the figures.
"""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import pytest
from serving import chat_body, data_uri, echo, scripted, serving

from ergo.api import BUNDLED as DEMO
from ergo.backends import Model, open_backend
from ergo.core.flows import Question, coarse_to_fine
from ergo.core.messages import Request
from ergo.core.runner import drive
from ergo.images.decode import load_image
from ergo.samples.reader import read_samples
from ergo.serve.settings import Limits, Settings

pytestmark = pytest.mark.slow
SECONDS = float(os.environ.get("ERGO_LOAD_SECONDS", "120"))
PICTURE = data_uri((640, 480))


def _serve(model: str, concurrency: int, pipe: Connection) -> None:
    opened = scripted(seconds=0.02, record=False) if model == "scripted" else open_backend(model)
    with serving(opened, Settings(limits=Limits(concurrency=concurrency))) as address:
        pipe.send(address)
        pipe.recv()


@contextmanager
def server(model: str, concurrency: int) -> Iterator[tuple[str, int]]:
    """A server in a process of its own: its address and process id."""
    mine, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(model, concurrency, theirs))
    process.start()
    try:
        yield mine.recv(), process.pid or 0
    finally:
        mine.send(None)
        process.join()


def resident(pid: int) -> float:
    """MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _plain(client: httpx.AsyncClient, number: int) -> str:
    reply = await client.post("/v1/chat/completions", json=chat_body(f"#{number}", PICTURE))
    if reply.status_code == 429:
        await asyncio.sleep(0.2)
        return "429"
    return "own answer" if reply.json()["choices"][0]["message"]["content"] == str(number) else "another's answer"


async def _slow_reader(client: httpx.AsyncClient, number: int) -> str:
    answer = ""
    async with client.stream(
        "POST", "/v1/chat/completions", json=chat_body(f"#{number}", PICTURE, stream=True)
    ) as reply:
        if reply.status_code == 429:
            return "429"
        async for line in reply.aiter_lines():
            await asyncio.sleep(0.05)
            answer += line
    return "own answer" if f'"content": "{number}"' in answer else "another's answer"


async def _leaver(client: httpx.AsyncClient, number: int) -> str:
    async with client.stream(
        "POST", "/v1/chat/completions", json=chat_body(f"#{number}", PICTURE, stream=True)
    ) as reply:
        async for _ in reply.aiter_lines():
            return "left"
    return "left"


async def _client(address: str, number: int, end: float, seen: Counter[str]) -> None:
    generator = random.Random(number)
    count = 0
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        while time.monotonic() < end:
            count += 1
            act = generator.choices([_plain, _slow_reader, _leaver], [0.8, 0.1, 0.1])[0]
            try:
                seen[await act(client, 1000 * number + count)] += 1
            except httpx.HTTPError as error:
                seen[type(error).__name__] += 1


async def _many(address: str, pid: int, clients: int, seconds: float) -> tuple[Counter[str], list[float]]:
    seen: Counter[str] = Counter()
    memory: list[float] = []
    end = time.monotonic() + seconds
    tasks = [asyncio.create_task(_client(address, number, end, seen)) for number in range(clients)]
    while time.monotonic() < end:
        await asyncio.sleep(seconds / 24)
        memory.append(resident(pid))
    await asyncio.gather(*tasks)
    return seen, memory


def test_two_hundred_clients_get_their_own_answers() -> None:
    with server("scripted", concurrency=128) as (address, pid):
        seen, memory = asyncio.run(_many(address, pid, 200, SECONDS))
        left = httpx.get(f"{address}/health").json()["in_progress"]
    half = len(memory) // 2
    print(
        f"\n200 clients, {SECONDS:g} s: {dict(seen)}; resident {memory[half]:.0f} MiB at half time, {memory[-1]:.0f} at the end"
    )
    assert set(seen) <= {"own answer", "429", "left"}
    assert seen["own answer"] > 200
    assert seen["429"] > 0  # 200 clients, 128 places
    assert left == 0
    assert memory[-1] < 1.1 * memory[half] + 10


def test_five_thousand_requests_leave_memory_as_it_was() -> None:
    """Answered, streamed, refused, and left by their clients, sixteen at a time."""

    async def some(address: str, count: int) -> Counter[str]:
        seen: Counter[str] = Counter()
        numbers = iter(range(count))

        async def one_after_the_other() -> None:
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                for number in numbers:
                    act = (_plain, _plain, _refused, _plain, _leaver)[number % 5]
                    seen[await act(client, number)] += 1

        await asyncio.gather(*(one_after_the_other() for _ in range(16)))
        return seen

    with server("scripted", concurrency=64) as (address, pid):
        memory, seen = [], Counter[str]()
        for _ in range(6):  # the first thousand warms it up
            seen += asyncio.run(some(address, 1000))
            memory.append(resident(pid))
        left = httpx.get(f"{address}/health").json()["in_progress"]
    print(f"\n{dict(seen)}; resident after each thousand: {', '.join(f'{one:.0f}' for one in memory)} MiB")
    assert set(seen) == {"own answer", "400", "left"}
    assert left == 0
    assert memory[-1] < 1.05 * memory[0] + 5


async def _refused(client: httpx.AsyncClient, number: int) -> str:
    reply = await client.post("/v1/chat/completions", json=chat_body(f"#{number}", PICTURE, n=2))
    return str(reply.status_code)


def test_sixteen_clients_share_the_shipped_model() -> None:
    samples = list(read_samples(DEMO / "samples.jsonl"))
    uris = [f"data:image/jpeg;base64,{base64.b64encode(Path(str(one.image)).read_bytes()).decode()}" for one in samples]

    async def asks(client: httpx.AsyncClient, number: int) -> str:
        body = chat_body(samples[number].question, uris[number], ergo={"options": list(samples[number].choices)})
        reply = await client.post("/v1/chat/completions", json=body)
        return str(reply.json()["choices"][0]["message"]["content"])

    async def all_of_them(address: str) -> tuple[list[str], list[list[str]]]:
        async with httpx.AsyncClient(base_url=address, timeout=120) as client:
            alone = [await asks(client, number) for number in range(len(samples))]
            together = await asyncio.gather(
                *(asyncio.gather(*(asks(client, n) for n in range(len(samples)))) for _ in range(16))
            )
            return alone, [list(one) for one in together]

    with server("ergo-photo", concurrency=64) as (address, _):
        alone, together = asyncio.run(all_of_them(address))
    assert together == [alone] * 16


def seeing(request: Request) -> str:
    """Looks at what it is shown, as every model does."""
    for view in request.views:
        view.pixels  # noqa: B018
    return echo(request)


def looking() -> Model:
    """A model that needs no time, and looks."""
    return scripted(seeing, record=False)


def test_the_server_adds_little_to_the_bare_flow() -> None:
    """In turns: the flow alone from the same bytes, and through the server, one at a time."""
    opened = looking()
    body = chat_body("#1", PICTURE)
    bare: list[float] = []
    served: list[float] = []

    def flow() -> None:
        config = opened.look_config(None)
        drive((None, lambda: coarse_to_fine(load_image(PICTURE), Question("#1"), config)), opened.backend)

    with serving(opened) as address, httpx.Client(base_url=address) as client:
        for _ in range(300):
            for act, times in (
                (flow, bare),
                (lambda: client.post("/v1/chat/completions", json=body).raise_for_status(), served),
            ):
                started = time.perf_counter()
                act()
                times.append(time.perf_counter() - started)
    added = 1000 * (statistics.median(served[20:]) - statistics.median(bare[20:]))
    print(
        f"\nmedian {1000 * statistics.median(bare[20:]):.1f} ms alone, {1000 * statistics.median(served[20:]):.1f} ms served: {added:.1f} ms added"
    )
    assert added <= 10
