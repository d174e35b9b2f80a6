"""A model behind any OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, or a hosted one.

* Plain httpx. The `openai` package pins versions that collide with the engines' own pins.
* A view travels inside its request, and travels again in the second turn as the very same bytes:
  engines recognise a picture by a hash of its bytes, and only so find the first look in their cache.
* A failure is a value with a name (faults.py); those that may pass are retried, a bounded number of times.
* Which server it is matters where servers differ: the words that force a well-formed region. It is asked
  only when that is wanted: an engine ignores words it does not know, with HTTP 200.

wire.py turns requests into JSON and JSON into completions, transport.py moves the bytes, stream.py folds a
streamed reply into a whole one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

import httpx

from ergo.backends.loopback import LOOPBACK
from ergo.backends.openai.asynchronous import AsyncTransport
from ergo.backends.openai.faults import Fault
from ergo.backends.openai.transport import Clock, Reply
from ergo.backends.openai.wire import (
    FORCED_REGION,
    ZOOM_REGEX,
    Json,
    at,
    completion,
    request_body,
    server_seconds,
)
from ergo.backends.settings import EndpointSettings, ServerName
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request, Seconds
from ergo.images.encode import Format

logger = logging.getLogger(__name__)

T = TypeVar("T")

OWNERS: dict[str, ServerName] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
"""How each server names itself, in `owned_by` of the models it lists."""


@dataclass(frozen=True)
class Served:
    """What an endpoint lists. models: names to ask for. server: which it is, as it names itself."""

    models: tuple[str, ...]
    server: ServerName


class OpenAIBackend:
    """Completions from `{url}/chat/completions`; may be called from many threads at once.

    url: with or without /v1, such as http://localhost:8000.
    """

    parallel = True

    def __init__(self, url: str, settings: EndpointSettings | None = None) -> None:
        self.settings = settings = settings or EndpointSettings()
        self._transport = AsyncTransport(
            url, settings.api_key, settings.timeout, settings.retries, settings.pause, settings.concurrency
        )
        self.url = self._transport.url
        self._format: Format = settings.image_format or "png"
        self._listing = _Once(self._list)
        self._force_obeyed = True

    def __enter__(self) -> OpenAIBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._transport.close()

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """One result per request, in order, asked concurrently.

        Raises UsageError for what no request could survive: a choice of models that was not made, or
        a forced region on a server that has no words for it.
        """
        if len(requests) <= 1:
            return [self._ask(request) for request in requests]
        threads = min(len(requests), self.settings.concurrency)
        with ThreadPoolExecutor(threads, thread_name_prefix="ask") as pool:
            return list(pool.map(self._ask, requests))

    def served(self) -> Served | BackendError:
        """What the server says it serves; asked once, a failure is not remembered."""
        try:
            listing = self._listing()
        except Fault as fault:
            return fault.value()
        if self.settings.image_format is None and httpx.URL(self.url).host in LOOPBACK and listing.server != "other":
            self._format = "bmp"
        return listing

    async def acomplete(self, request: Request, seconds: float) -> Completion | BackendError:
        """The same from an event loop: it ends after `seconds` (and before `timeout`), or when it is cancelled."""
        clock = Clock(min(seconds, self.settings.timeout))
        try:
            body, forced = await asyncio.to_thread(self._body, request)
            image = clock.elapsed
            reply = await self._transport.arequest("POST", "/chat/completions", body, clock)
        except Fault as fault:
            return fault.value()
        return self._completed(request, reply, clock, image, forced)

    async def aprobe(self, seconds: float) -> BackendError | None:
        """What is wrong with the endpoint; None where it lists its models within `seconds`."""
        try:
            await self._transport.arequest("GET", "/models", None, Clock(seconds))
        except Fault as fault:
            return None if fault.kind == "http_404" else fault.value()  # it is there, without a list
        return None

    def _ask(self, request: Request) -> Completion | BackendError:
        clock = Clock(self.settings.timeout)
        try:
            body, forced = self._body(request)
            image = clock.elapsed
            reply = self._transport.request("POST", "/chat/completions", body, clock)
        except Fault as fault:
            return fault.value()
        return self._completed(request, reply, clock, image, forced)

    def _body(self, request: Request) -> tuple[bytes, bool]:
        """The bytes to send, and whether they force a region. Encoding the views is nearly all of the work."""
        model, forced = self.settings.served_name or self._only_model(), self._forced(request)
        body = request_body(request, model, self._format, self.settings.stream) | forced
        # ASCII only: a model may write half a surrogate pair, and half a pair has no UTF-8
        return json.dumps(body | dict(self.settings.extra_body)).encode("ascii"), bool(forced)

    def _completed(
        self, request: Request, reply: Reply, clock: Clock, image: float, forced: bool
    ) -> Completion | BackendError:
        try:
            result = completion(reply.body, request, Seconds(clock.elapsed, image, None, *_by_part(reply)))
        except Fault as fault:
            return fault.value()
        if forced:
            self._notice_unforced(result)
        return result

    # ── what the server says of itself ─────────────────────────────────────────────────────────
    def _list(self) -> Served:
        reply = self._transport.request("GET", "/models", None, Clock(self.settings.timeout))
        rows = reply.body.get("data")
        rows = [row for row in rows if isinstance(at(row, "id"), str)] if isinstance(rows, list) else []
        owners = {owner for row in rows if isinstance(owner := row.get("owned_by"), str)}
        servers = {OWNERS.get(owner, "other") for owner in owners}
        return Served(tuple(row["id"] for row in rows), servers.pop() if len(servers) == 1 else "other")

    def _only_model(self) -> str:
        models = self._listing().models
        if len(models) > 1:
            raise UsageError(f"{self.url} serves several models: {', '.join(models)}. Say which one is meant.")
        if not models:
            raise Fault(f"{self.url}/models lists no model. Say which one is meant.", "no_model")
        return models[0]

    def _forced(self, request: Request) -> Json:
        """The words that force a region, where one is expected and forcing is wanted."""
        if not self.settings.force_region or request.expect != "region":
            return {}
        server = self.settings.server or self._listing().server
        if server not in FORCED_REGION:
            raise UsageError(
                f"{self.url} does not say that it is one of {', '.join(FORCED_REGION)}, and no other server is "
                "known to force a region. Say which it is, or do without forcing."
            )
        return FORCED_REGION[server]

    def _notice_unforced(self, result: Completion) -> None:
        """Servers ignore a field that they do not know: say so, once."""
        if result.finish == "stop" and not re.search(ZOOM_REGEX, result.text) and self._force_obeyed:
            self._force_obeyed = False
            logger.warning("%s ignored the forced region: is its version older than the field?", self.url)


def _by_part(reply: Reply) -> tuple[float | None, float | None]:
    """Seconds of prefill and of decode: as the server reports them, or as the stream showed them."""
    if reported := server_seconds(reply.body):
        return reported
    return (reply.first_token, reply.seconds - reply.first_token) if reply.first_token is not None else (None, None)


class _Once(Generic[T]):
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
