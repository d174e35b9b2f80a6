"""Many clients, one model, and the truth about how it is.

A flow is a generator; here an event loop drives it (`traces.run.begin`, `advance`), so that a client who leaves ends
it between two looks. Requests that are ready together go to a model in this process together; an endpoint gets
each at once. Nothing is kept between requests: a flow's cache lives in its completion and dies with it.

The model is opened while the server already listens: an endpoint that still loads its weights is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, Protocol, TypeVar, runtime_checkable

from ergo.backends import Model
from ergo.core.errors import BackendError, ErgoError, UsageError
from ergo.core.flows import Flow
from ergo.core.messages import Completion, Request
from ergo.core.runner import Trace, Turn
from ergo.serve.settings import Limits
from ergo.traces.alarm import FrameAlarm
from ergo.traces.guard import Guarded
from ergo.traces.run import Running, advance, begin

log = logging.getLogger(__name__)

OnTurn = Callable[[Turn, Running | Trace], None]
Status = Literal["loading", "ready", "upstream down", "stopping", "failed"]
Waiting = tuple[Request, "asyncio.Future[Completion | BackendError]"]

Result = TypeVar("Result")

PROBE_SECONDS = 4.0
RETRY_OPENING = (1.0, 2.0, 5.0)  # seconds; the last for ever after


@runtime_checkable
class Endpoint(Protocol):
    """A backend elsewhere, whose calls end when they are cancelled, and which can be probed."""

    async def acomplete(self, request: Request, seconds: float) -> Completion | BackendError: ...
    async def aprobe(self, seconds: float) -> BackendError | None: ...


@runtime_checkable
class Interruptible(Protocol):
    """A backend that asks between two tokens whether a reply is still waited for."""

    wanted: Callable[[Request], bool]


class Busy(ErgoError):
    """More questions are in progress than `concurrency` allows. retry_after: seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy; try again in {retry_after} s")
        self.retry_after = retry_after


class NotReady(ErgoError):
    """There is no model to ask, or none any more."""


