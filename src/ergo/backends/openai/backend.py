"""A model behind any OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, Ollama, or a hosted one.

* Plain httpx. The `openai` package pins versions that collide with the engines' own pins.
* A view travels inside its request, and travels again in the second turn as the very same bytes:
  engines recognise a picture by a hash of its bytes, and only so find the first look in their cache.
* A failure is a value with a name (faults.py); those that may pass are retried, a bounded number of times.
* Servers differ: profiles.py holds what is known of each, and a parameter that one refuses is renamed or left
  out from then on (parameters.py). What cannot be known is a setting.

wire.py turns requests into JSON and JSON into completions, transport.py moves the bytes, stream.py folds a
streamed reply into a whole one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

import httpx

from ergo.backends.loopback import LOOPBACK
from ergo.backends.openai.address import Address, base_url
from ergo.backends.openai.asynchronous import AsyncTransport
from ergo.backends.openai.faults import Fault
from ergo.backends.openai.once import Once
from ergo.backends.openai.parameters import Wording, refused_parameter
from ergo.backends.openai.profiles import OTHER, PROFILES, Profile, profile_at, profile_owning
from ergo.backends.openai.regions import SHAPES
from ergo.backends.openai.transport import Clock, Reply
from ergo.backends.openai.wire import (
    Json,
    at,
    completion,
    names_sent,
    request_body,
    server_seconds,
    to_json,
    token_difference,
)
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request, Seconds
from ergo.images.encode import Format

logger = logging.getLogger(__name__)

NO_LISTING = frozenset(
    {"http_400", "http_403", "http_404", "http_405", "http_422", "http_501", "bad_json", "bad_reply"}
)
"""Answers to /models of a server that has none, or none for this key: no obstacle where a name is given."""

WORDED = ("http_400", "http_422", "http_403")
"""Refusals that may be about one parameter; 403 is OpenAI's "You are not allowed to request logprobs"."""

CACHE_MISS = re.compile(r"cache miss|data is not provided|not found in (the )?cache", re.IGNORECASE)
"""vLLM, sent a picture's uuid alone, has let the picture go."""


