"""Many clients, one model.

A flow is a generator; here an event loop drives it (`runner.begin`, `advance`), so that a client who leaves
ends it between two looks. Requests that are ready together go to a local model together; an endpoint gets each
in a thread of its own. Nothing is kept between requests: a flow's cache lives in its completion and dies with it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ergo.core.errors import BackendError, ErgoError
from ergo.core.flows import Flow
from ergo.core.messages import Completion, Request
from ergo.core.runner import Backend, Running, Trace, Turn, advance, begin

OnTurn = Callable[[Turn, Running | Trace], None]


class Busy(ErgoError):
    """More questions are in progress than `concurrency` allows. retry_after: seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy; try again in {retry_after} s")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limits:
    """concurrency: most questions in progress at once, 429 beyond. batch: most of them computed together. deadline: seconds each."""

    concurrency: int = 64
    batch: int = 16
    deadline: float = 120.0


class Engine:
    """Drives flows over one backend. Use as `async with engine.running():` for the life of the server."""

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.backend = backend
        self.limits = limits
        self.in_progress = 0
        self._seconds: deque[float] = deque([1.0], maxlen=64)
        self._ready: asyncio.Queue[tuple[Request, asyncio.Future[Completion | BackendError]]] = asyncio.Queue()
        self._pixels = ThreadPoolExecutor(8, thread_name_prefix="pixels")
        self._model_threads = ThreadPoolExecutor(
            limits.concurrency if backend.parallel else 1, thread_name_prefix="model"
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The worker that feeds a local model; threads end with it."""
        worker = asyncio.create_task(self._feed())
        try:
            yield
        finally:
            worker.cancel()
            self._pixels.shutdown(wait=False, cancel_futures=True)
            self._model_threads.shutdown(wait=False, cancel_futures=True)

    async def drive(self, make: Callable[[], Flow], on_turn: OnTurn | None = None) -> Trace:
        """One flow from start to end. on_turn is called as each turn ends, with what follows it.

        Raises Busy beyond `concurrency`. Past its deadline a flow ends as a Trace with the error `deadline`.
        """
        if self.in_progress >= self.limits.concurrency:
            raise Busy(max(1, round(sum(self._seconds) / len(self._seconds))))
        self.in_progress += 1
        started = time.perf_counter()
        try:
            return await self._driven(make, on_turn, started)
        finally:
            self.in_progress -= 1
            self._seconds.append(time.perf_counter() - started)

    async def _driven(self, make: Callable[[], Flow], on_turn: OnTurn | None, started: float) -> Trace:
        loop = asyncio.get_running_loop()
        late = BackendError(f"not answered within {self.limits.deadline:g} s", "deadline")
        try:
            one = await asyncio.wait_for(loop.run_in_executor(self._pixels, begin, (None, make)), self.limits.deadline)
        except TimeoutError:
            return Trace((), None, late)
        result: Completion | BackendError
        while isinstance(one, Running):
            left = self.limits.deadline - (time.perf_counter() - started)
            try:
                result = await asyncio.wait_for(self.complete(one.request), left)
            except TimeoutError:
                result = late
            before = len(one.turns)
            turns = one.turns
            one = await loop.run_in_executor(self._pixels, advance, one, result)
            if on_turn and len(turns) > before:
                on_turn(turns[-1], one)
        return one

    async def complete(self, request: Request) -> Completion | BackendError:
        """One request; a local model gets it together with whatever else is ready."""
        loop = asyncio.get_running_loop()
        if self.backend.parallel:
            [result] = await loop.run_in_executor(self._model_threads, self.backend.complete, [request])
            return result
        future: asyncio.Future[Completion | BackendError] = loop.create_future()
        await self._ready.put((request, future))
        return await future

    async def _feed(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            waiting = [await self._ready.get()]
            while not self._ready.empty() and len(waiting) < self.limits.batch:
                waiting.append(self._ready.get_nowait())
            waiting = [
                (request, future) for request, future in waiting if not future.done()
            ]  # those who left are not computed
            if not waiting:
                continue
            requests = [request for request, _ in waiting]
            try:
                results = await loop.run_in_executor(self._model_threads, self.backend.complete, requests)
            except ErgoError as error:
                results = [BackendError(str(error), "backend")] * len(requests)
            for (_, future), result in zip(waiting, results, strict=True):
                if not future.done():
                    future.set_result(result)