class Engine:
    """Drives flows over one model. Use as `async with engine.running():` for the life of the server.

    on_failure: called with what makes a model impossible to open; an endpoint that is not there yet is waited for.
    """

    def __init__(self, open_model: Callable[[], Model], limits: Limits) -> None:
        self.limits = limits
        self.in_progress = 0
        self.restarts = self._crashes = 0
        self._alarm = FrameAlarm()
        self.stopping = False
        self.problem: str | None = None
        self.on_failure: Callable[[ErgoError], None] = lambda _: None
        self._open_model = open_model
        self._model: Model | None = None
        self._backend: Guarded | None = None
        self._status: Status = "loading"
        self._seconds: deque[float] = deque([1.0], maxlen=64)
        self._ready: asyncio.Queue[Waiting] = asyncio.Queue()
        self._pixels = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="pixels")  # some wait for room
        self._reading = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="reading")  # some wait for a host
        self._model_threads: ThreadPoolExecutor | None = None

    # ── how it is ──────────────────────────────────────────────────────────────────────────────
    @property
    def status(self) -> Status:
        return "stopping" if self.stopping else self._status

    @property
    def crashes(self) -> int:
        """Exceptions that ended at the boundary to the backend or to the flows."""
        return self._crashes + (self._backend.crashes if self._backend else 0)

    @property
    def model(self) -> Model:
        """The model; NotReady while there is none, and once the server stops."""
        if self.stopping:
            raise NotReady("the server is stopping: ask another, or again in a moment")
        if self._model is None:
            raise NotReady(f"the model is not loaded yet{f' ({self.problem})' if self.problem else ''}")
        return self._model

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The tasks that open the model, feed it and watch it; threads end with it."""
        tasks = [asyncio.create_task(self._supervised(work)) for work in (self._open, self._feed, self._watch)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for pool in (self._pixels, self._reading, self._model_threads):
                if pool:
                    pool.shutdown(wait=False, cancel_futures=True)

    async def _supervised(self, work: Callable[[], object]) -> None:
        """Run a task of the server's own for ever: should it raise, it is logged and begun again."""
        while True:
            try:
                await work()  # type: ignore[misc]
                return
            except Exception:  # the boundary of the server's own tasks
                log.exception("a task of the server ended and is begun again")
                self.restarts += 1
                await asyncio.sleep(0.1)

    async def _open(self) -> None:
        attempt = 0
        while self._model is None:
            try:
                model = await asyncio.to_thread(self._open_model)
            except BackendError as error:  # an endpoint that is not there, or not yet
                if not error.retryable:
                    return self._give_up(error)
                self.problem = str(error)
                log.warning("waiting for the model: %s", error)
                await asyncio.sleep(RETRY_OPENING[min(attempt, len(RETRY_OPENING) - 1)])
                attempt += 1
            except ErgoError as error:
                return self._give_up(error)
            else:
                threads = self.limits.concurrency if model.backend.parallel else 1
                self._model_threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
                self._backend, self._model = Guarded(model.backend), model
                self._status, self.problem = "ready", None

    def _give_up(self, error: ErgoError) -> None:
        self._status, self.problem = "failed", str(error)
        log.error("the model cannot be opened: %s", error)
        self.on_failure(error)

    async def _watch(self) -> None:
        """Whether the endpoint is still there."""
        while True:
            await asyncio.sleep(self.limits.probe_every)
            backend = self._model.backend if self._model else None
            if isinstance(backend, Endpoint):
                error = await backend.aprobe(PROBE_SECONDS)
                if error and self._status == "ready":
                    log.warning("upstream down: %s", error)
                self._status, self.problem = ("upstream down", str(error)) if error else ("ready", None)

    # ── flows ──────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the `concurrency` places, taken before anything of a request is read. Raises Busy."""
        if self.in_progress >= self.limits.concurrency:
            raise Busy(max(1, round(sum(self._seconds) / len(self._seconds))))
        self.in_progress += 1
        started = time.perf_counter()
        try:
            yield
        finally:
            self.in_progress -= 1
            self._seconds.append(time.perf_counter() - started)

    async def drive(self, flow: Flow, ends: float, on_turn: OnTurn | None = None) -> Trace:
        """One flow from start to end. on_turn is called as each turn ends, with what follows it.

        ends: when, in the loop's time; a flow that is not done then ends as a Trace with the error `deadline`.
        """
        one: Running | Trace | None = None
        try:
            async with asyncio.timeout_at(ends):
                one = await self._in_thread(begin, (None, lambda: flow))
                while isinstance(one, Running):
                    result = await self._complete(one.request, ends)
                    turns = one.turns
                    before = len(turns)
                    one = await self._in_thread(advance, one, result)
                    if on_turn and len(turns) > before:
                        on_turn(turns[-1], one)
                self._alarm.heard(one)
                return one
        except TimeoutError:
            late = BackendError(f"not answered within {self.limits.deadline:g} s", "deadline")
            return one.ended(late) if isinstance(one, Running) else Trace((), None, late)
        except UsageError:
            raise
        except Exception as error:  # the boundary of flows: decoders, families, or our own mistake
            log.exception("a question failed")
            self._crashes += 1
            return Trace((), None, BackendError(f"the question failed ({type(error).__name__})", "crashed"))

    async def in_thread(self, work: Callable[..., Result], *values: object) -> Result:
        """What a thread makes of these, of which there is one for each place."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *values)

    async def _in_thread(self, work: Callable[..., Running | Trace], *values: object) -> Running | Trace:
        return await asyncio.get_running_loop().run_in_executor(self._pixels, work, *values)

    async def _complete(self, request: Request, ends: float) -> Completion | BackendError:
        """One request; a model in this process gets it together with whatever else is ready."""
        loop = asyncio.get_running_loop()
        assert self._backend
        backend = self._backend.backend
        if isinstance(backend, Endpoint):
            return await backend.acomplete(request, ends - loop.time())
        if backend.parallel:
            [result] = await loop.run_in_executor(self._model_threads, self._backend.complete, [request])
            return result
        future: asyncio.Future[Completion | BackendError] = loop.create_future()
        await self._ready.put((request, future))
        return await future

    async def _feed(self) -> None:
        """Give what is ready to the model in this process, one batch after another."""
        loop = asyncio.get_running_loop()
        while True:
            waiting = [await self._ready.get()]
            while not self._ready.empty() and len(waiting) < self.limits.batch:
                waiting.append(self._ready.get_nowait())
            waiting = [(request, future) for request, future in waiting if not future.done()]
            if not waiting:  # their clients have left: nothing is computed
                continue
            lost = BackendError("the server lost this question; ask again", "crashed")
            results: list[Completion | BackendError] = [lost] * len(waiting)
            try:
                assert self._backend
                requests = [request for request, _ in waiting]
                if isinstance(self._backend.backend, Interruptible):
                    self._backend.backend.wanted = _waited_for(waiting)
                results = await loop.run_in_executor(self._model_threads, self._backend.complete, requests)
            except UsageError as error:
                results = [BackendError(str(error), "usage")] * len(waiting)
            finally:  # whatever happens, nobody waits for ever
                for (_, future), result in zip(waiting, results, strict=True):
                    if not future.done():
                        future.set_result(result)


def _waited_for(waiting: list[Waiting]) -> Callable[[Request], bool]:
    """Whether a client still waits for the reply to one of these."""
    futures = {id(request): future for request, future in waiting}
    return lambda request: not futures[id(request)].done()
