"""A model behind any OpenAI-compatible endpoint: vLLM, SGLang, llama.cpp, or a hosted one.

What was decided, and why:

* Plain httpx. The `openai` package pins versions that collide with the engines' own pins.
* A view travels inside its request, and travels again in the second turn as the very same bytes:
  engines recognise a picture by a hash of its bytes, and only so find the first look in their cache.
* A failure is a value with a name. Those on the list RETRYABLE are asked again, a bounded number of
  times; all else is final. So is a timeout: the server may still be at work on what we gave up on.
* One number bounds a request, `timeout`: every attempt and every pause between them included.
* Which server it is matters to one thing alone, the words that force a well-formed region. It is
  asked only when that is wanted: an engine ignores words it does not know, with HTTP 200.
* Redirects are not followed: pictures and keys go to the host the user named and to no other.

    _ask               request -> Completion, or the name of what went wrong
    ├── _payload       the request in OpenAI's words
    ├── _Line.ask      ... sent, and sent again where that may help -> _Reply
    │   └── exchange   one attempt; `_Folding` makes of a stream the reply it would have been
    └── _completion    OpenAI's words -> Completion
"""

from __future__ import annotations

import email.utils
import json
import logging
import math
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any, Generic, Literal, TypeVar

import httpx

from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Message, Part, Request, Seconds, Usage
from ergo.images.encode import Format, data_uri

logger = logging.getLogger(__name__)

Json = dict[str, Any]
T = TypeVar("T")

RETRYABLE = frozenset(
    {"refused", "unreachable", "cut_stream", "http_429", "http_500", "http_502", "http_503", "http_504"}
)
"""The failures that are asked again; a completion has no effect on the server, so twice does no harm."""

ServerKind = Literal["vllm", "sglang", "llama.cpp", "other"]

