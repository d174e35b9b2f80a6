"""Many flows at once, to their Traces: by threads over a server, in batches over a model in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice

from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request
from ergo.core.runner import Backend, Job, Recorded, Trace, Turn, drive, recorded
from ergo.traces.alarm import FrameAlarm
from ergo.traces.guard import Guarded


@dataclass
class Running:
    """A flow that waits for the answer to `request`. turns: the exchanges so far."""

    flow: Recorded
    turns: list[Turn]
    request: Request

    def ended(self, error: BackendError) -> Trace:
        """The Trace of a flow that is given up, whatever it is doing."""
        return Trace(tuple(self.turns), None, error)


def begin(job: Job) -> Running | Trace:
    """Start a flow; a picture that cannot be shown ends it before its first request.

    Every driver (here threads and batches, in serve/ an event loop) is `begin`, then a backend's result for
    `request` and `advance`, until a Trace comes.
    """
    turns: list[Turn] = []
    return _next(recorded(job, turns), turns, None)


def advance(one: Running, result: Completion | BackendError) -> Running | Trace:
    """Give a flow its result: it goes on, or ends as a Trace."""
    return _next(one.flow, one.turns, result)


def _next(flow: Recorded, turns: list[Turn], result: Completion | BackendError | None) -> Running | Trace:
    try:
        return Running(flow, turns, next(flow) if result is None else flow.send(result))
    except StopIteration as stop:
        ended: Trace = stop.value
        return ended


def run(jobs: Iterable[Job], backend: Backend, concurrency: int = 1) -> Iterator[Trace]:
    """Drive flows to their end, `concurrency` at a time; Traces come as they finish.

    A flow starts (and decodes its picture) only when there is room for it: no more than `concurrency`
    pictures are held here, however long `jobs` is. A Trace holds its own for as long as it is kept.
    What a backend raises is the error of the Trace that it concerns.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency is at least 1, not {concurrency}")
    return _heard((_run_threads if backend.parallel else _run_batches)(iter(jobs), Guarded(backend), concurrency))


def _heard(traces: Iterator[Trace]) -> Iterator[Trace]:
    """The traces, and a warning in the log where their regions are read in the wrong frame."""
    alarm = FrameAlarm()
    for trace in traces:
        alarm.heard(trace)
        yield trace
        del trace  # it holds its picture


def _run_threads(jobs: Iterator[Job], backend: Backend, concurrency: int) -> Iterator[Trace]:
    """Each flow has a thread of its own: a slow reply delays nobody else."""
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="flow")
    try:
        busy = {pool.submit(drive, job, backend) for job in islice(jobs, concurrency)}
        while busy:
            done, busy = wait(busy, return_when=FIRST_COMPLETED)
            while done:  # a finished flow keeps its picture until it is handed over
                yield done.pop().result()
                busy |= {pool.submit(drive, job, backend) for job in islice(jobs, 1)}
    finally:  # whoever stops a run does not wait for requests that a server may answer in ten minutes
        pool.shutdown(wait=False, cancel_futures=True)


def _run_batches(jobs: Iterator[Job], backend: Backend, concurrency: int) -> Iterator[Trace]:
    """All running flows ask together; a Trace keeps its picture, so it is handed over before others start."""
    running: deque[Running] = deque()
    while True:
        while len(running) < concurrency and (job := next(jobs, None)):
            yield from _still_running(begin(job), running)
        if not running:
            return
        results = deque(backend.complete([one.request for one in running]))
        while results:
            yield from _still_running(advance(running.popleft(), results.popleft()), running)


def _still_running(one: Running | Trace, running: deque[Running]) -> Iterator[Trace]:
    """Sort a flow among the running ones, or hand its Trace over."""
    if isinstance(one, Trace):
        yield one
    else:
        running.append(one)