@dataclass(frozen=True)
class Served:
    """What an endpoint lists. models: names to ask for.

    checkpoints: by name, what each was loaded from, where the server says so (vLLM's `root`).
    """

    models: tuple[str, ...]
    profile: Profile = OTHER
    checkpoints: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One request on its way. wording, own: of the last body, and the fields in it that are ours to change.

    upload: whether every picture is sent. image: seconds that encoding took. forced: whether a region is.
    """

    request: Request
    clock: Clock
    wording: Wording = field(default_factory=Wording)
    own: frozenset[str] = frozenset()
    upload: bool = False
    image: float = 0.0
    forced: bool = False


class OpenAIBackend:
    """Completions from `{url}/chat/completions`; may be called from many threads at once.

    url: with or without its version, such as http://localhost:8000; ?api-version=... may stand behind it.
    """

    parallel = True

    def __init__(self, url: str, settings: EndpointSettings | None = None) -> None:
        self.settings = settings = settings or EndpointSettings()
        base_url(url)  # refuses what is no URL before anything is read off it
        self._profile = PROFILES[settings.server] if settings.server else profile_at(httpx.URL(url.strip()))
        self._transport = AsyncTransport(Address.of(url, self._profile, settings), settings)
        self.url = self._transport.url
        here = httpx.URL(self.url).host in LOOPBACK
        self._format: Format = settings.image_format or ("stored-png" if here else "png")
        self._wording = Wording.of(self._profile, settings.detail, settings.picture_ids)
        self._lock = Lock()
        self._listing = Once(self._list)
        self._warned: set[str] = set()

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
        """What the server says it serves; asked once, a failure is not remembered.

        A server without a list is no failure where the model's name was given.
        """
        try:
            return self._listing()
        except Fault as fault:
            if self.settings.served_name and fault.kind in NO_LISTING:
                return Served((self.settings.served_name,), self._profile)
            return fault.value()

    async def acomplete(self, request: Request, seconds: float) -> Completion | BackendError:
        """The same from an event loop: it ends after `seconds` (and before `timeout`), or when it is cancelled."""
        call = Call(request, Clock(min(seconds, self.settings.timeout)))
        try:
            while True:
                body = await asyncio.to_thread(self._body, call)
                try:
                    reply = await self._transport.arequest("POST", "/chat/completions", body, call.clock)
                    return self._completed(call, reply)
                except Fault as fault:
                    self._reword(call, fault)
        except Fault as fault:
            return fault.value()

    async def aprobe(self, seconds: float) -> BackendError | None:
        """What is wrong with the endpoint; None where it answers within `seconds`."""
        try:
            await self._transport.arequest("GET", "/models", None, Clock(seconds))
        except Fault as fault:
            return None if fault.kind in NO_LISTING else fault.value()  # it is there, without a list
        return None

    def _ask(self, request: Request) -> Completion | BackendError:
        call = Call(request, Clock(self.settings.timeout))
        try:
            while True:
                body = self._body(call)
                try:
                    return self._completed(call, self._transport.request("POST", "/chat/completions", body, call.clock))
                except Fault as fault:
                    self._reword(call, fault)
        except Fault as fault:
            return fault.value()

    # ── one call ───────────────────────────────────────────────────────────────────────────────
    def _body(self, call: Call) -> bytes:
        """The bytes to send. Encoding the views is nearly all of the work."""
        model, forced = self.settings.served_name or self._only_model(), self._forced(call.request)
        extra = forced | dict(self.settings.extra_body)
        call.wording, started = self._wording, call.clock.elapsed
        body = request_body(call.request, model, self._format, call.wording, self.settings.stream, call.upload)
        call.own = frozenset(names_sent(body)) - set(extra)
        if {"max_tokens", "max_completion_tokens"} & set(extra) - {call.wording.token_limit}:
            del body[call.wording.token_limit]  # the user's own limit, under its other name: two would be refused
        sent = to_json(body | extra)
        call.image, call.forced = call.clock.elapsed - started, bool(forced)
        return sent

    def _reword(self, call: Call, fault: Fault) -> None:
        """Make the next body another one, where the refusal says how; raise it where it does not.

        Ends: every round settles one parameter for good, or uploads what was left out.
        """
        if not call.upload and call.wording.picture_id == "uuid" and CACHE_MISS.search(fault.words):
            call.upload = True
        elif fault.kind not in WORDED or not self._learned(fault, call):
            raise fault

    def _learned(self, fault: Fault, call: Call) -> bool:
        """Whether a refusal says which parameter to do without. What the user added himself stays."""
        name = refused_parameter(fault.words, fault.parameter, call.own)
        if name is None:
            return False
        with self._lock:
            if name in self._wording.refused:  # another thread was first; but not if this call knew already
                return name not in call.wording.refused
            changed = self._wording.without(name)
            if changed is None:
                return False
            self._wording = changed
        now = f"{changed.token_limit} is sent instead" if "max_" in name else "it is left out from now on"
        logger.warning("%s takes no %s: %s", self.url, name, now)
        return True

    def _completed(self, call: Call, reply: Reply) -> Completion:
        seconds = Seconds(call.clock.elapsed, call.image, None, *_by_part(reply))
        result = completion(reply.body, call.request, seconds)
        if call.forced and result.finish == "stop" and not re.search(SHAPES[call.request.expect].zoom, result.text):
            self._warn_once("%s ignored the forced region: is its version older than the field?", self.url)
        if difference := token_difference(reply.body.get("usage"), call.request):
            self._warn_once(
                "%s counts other picture tokens than were sent (%s): it resizes pictures, or is of another family",
                self.url,
                difference,
            )
        return result

    # ── what the server says of itself ─────────────────────────────────────────────────────────
    def _list(self) -> Served:
        reply = self._transport.request("GET", "/models", None, Clock(self.settings.timeout))
        rows = reply.body.get("data")
        rows = [row for row in rows if isinstance(at(row, "id"), str)] if isinstance(rows, list) else []
        owners = {owner for row in rows if isinstance(owner := row.get("owned_by"), str)}
        checkpoints = {row["id"]: root for row in rows if isinstance(root := row.get("root"), str)}
        if self._profile is OTHER and self.settings.server is None:
            self._profile = profile_owning(owners)
            with self._lock:
                self._wording = Wording.of(self._profile, self.settings.detail, self.settings.picture_ids)
        return Served(tuple(row["id"] for row in rows), self._profile, checkpoints)

    def _only_model(self) -> str:
        models = self._listing().models
        if len(models) > 1:
            raise UsageError(f"{self.url} serves several models: {', '.join(models)}. Say which one is meant.")
        if not models:
            raise Fault(f"{self.url}/models lists no model. Say which one is meant.", "no_model")
        return models[0]

    def _forced(self, request: Request) -> Json:
        """The words that force a region, where one is expected and forcing is wanted."""
        if not self.settings.force_region or request.expect == "text":
            return {}
        if self._profile is OTHER:
            self._listing()
        if self._profile.forced_region is None:
            able = ", ".join(profile.name for profile in PROFILES.values() if profile.forced_region)
            raise UsageError(
                f"{self.url} does not say that it is one of {able}, and no other server is "
                "known to force a region. Say which it is, or do without forcing."
            )
        return dict(self._profile.forced_region(SHAPES[request.expect]))

    def _warn_once(self, message: str, *values: str) -> None:
        with self._lock:
            known = message in self._warned
            self._warned.add(message)
        if not known:
            logger.warning(message, *values)


def _by_part(reply: Reply) -> tuple[float | None, float | None]:
    """Seconds of prefill and of decode: as the server reports them, or as the stream showed them."""
    if reported := server_seconds(reply.body):
        return reported
    return (reply.first_token, reply.seconds - reply.first_token) if reply.first_token is not None else (None, None)