SERVERS: Mapping[str, ServerKind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp"}
"""How each server names itself, in `owned_by` of the models it lists."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")

ZOOM_REGEX = r"<zoom>\[[0-9]{1,4}(, [0-9]{1,4}){3}\]</zoom>"
REGION_REGEX = rf"(<think>[^<]{{1,1000}}</think>[ \n]?)?{ZOOM_REGEX}"
"""A region as every dialect writes it, perhaps after a thought; bounded, so that it always ends."""

REGION_GRAMMAR = r"""
root ::= thought? "<zoom>[" number ", " number ", " number ", " number "]</zoom>"
thought ::= "<think>" [^<]{1,1000} "</think>" [ \n]?
number ::= [0-9]{1,4}
"""
"""REGION_REGEX in llama.cpp's own notation (GBNF)."""

FORCED_REGION: Mapping[ServerKind, Json] = {
    "vllm": {"structured_outputs": {"regex": REGION_REGEX}},  # the old guided_regex is ignored, with HTTP 200
    "sglang": {"regex": REGION_REGEX},
    "llama.cpp": {"grammar": REGION_GRAMMAR},
}

_LONGEST_REPLY = 16 * 2**20  # bytes; the longest completion of a 32k context is about 1 MiB
_LONGEST_ERROR = 64 * 2**10  # bytes read of an error page
_LONGEST_PAUSE = 30.0  # seconds
_CONNECTING = 10.0  # seconds; a host that is up accepts at once, however busy its model is


class OpenAIBackend:
    """Completions from `{url}/chat/completions`; may be called from many threads at once.

    url: with or without /v1, such as http://localhost:8000.
    model: the served name; asked of the server where it serves only one.
    api_key: sent as a bearer token, and shown nowhere.
    timeout: wall seconds for one request, with all its attempts and pauses.
    retries: how often a failure on the list RETRYABLE is asked again.
    pause: seconds before the first retry, doubled for each further one, less a random part of up to
        half (`jitter`, 0..1), so that flows that failed together do not come back together.
    format: how views are encoded, always without loss. None: png, which any server reads; once `served` has
        told that the server is on this machine and one that reads bmp, that: a twentieth of the work.
    stream: receive replies as they are written, which tells prefill from decode.
    force_region: where a region is expected, let the server sample nothing else.
    server: which it is, where it does not say so itself (a proxy in front of it).
    extra: further fields of every request, such as {"chat_template_kwargs": {"enable_thinking": False}}.
    connections: how many requests may be under way at once.
    """

    parallel = True

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float = 600.0,
        retries: int = 4,
        pause: float = 0.5,
        format: Format | None = None,
        stream: bool = False,
        force_region: bool = False,
        server: ServerKind | None = None,
        extra: Mapping[str, Any] | None = None,
        connections: int = 512,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.url = base_url(url)
        self._line = _Line(self.url, _clean_key(api_key), timeout, retries, pause, connections, jitter)
        self._model = model
        self._server = server
        self._format: Format = format or "png"
        self._format_stated = format is not None
        self._stream = stream
        self._force_region = force_region
        self._extra = dict(extra or {})
        self._connections = connections
        self._listing = _Once(self._list)
        self._heeded = True

    def __enter__(self) -> OpenAIBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._line.close()

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """One result per request, in order; several requests are under way at the same time.

        Raises UsageError for what no request could survive: a choice of models that was not made, or
        a forced region on a server that has no words for it.
        """
        if len(requests) <= 1:
            return [self._ask(request) for request in requests]
        with ThreadPoolExecutor(min(len(requests), self._connections), thread_name_prefix="ask") as pool:
            return list(pool.map(self._ask, requests))

    def served(self) -> Served | BackendError:
        """What the server says it serves; asked once, a failure is not remembered."""
        try:
            listing = self._listing()
        except _Fault as fault:
            return fault.value()
        if not self._format_stated and httpx.URL(self.url).host in LOOPBACK and listing.kind != "other":
            self._format = "bmp"
        return listing

    def _ask(self, request: Request) -> Completion | BackendError:
        try:
            model, forced = self._model or self._only_model(), self._forced(request)
            clock = _Clock(self._line.timeout)
            payload = self._payload(request, model) | forced | self._extra
            image = clock.elapsed
            reply = self._line.ask("POST", "/chat/completions", payload, clock)
            completion = _completion(reply, request, Seconds(clock.elapsed, image, None, *_parts(reply)))
        except _Fault as fault:
            return fault.value()
        if forced:
            self._notice_unforced(completion)
        return completion

    def _payload(self, request: Request, model: str) -> Json:
        sampling = request.sampling
        payload: Json = {
            "model": model,
            "messages": [_message(message, self._format) for message in request.chat],
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            payload["seed"] = sampling.seed
        if sampling.stop:
            payload["stop"] = list(sampling.stop)
        if self._stream:
            payload |= {"stream": True, "stream_options": {"include_usage": True}}
        return payload

    # ── what the server says of itself ─────────────────────────────────────────────────────────
    def _list(self) -> Served:
        reply = self._line.ask("GET", "/models", None, _Clock(self._line.timeout))
        rows = reply.body.get("data")
        rows = [row for row in rows if isinstance(_at(row, "id"), str)] if isinstance(rows, list) else []
        owners = {owner for row in rows if isinstance(owner := row.get("owned_by"), str)}
        kinds = {SERVERS.get(owner, "other") for owner in owners}
        return Served(tuple(row["id"] for row in rows), kinds.pop() if len(kinds) == 1 else "other")

    def _only_model(self) -> str:
        models = self._listing().models
        if len(models) > 1:
            raise UsageError(f"{self.url} serves several models: {', '.join(models)}. Say which one is meant.")
        if not models:
            raise _Fault(f"{self.url}/models lists no model. Say which one is meant.", "no_model")
        return models[0]

    def _forced(self, request: Request) -> Json:
        """The words that force a region, where one is expected and forcing is wanted."""
        if not self._force_region or request.expect != "region":
            return {}
        kind = self._server or self._listing().kind
        if kind not in FORCED_REGION:
            raise UsageError(
                f"{self.url} does not say that it is one of {', '.join(FORCED_REGION)}, and no other server is "
                "known to force a region. Say which it is, or do without forcing."
            )
        return FORCED_REGION[kind]

    def _notice_unforced(self, completion: Completion) -> None:
        """Servers ignore a field that they do not know: say so, once."""
        if completion.finish == "stop" and not re.search(ZOOM_REGEX, completion.text) and self._heeded:
            self._heeded = False
            logger.warning("%s ignored the forced region: is its version older than the field?", self.url)


@dataclass(frozen=True)
class Served:
    """What an endpoint lists. models: names to ask for. kind: the server, as it names itself."""

    models: tuple[str, ...]
    kind: ServerKind


# ── the line: bytes, time, and what can go wrong with them ─────────────────────────────────────────


class _Fault(Exception):
    """A failure on its way to `_ask`. wait: seconds the server asked us to stay away, if it did."""

    def __init__(self, message: str, kind: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait = wait

    def value(self) -> BackendError:
        """As a fresh value: what was raised holds its frames, and with them megabytes of picture."""
        return BackendError(str(self), self.kind, self.kind in RETRYABLE)


@dataclass(frozen=True)
class _Clock:
    """One request's time. limit: wall seconds from start to end."""

    limit: float
    start: float = field(default_factory=time.perf_counter)

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        return self.limit - self.elapsed


@dataclass(frozen=True)
class _Reply:
    """What came back. seconds: of the attempt that answered. first: of them, until the first word."""

    body: Json
    seconds: float
    first: float | None = None


@dataclass
class _Line:
    """The way to one endpoint: a pool of connections, patience, and the key."""

    url: str
    key: str | None = field(repr=False)
    timeout: float
    retries: int
    pause: float
    connections: int
    jitter: Callable[[], float]

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {}),
            limits=httpx.Limits(max_connections=self.connections, max_keepalive_connections=self.connections),
            # plain HTTP needs no certificates, and an empty store, which trusts nobody, opens at once
            verify=self.url.startswith("https") or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=httpx.URL(self.url).host not in LOOPBACK,  # no proxy to oneself
            follow_redirects=False,
        )

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, payload: Json | None, clock: _Clock) -> _Reply:
        """One exchange, again while that may help."""
        # ASCII only: a model may write half a surrogate pair, and half a pair has no UTF-8
        body = None if payload is None else json.dumps(payload).encode("ascii")
        for attempt in count(1):
            try:
                return self.exchange(method, path, body, clock)
            except _Fault as fault:
                pause = self._pause(fault, attempt)
                if fault.kind not in RETRYABLE or attempt > self.retries or pause >= clock.left:
                    asked = f" Asked {attempt} times." if attempt > 1 else ""
                    raise _Fault(f"{fault}{asked}", fault.kind) from None
                logger.info("asking again in %.1f s: %s", pause, fault)
            time.sleep(pause)
        raise AssertionError("count() does not end")

    def _pause(self, fault: _Fault, attempt: int) -> float:
        """Seconds before the next attempt; what the server asked for, and a little more, where it did."""
        longest = min(self.pause * 2 ** (attempt - 1), _LONGEST_PAUSE)
        return longest * (1 - self.jitter() / 2) if fault.wait is None else fault.wait + self.pause * self.jitter()

    def exchange(self, method: str, path: str, body: bytes | None, clock: _Clock) -> _Reply:
        """One attempt. The clock is looked at whenever bytes come: a trickle is a timeout as well."""
        begun = _Clock(clock.left)
        timeout = httpx.Timeout(max(begun.limit, 0.001), connect=max(min(begun.limit, _CONNECTING), 0.001))
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            with self._client.stream(
                method, self.url + path, content=body, headers=headers, timeout=timeout
            ) as response:
                response.request.extensions["timeout"]["read"] = max(begun.left, 0.001)
                if not response.is_success:
                    raise self._refusal(response, begun)
                if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    folding = _Folding(self, begun)
                    for line in _lines(self._chunks(response, begun)):
                        folding.add(line)
                    return folding.reply()
                return _Reply(self.parsed(b"".join(self._chunks(response, begun))), begun.elapsed)
        except httpx.HTTPError as error:
            raise self._breakdown(error) from None

    def _chunks(self, response: httpx.Response, clock: _Clock) -> Iterator[bytes]:
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > _LONGEST_REPLY:
                raise _Fault(f"{self.url} sent more than {_LONGEST_REPLY >> 20} MiB for one reply.", "too_large")
            if clock.left <= 0:
                raise self._late()
            yield chunk

    def broken_off(self) -> _Fault:
        return _Fault(f"{self.url} broke off in mid-reply. Look at the server's log.", "cut_stream")

    def _late(self) -> _Fault:
        return _Fault(
            f"{self.url} did not finish within {self.timeout:g} s. A longer timeout, fewer requests at once, "
            "or fewer new tokens.",
            "timeout",
        )

    def _refusal(self, response: httpx.Response, clock: _Clock) -> _Fault:
        """The name of an answer that is not 2xx, in the server's own words and with what to do."""
        status = response.status_code
        if response.is_redirect:
            target = self.quote(response.headers.get("location", "nowhere"))
            return _Fault(f"{self.url} redirects to {target}. Give the URL that is meant.", "redirect")
        said = self._said(response, clock)
        for pattern, kind, advice in _TELLING:
            if 400 <= status < 500 and pattern.search(said):
                return _Fault(f"{self.url} refused ({said}). {advice}", kind)
        advice = _ADVICE.get(status, _ADVICE[500] if status >= 500 else _ADVICE[400]).format(url=self.url)
        wait = _retry_after(response.headers.get("retry-after", ""))
        return _Fault(
            f"{self.url} answered HTTP {status}{f' ({said})' if said else ''}. {advice}", f"http_{status}", wait
        )

    def _said(self, response: httpx.Response, clock: _Clock) -> str:
        """The server's own words in one line, the key struck out; nothing where it sent a web page."""
        body = b""
        with suppress(httpx.HTTPError):  # the status is known, and says more than a broken explanation
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _LONGEST_ERROR or clock.left <= 0:
                    break
        try:
            words = _words(json.loads(body))
        except (ValueError, RecursionError):
            words = "" if b"<" in body[:200] else body.decode("utf-8", "replace")
        return self.quote(words)

    def parsed(self, body: bytes) -> Json:
        """A reply or an event of a stream; what is none, or tells of a failure, is named."""
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            start = self.quote(body.decode("utf-8", "replace"), 80)
            raise _Fault(
                f"{self.url} did not answer in JSON (it starts {start!r}). Is it an OpenAI endpoint?", "bad_json"
            ) from None
        if not isinstance(parsed, dict):
            start = self.quote(str(parsed), 80)
            raise _Fault(f"{self.url} answered {start!r}. Is it an OpenAI endpoint?", "bad_reply")
        if parsed.get("error"):  # with HTTP 200: some proxies, and every server once its stream has begun
            words = self.quote(_words(parsed))
            raise _Fault(f"{self.url} failed while answering ({words}). Look at its log.", "bad_reply")
        return parsed

    def quote(self, words: str, longest: int = 200) -> str:
        """What a server said, as one line for a message of ours; servers echo keys, we do not."""
        words = " ".join((words.replace(self.key, "***") if self.key else words).split())
        return words if len(words) <= longest else words[: longest - 3] + "..."

    def _breakdown(self, error: httpx.HTTPError) -> _Fault:
        """The name of what happened below HTTP."""
        reason = self.quote(str(error))
        match error:
            case httpx.ConnectTimeout():
                return _Fault(
                    f"{self.url} cannot be reached (no answer to connecting). Is the address right?", "unreachable"
                )
            case httpx.TimeoutException():
                return self._late()
            case httpx.ConnectError() if _caused_by(error, ConnectionRefusedError):
                return _Fault(f"{self.url} did not answer (connection refused). Is the server running?", "refused")
            case httpx.ConnectError() if _caused_by(error, ssl.SSLError):
                return _Fault(f"{self.url} cannot be trusted ({reason}).", "tls")
            case httpx.ConnectError() | httpx.ProxyError():
                return _Fault(f"{self.url} cannot be reached ({reason}). Is the address right?", "unreachable")
            case httpx.NetworkError():
                return self.broken_off()
            case httpx.RemoteProtocolError() if re.search(r"disconnected|peer closed|incomplete", str(error)):
                return self.broken_off()
            case _:
                return _Fault(f"{self.url} does not speak HTTP as we know it ({reason}).", "not_http")


