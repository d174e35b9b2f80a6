"""Drive a flow over a backend to its Trace, the one record of what happened. Many at once: `ergo.traces.run`."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ergo.core.errors import BackendError, PictureError
from ergo.core.flows import Answer, Flow
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
        first = next((view for turn in self.turns for view in turn.views), None)
        return first.budget.direct_cost(first.picture.size) if first else 0

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
Recorded = Generator[Request, Completion | BackendError, Trace]


def recorded(job: Job, turns: list[Turn]) -> Recorded:
    """A flow as a driver sees it: its requests, and at the end, failed or not, its Trace. turns: filled as they end."""
    tag, make = job
    answer: Answer | None = None
    error: BackendError | PictureError | None = None
    requests: list[Request] = []
    completions: list[Completion] = []
    try:
        flow = make()
        request = next(flow)
        while not isinstance(result := (yield request), BackendError):
            seen = sum(len(turn.views) for turn in turns)
            turns.append(Turn(request.views[seen:], result.text, result.usage, result.seconds, result.finish))
            requests.append(replace(request, previous=None))  # a backend's caches end with the flow
            completions.append(replace(result, state=None))
            request = flow.send(result)
        error = result
    except StopIteration as stop:
        answer = stop.value
    except PictureError as broken:
        error = broken
    return Trace(tuple(turns), answer, error, tuple(completions), tuple(requests), tag)


def drive(job: Job, backend: Backend) -> Trace:
    """One flow from start to end."""
    flow = recorded(job, [])
    try:
        request = next(flow)
        while True:
            request = flow.send(backend.complete([request])[0])
    except StopIteration as stop:
        trace: Trace = stop.value
        return trace
