"""One answer for many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """Asked by whoever comes first; those who wait meanwhile share the outcome. Failures are forgotten."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._lock = Lock()
        self._outcome: Future[T] | None = None

    def __call__(self) -> T:
        with self._lock:
            first = self._outcome is None
            outcome = self._outcome = self._outcome or Future()
        if first:
            try:
                outcome.set_result(self._ask())
            except BaseException as error:
                self._outcome = None
                outcome.set_exception(error)
        return outcome.result()