_ADVICE = {
    400: "It does not understand the request; its log may say more.",
    401: "Is the API key right?",
    403: "Is the API key right?",
    404: "Are the URL and the model's name right? {url}/models lists the names.",
    413: "The pictures are too large for it: smaller budgets here, or a higher limit there.",
    429: "It is asked too much at once: a smaller window.",
    500: "Look at the server's log.",
}

_TELLING = (
    (
        re.compile(r"context[ _](length|size|window)|max_model_len|maximum model length", re.IGNORECASE),
        "context_length",
        "Smaller budgets or fewer new tokens here, or a longer context there.",
    ),
    (
        re.compile(r"at most \d+ image", re.IGNORECASE),
        "too_many_pictures",
        "Two looks need two pictures; for vLLM: --limit-mm-per-prompt '{\"image\": 2}'.",
    ),
)
"""Refusals with a meaning of their own, whatever their status: words, name, what to do."""


def base_url(url: str) -> str:
    """`url` up to and with its version, as every path is appended to it.

    >>> base_url("http://localhost:8000/")
    'http://localhost:8000/v1'
    >>> base_url("https://example.org/api/v2/chat/completions")
    'https://example.org/api/v2'
    """
    try:
        parsed = httpx.URL(url.strip())
        parsed.host.encode("idna")  # what the resolver would raise
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"an endpoint is a URL such as http://localhost:8000/v1 ({error})") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 2**16:
        raise UsageError("an endpoint is a URL such as http://localhost:8000/v1, with http:// or https://")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise UsageError(f"the URL of {parsed.host} holds more than an address; a key is given as the API key")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.copy_with(path=path or "/v1"))


