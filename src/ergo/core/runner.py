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
    """The one record that eval, train, serve and debugging read.

    error: the failure that ended the flow; then answer is None. completions: as the backend returned
    them, for training; not stored. tag: whatever the caller attached to the flow.
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
    """A model that answers requests. Failures are values, in the place of the completion.

    parallel: `complete` may be called from many threads at once, and one slow request holds up only
        its own call (a server); otherwise requests that are ready together are given together (a
        model in this process, which batches them).
    """

    parallel: bool

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """One result per request, in order."""
        ...


FlowMaker = Callable[[], Flow]
Job = tuple[object, FlowMaker]
"""A tag that comes back with the Trace, and what decodes the picture and starts the flow."""


def run(jobs: Iterable[Job], backend: Backend, concurrency: int = 1) -> Iterator[Trace]:
    """Drive flows to their end, `window` at a time; Traces come as they finish.

    A flow starts (and decodes its picture) only when there is room for it: no more than `window`
    pictures are held here, however long `jobs` is. A Trace holds its own for as long as it is kept.
    """
    if concurrency < 1:
        raise UsageError(f"concurrency is at least 1, not {concurrency}")
    return _run_threads(jobs, backend, concurrency) if backend.parallel else _run_batches(jobs, backend, concurrency)


def _run_threads(jobs: Iterable[Job], backend: Backend, concurrency: int) -> Iterator[Trace]:
    """Each flow has a thread of its own: a slow reply delays nobody else."""
    waiting = iter(jobs)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="flow") as pool:
        busy = {pool.submit(drive, job, backend) for job in islice(waiting, concurrency)}
        try:
            while busy:
                done, busy = wait(busy, return_when=FIRST_COMPLETED)
                while done:  # a finished flow keeps its picture until it is handed over
                    yield done.pop().result()
                    busy |= {pool.submit(drive, job, backend) for job in islice(waiting, 1)}
        finally:
            for future in busy:
                future.cancel()


def drive(job: Job, backend: Backend) -> Trace:
    """One flow from start to end."""
    opened = begin(job)
    while isinstance(opened, Running):
        [result] = backend.complete([opened.request])
        opened = advance(opened, result)
    return opened


def _run_batches(jobs: Iterable[Job], backend: Backend, concurrency: int) -> Iterator[Trace]:
    """All flows in flight ask together."""
    waiting = iter(jobs)
    running: deque[Running] = deque()
    ended: deque[Trace] = deque()
    while True:
        while ended:  # handed over before others start: each keeps its picture
            yield ended.popleft()
        for job in islice(waiting, concurrency - len(running)):
            _sort_in(begin(job), running, ended)
        if not running and not ended:
            return
        results = deque(backend.complete([one.request for one in running]) if running else ())
        for _ in range(len(running)):
            _sort_in(advance(running.popleft(), results.popleft()), running, ended)


def _sort_in(one: Running | Trace, running: deque[Running], ended: deque[Trace]) -> None:
    if isinstance(one, Trace):
        ended.append(one)
    else:
        running.append(one)


@dataclass
class Running:
    """A flow in flight and what it has said so far."""

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

    Drivers of every kind (here by threads and batches, in serve/ by an event loop) are `begin`, a backend's
    result for `request`, and `advance`, until a Trace comes.
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
