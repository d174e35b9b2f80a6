"""Drive a flow over a backend to its Trace, the one record of what happened. Failures are values.

Many flows at once: `ergo.traces.run`.
"""

from collections.abc import Callable, Sequence
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

    Every driver (threads, batches, serve's event loop) is `begin`, then a backend's result for `request` and
    `advance`, until a Trace comes.
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