def _clean_key(key: str | None) -> str | None:
    """The key without stray white space; what cannot stand in a header is refused, unshown."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key holds characters that no key has; was it copied whole?")
    return key or None


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _retry_after(header: str) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _words(body: Any) -> str:
    """What an error body says, in any of the shapes that are about."""
    for path in (("error", "message"), ("error",), ("message",), ("detail",)):
        said = _at(body, *path)
        if isinstance(said, str):
            return said
    return json.dumps(body)


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


# ── OpenAI's words ─────────────────────────────────────────────────────────────────────────────────


def _message(message: Message, format: Format) -> Json:
    """Plain text as a string, which every chat template takes; with views as parts, in order."""
    parts = [_part(part, format) for part in message.parts]
    return {"role": message.role, "content": parts if message.views else message.text}


def _part(part: Part, format: Format) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": data_uri(part, format)}}


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split at newlines alone: httpx's own iter_lines also splits at U+2028, which JSON may hold."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    yield rest


@dataclass
class _Folding:
    """A streamed reply on its way to the whole it would have been. first: seconds to the first word."""

    line: _Line
    clock: _Clock
    content: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    body: Json = field(default_factory=dict)
    finish: str | None = None
    first: float | None = None
    chosen: bool = False

    def add(self, line: bytes) -> None:
        """One line of the stream; comments, blank lines and the closing [DONE] say nothing."""
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or not data or data == b"[DONE]":
            return
        event = self.line.parsed(data)
        self.body |= {key: event[key] for key in ("usage", "timings") if event.get(key)}
        self.chosen |= bool(event.get("choices"))
        self.finish = _at(event, "choices", 0, "finish_reason") or self.finish
        said, thought = _said_and_thought(_at(event, "choices", 0, "delta"))
        self.content.append(said or "")
        self.thought.append(thought or "")
        if self.first is None and (said or thought):
            self.first = self.clock.elapsed

    def reply(self) -> _Reply:
        if self.chosen and self.finish is None:  # servers that close properly also say why they stopped
            raise self.line.broken_off()
        message = {"content": "".join(self.content), "reasoning_content": "".join(self.thought)}
        choices = [{"message": message, "finish_reason": self.finish}] if self.chosen else []
        return _Reply(self.body | {"choices": choices}, self.clock.elapsed, self.first)


def _completion(reply: _Reply, request: Request, seconds: Seconds) -> Completion:
    """OpenAI's words -> Completion; whatever they lack is named."""
    body = reply.body
    choices = body.get("choices")
    if choices == []:
        raise _Fault("the server answered with no choices. Look at its log.", "no_choices")
    message, finish = _at(choices, 0, "message"), _at(choices, 0, "finish_reason")
    if not isinstance(message, dict):
        raise _Fault("the server's answer holds no message. Is it an OpenAI endpoint?", "bad_reply")
    if isinstance(finish, str) and finish in _UNFINISHED:
        raise _Fault(f"the server gave up its answer ({finish}). Look at its log.", _UNFINISHED[finish])
    said, thought = _said_and_thought(message)
    if thought and "<think>" not in (said or ""):  # a server that splits thinking off: together again
        said = f"<think>{thought}</think>{said}" if said else f"<think>{thought}"
    if said is None:
        raise _Fault("the server's answer holds no text. Is it a chat model?", "no_text")
    text = said.encode("utf-8", "replace").decode()  # half a surrogate pair could not be stored
    return Completion(text, _usage(body.get("usage"), request), seconds, "length" if finish == "length" else "stop")


