"""The shipped fake: replies come from a function or a list. For tests, demos of the plumbing, load tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request, Seconds, Usage

ScriptedReply = str | Completion | BackendError


class ScriptedBackend:
    """Answers from a script.

    script: a function of the request, or replies given out in turn (the last one for ever after).
    requests: everything that was asked, in order. seconds: how long each reply takes to come. record: off for long runs:
    requests hold their pictures.
    """

    def __init__(
        self,
        script: Callable[[Request], ScriptedReply] | Iterable[ScriptedReply],
        seconds: float = 0.0,
        parallel: bool = True,
        record: bool = True,
    ) -> None:
        self.parallel = parallel
        self._record = record
        self.requests: list[Request] = []
        self._seconds = seconds
        self._script = script if callable(script) else _in_turn(script)

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        if self._seconds:
            time.sleep(self._seconds)
        if self._record:
            self.requests += requests
        return [self._completion(request) for request in requests]

    def _completion(self, request: Request) -> Completion | BackendError:
        reply = self._script(request)
        if not isinstance(reply, str):
            return reply
        vision = sum(view.tokens for view in request.views)
        words = sum(len(message.text.split()) for message in request.chat)
        usage = Usage(words + vision, vision, 0, len(reply.split()))
        return Completion(reply, usage, Seconds(total=self._seconds))


def _in_turn(replies: Iterable[ScriptedReply]) -> Callable[[Request], ScriptedReply]:
    remaining = list(replies)
    return lambda request: remaining.pop(0) if len(remaining) > 1 else remaining[0]
