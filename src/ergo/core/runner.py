"""Drive flows over a backend to their Traces. Failures are values; a Trace is the one record of what happened."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.flows import Answer, Flow
from ergo.core.geometry import FULL, TokenBudget
from ergo.core.messages import Completion, Request, Seconds, Usage
from ergo.core.view import View


@dataclass(frozen=True)
class Turn:
    """One exchange. views: what was newly shown in it. text: the reply as it came."""

    views: tuple[View, ...]
    text: str
    usage: Usage
    seconds: Seconds
    finish: str


@dataclass(frozen=True)
class Trace:
    """The one record that eval, train, serve and debugging read. tag: whatever the caller attached to the flow.

    error: the failure that ended the flow; then answer is None. completions, requests: as the backend
    returned and took them, for training; not stored.
    """

    turns: tuple[Turn, ...]
    answer: Answer | None
    error: BackendError | PictureError | None = None
    completions: tuple[Completion, ...] = field(default=(), repr=False)
    requests: tuple[Request, ...] = field(default=(), repr=False)
    tag: object = None

    @property
    def vision_tokens(self) -> int:
        """Vision tokens of all views shown, each counted once."""
        return sum(view.tokens for turn in self.turns for view in turn.views)

    @property
    def direct_vision_tokens(self) -> int:
        """What one look at the whole picture at full size would cost; 0 where nothing was shown."""
        shown = next((view for turn in self.turns for view in turn.views), None)
        if shown is None:
            return 0
        budget = TokenBudget(FULL, patch=shown.patch)
        return budget.cost(budget.fit(shown.picture.size))

    @property
    def generated_tokens(self) -> int:
        return sum(turn.usage.generated_tokens or 0 for turn in self.turns)

    @property
    def seconds(self) -> float:
        return sum(turn.seconds.total for turn in self.turns)


class Backend(Protocol):
    """A model. complete: one result per request, in order; a failure is a value in the completion's place.

    parallel: `complete` may be called from many threads at once, and one slow request holds up only its own
    call (a server). Otherwise requests that are ready together are given together (a model in this process).
    """

    parallel: bool

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]: ...


FlowMaker = Callable[[], Flow]
Job = tuple[object, FlowMaker]
"""A tag that comes back with the Trace, and what decodes the picture and starts the flow."""


@dataclass
class Running:
    """A flow that has begun, the request it waits for, and what was said so far."""

    flow: Flow
    tag: object
    request: Request
    turns: list[Turn] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def ended(self, answer: Answer | None, error: BackendError | PictureError | None = None) -> Trace:
        """The Trace, without the backends' caches: those end with the flow."""
        completions = tuple(replace(completion, state=None) for completion in self.completions)
        requests = tuple(replace(request, previous=None) for request in self.requests)
        return Trace(tuple(self.turns), answer, error, completions, requests, self.tag)


def begin(job: Job) -> Running | Trace:
    """Start a flow; a picture that cannot be shown ends it before its first request.

    Every driver (here threads and batches, in serve/ an event loop) is `begin`, then a backend's result for
    `request` and `advance`, until a Trace comes.
    """
    tag, make = job
    try:
        flow = make()
        return Running(flow, tag, next(flow))
    except PictureError as error:
        return Trace((), None, error, tag=tag)


def advance(one: Running, result: Completion | BackendError) -> Running | Trace:
    """Give a flow its result: it goes on, or ends as a Trace."""
    if isinstance(result, BackendError):
        return one.ended(None, result)
    seen = sum(len(turn.views) for turn in one.turns)
    one.turns.append(Turn(one.request.views[seen:], result.text, result.usage, result.seconds, result.finish))
    one.completions.append(result)
    one.requests.append(one.request)
    try:
        one.request = one.flow.send(result)
    except StopIteration as stop:
        return one.ended(stop.value)
    except PictureError as error:
        return one.ended(None, error)
    return one


def drive(job: Job, backend: Backend) -> Trace:
    """One flow from start to end."""
    one = begin(job)
    while isinstance(one, Running):
        [result] = backend.complete([one.request])
        one = advance(one, result)
    return one


def run(jobs: Iterable[Job], backend: Backend, concurrency: int = 1) -> Iterator[Trace]:
    """Drive flows to their end, `concurrency` at a time; Traces come as they finish.

    A flow starts (and decodes its picture) only when there is room for it: no more than `concurrency`
    pictures are held here, however long `jobs` is. A Trace holds its own for as long as it is kept.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency is at least 1, not {concurrency}")
    return (_run_threads if backend.parallel else _run_batches)(iter(jobs), backend, concurrency)


def _run_threads(jobs: Iterator[Job], backend: Backend, concurrency: int) -> Iterator[Trace]:
    """Each flow has a thread of its own: a slow reply delays nobody else."""
    with ThreadPoolExecutor(concurrency, thread_name_prefix="flow") as pool:
        busy = {pool.submit(drive, job, backend) for job in islice(jobs, concurrency)}
        try:
            while busy:
                done, busy = wait(busy, return_when=FIRST_COMPLETED)
                while done:  # a finished flow keeps its picture until it is handed over
                    yield done.pop().result()
                    busy |= {pool.submit(drive, job, backend) for job in islice(jobs, 1)}
        finally:
            for future in busy:
                future.cancel()


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
