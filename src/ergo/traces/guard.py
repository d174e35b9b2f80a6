"""The one boundary to backends: whatever they raise is logged here, and fails the requests that it concerns."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request
from ergo.core.runner import Backend

log = logging.getLogger(__name__)


class Guarded:
    """A backend that does not raise, UsageError apart: that is a mistake which every request would meet.

    What a batch raises may be the fault of one request in it, so each is then asked alone.
    crashes: how many exceptions ended here.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.parallel = backend.parallel
        self.crashes = 0

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        try:
            results = self.backend.complete(requests)
            if len(results) != len(requests):
                raise RuntimeError(f"{len(requests)} requests and {len(results)} results")
            return results
        except UsageError:
            raise
        except Exception as error:  # the boundary: a backend is torch, a tokenizer, an HTTP client, or somebody's own
            self.crashes += 1
            log.exception("the backend raised on %d requests", len(requests))
            if len(requests) > 1:
                return [self.complete([request])[0] for request in requests]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            return [BackendError(f"the model failed ({reason[:300]})", "crashed")]