_UNFINISHED = {"content_filter": "content_filter", "abort": "aborted", "error": "aborted"}
"""Finish reasons of replies that are not one, and the names of those failures."""


def _said_and_thought(message: Any) -> tuple[str | None, str | None]:
    """The text and the thinking of a message or delta; `reasoning` is what newer vLLM calls the latter."""
    said, thought = _at(message, "content"), _at(message, "reasoning_content") or _at(message, "reasoning")
    return said if isinstance(said, str) else None, thought if isinstance(thought, str) else None


def _usage(told: Any, request: Request) -> Usage:
    """Tokens as the server counts them; vision tokens, where it does not tell, as our views cost."""
    vision = (
        _count(_at(told, "prompt_tokens_details", "multimodal_tokens", "image"))  # vLLM
        or _count(_at(told, "prompt_tokens_details", "image_tokens"))
        or _count(_at(told, "image_tokens"))  # SGLang
        or sum(view.tokens for view in request.views)
    )
    return Usage(
        prompt_tokens=_count(_at(told, "prompt_tokens")),
        vision_tokens=vision,
        cached_tokens=_count(_at(told, "prompt_tokens_details", "cached_tokens")),
        generated_tokens=_count(_at(told, "completion_tokens")),
    )


def _parts(reply: _Reply) -> tuple[float | None, float | None]:
    """Seconds of prefill and of decode: as llama.cpp tells them, or as the stream showed them."""
    timings = reply.body.get("timings")
    prefill, decode = _at(timings, "prompt_ms"), _at(timings, "predicted_ms")
    if isinstance(prefill, int | float) and isinstance(decode, int | float):
        return prefill / 1000, decode / 1000
    return (reply.first, reply.seconds - reply.first) if reply.first is not None else (None, None)


def _at(value: Any, *path: str | int) -> Any:
    """value[path[0]][path[1]]...; None where the reply has no such place."""
    for key in path:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
