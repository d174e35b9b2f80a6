"""The event loop's way to an endpoint: the same results, and a call that ends early leaves nothing behind."""

from __future__ import annotations

import asyncio
import time

from faulty import FaultyServer, delta, hang, status, stream, trickle

from ergo.backends.openai.backend import OpenAIBackend
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Message, Request

REQUEST = Request((Message("user", ("hello",)),))


def ask(server: FaultyServer, seconds: float = 10.0, **settings: object) -> Completion | BackendError:
    backend = OpenAIBackend(server.url, EndpointSettings(served_name="tiny", pause=0.01, **settings))  # type: ignore[arg-type]
    return asyncio.run(backend.acomplete(REQUEST, seconds))


def test_what_comes_back_is_what_the_threads_get() -> None:
    for faults in ([], [status(503), status(500)], [stream(delta(content="ye"), delta(content="s", finish="stop"))]):
        with FaultyServer(*faults) as server:
            first = ask(server)
        with FaultyServer(*faults) as server:
            [second] = OpenAIBackend(server.url, EndpointSettings(served_name="tiny", pause=0.01)).complete([REQUEST])
        assert isinstance(first, Completion)
        assert isinstance(second, Completion)
        assert first.text == second.text == "yes"


def test_failures_have_the_same_names() -> None:
    for fault, kind in (
        (status(401), "http_401"),
        (status(400, '{"error": {"message": "maximum model length"}}'), "context_length"),
        (stream(delta(content="ye"), done=False), "cut_stream"),
    ):
        with FaultyServer(fault) as server:
            result = ask(server, retries=0)
        assert isinstance(result, BackendError)
        assert result.kind == kind


def test_the_deadline_ends_a_silent_and_a_trickling_server() -> None:
    for fault in (hang(30), trickle(0.05)):
        with FaultyServer(fault) as server:
            started = time.perf_counter()
            result = ask(server, 0.4)
            assert time.perf_counter() - started < 1.5
        assert isinstance(result, BackendError)
        assert result.kind == "timeout"


def test_a_cancelled_call_closes_its_connection_at_once() -> None:
    closed: list[float] = []

    def wait_for_close(handler) -> None:  # type: ignore[no-untyped-def]
        started = time.perf_counter()
        handler.connection.settimeout(20)
        assert handler.connection.recv(1) == b""  # the client's end of the line is shut
        closed.append(time.perf_counter() - started)
        handler.close_connection = True

    async def leave(url: str) -> None:
        call = asyncio.create_task(OpenAIBackend(url, EndpointSettings(served_name="tiny")).acomplete(REQUEST, 30))
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.wait([call])

    with FaultyServer(wait_for_close) as server:
        asyncio.run(leave(server.url))
        time.sleep(0.3)
    assert len(closed) == 1
    assert closed[0] < 1


def test_whether_it_is_there() -> None:
    async def probed(url: str) -> BackendError | None:
        return await OpenAIBackend(url).aprobe(0.5)

    with FaultyServer() as server:
        assert asyncio.run(probed(server.url)) is None
    gone = asyncio.run(probed(server.url))
    assert gone is not None
    assert gone.kind in ("refused", "timeout")
