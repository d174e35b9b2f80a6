"""A model in this process, for callers in many threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from threading import Condition, Lock
from weakref import WeakValueDictionary

from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request
from ergo.core.runner import Backend
from ergo.traces.guard import Guarded


class Shared:
    """A model in this process, for callers in many threads: one call at a time, in which all who wait go together."""

    parallel = False

    def __init__(self, backend: Backend) -> None:
        self._backend = Guarded(backend)
        self._waiting: list[tuple[Request, Future[Completion | BackendError]]] = []
        self._busy = False
        self._changed = Condition()

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        if not requests:
            return []
        mine: list[tuple[Request, Future[Completion | BackendError]]] = [(request, Future()) for request in requests]
        with self._changed:
            self._waiting += mine
            self._changed.wait_for(lambda: not self._busy or all(future.done() for _, future in mine))
            together, self._waiting = ([], self._waiting) if mine[0][1].done() else (self._waiting, [])
            self._busy |= bool(together)
        if together:  # nobody has answered mine: it is my turn to ask for all who wait
            self._ask([request for request, _ in together], [future for _, future in together])
        return [future.result() for _, future in mine]

    def _ask(self, requests: list[Request], futures: list[Future[Completion | BackendError]]) -> None:
        try:
            for future, result in zip(futures, self._backend.complete(requests), strict=True):
                future.set_result(result)
        except BaseException as error:
            for future in futures:
                future.set_exception(error)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


_sharing: WeakValueDictionary[int, Shared] = WeakValueDictionary()
"""Who shares a backend, by its id, for as long as there is a call: a backend of one's own need not be hashable."""

_registering = Lock()


def shared(backend: Backend) -> Backend:
    """What many threads may call: the backend itself, if it says that it is `parallel`."""
    if backend.parallel:
        return Guarded(backend)
    with _registering:
        return _sharing.get(id(backend)) or _sharing.setdefault(id(backend), Shared(backend))
