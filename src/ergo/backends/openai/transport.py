"""Bytes to and from one endpoint: connections, the key, deadlines, retries, and names for what goes wrong.

* One number bounds a request, `timeout`: every attempt and every pause between them included.
* A timeout is final: the server may still be at work on what we gave up on.
* Redirects are not followed: pictures and keys go to the host that the user named and to no other.
* Proxies are those of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY; socks5:// with the extra
  `socks`), never for this machine. Certificates are checked against certifi's list, or against those of
  SSL_CERT_FILE or SSL_CERT_DIR, where a company or a laboratory signs its own.
"""

from __future__ import annotations

import json
import logging
import random
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from threading import BoundedSemaphore
from typing import Any

import httpx

from ergo.backends.loopback import LOOPBACK
from ergo.backends.openai.address import Address, proxy_for
from ergo.backends.openai.faults import OVERLOADED, Fault, of_status, retry_after, status_in
from ergo.backends.openai.stream import StreamedReply, lines
from ergo.backends.openai.wire import Json, at, error_parameter, error_words
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import MissingExtra, UsageError

logger = logging.getLogger(__name__)

MAX_REPLY = 16 * 2**20  # bytes; the longest completion of a 32k context is about 1 MiB
MAX_ERROR = 64 * 2**10  # bytes read of an error page
MAX_PAUSE = 30.0  # seconds
MAX_CONNECT = 10.0  # seconds; a host that is up accepts at once, however busy its model is


@dataclass(frozen=True)
class Clock:
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
class Reply:
    """What came back. seconds: of the attempt that answered. first_token: seconds of it until the first text."""

    body: Json
    seconds: float
    first_token: float | None = None


class Transport:
    """The way to one endpoint; may be used from many threads at once."""

    def __init__(self, address: Address, settings: EndpointSettings) -> None:
        self.url = url = address.url
        self.timeout = settings.timeout
        self._retries, self._pause = settings.retries, settings.pause
        self._secrets = address.secrets
        self._places = BoundedSemaphore(settings.concurrency)
        parsed = httpx.URL(url)
        here = parsed.host in LOOPBACK
        self._proxy = None if here else proxy_for(parsed)
        try:
            self._options: dict[str, Any] = {
                # identity: an answer is short, and a decompression bomb would pass the limit on bytes
                "headers": {"Accept-Encoding": "identity", **address.headers},
                "params": address.query,
                # plain HTTP needs no certificates, and an empty store, which trusts nobody, opens at once
                "verify": httpx.create_ssl_context()
                if parsed.scheme == "https"
                else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                "trust_env": not here,  # no proxy to this machine: it could not reach it, or would read along
                "follow_redirects": False,
            }
            self._idle = [httpx.Client(**self._options)]
        except ImportError as error:  # httpx looks for socksio only now
            raise MissingExtra(f"reaching {url} through a SOCKS proxy", "socks") from error
        except (ValueError, httpx.InvalidURL) as error:
            raise UsageError(f"the proxy that the environment names cannot be used: {error}") from None
        except OSError as error:
            raise UsageError(f"the certificates that SSL_CERT_FILE names cannot be read: {error}") from None

    def __repr__(self) -> str:
        return f"Transport({self.url!r})"  # without the key

    def close(self) -> None:
        """Let go of the connections."""
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _client(self, clock: Clock) -> Iterator[httpx.Client]:
        """A client for one exchange, with its open connection.

        Not one client for all: its pool gives the same idle connection to every thread that asks at once, all but
        one of which must ask again. That cost 10 attempts a request and two thirds of a request's CPU time.
        """
        if not self._places.acquire(timeout=max(clock.left, 0)):
            raise self._late()
        try:
            client = self._idle.pop()
        except IndexError:
            client = httpx.Client(**self._options)
        try:
            yield client
        finally:
            self._idle.append(client)
            self._places.release()

    # ── attempts ───────────────────────────────────────────────────────────────────────────────
    def request(self, method: str, path: str, body: bytes | None, clock: Clock) -> Reply:
        """One exchange, retried while that may help. Raises Fault."""
        for attempt in count(1):
            try:
                return self._exchange(method, path, body, clock)
            except Fault as fault:
                pause = self._pause_after(fault, attempt, clock)
            time.sleep(pause)
        raise AssertionError("count() does not end")

    def _pause_after(self, fault: Fault, attempt: int, clock: Clock) -> float:
        """Seconds until the next attempt; raises Fault where this was the last."""
        pause = pause_before_retry(attempt, self._pause, fault.wait)
        if not fault.retryable or attempt > self._retries or pause >= clock.left:
            attempts = f" Asked {attempt} times." if attempt > 1 else ""
            raise Fault(f"{fault}{attempts}", fault.kind, None, fault.words, fault.parameter) from None
        logger.info("retrying in %.1f s: %s", pause, fault)
        return pause

    def _exchange(self, method: str, path: str, body: bytes | None, clock: Clock) -> Reply:
        """One attempt. The clock is looked at whenever bytes come: a trickle is a timeout as well.

        httpx's own timeouts bound each read, not the reply. So `read` is set to all the time that is left, and
        set again once the head is here: connecting and sending have used some of it.
        """
        attempt = Clock(clock.left)
        timeout = httpx.Timeout(max(attempt.limit, 0.001), connect=max(min(attempt.limit, MAX_CONNECT), 0.001))
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            with (
                self._client(attempt) as client,
                client.stream(method, self.url + path, content=body, headers=headers, timeout=timeout) as response,
            ):
                response.request.extensions["timeout"]["read"] = max(attempt.left, 0.001)
                if not response.is_success:
                    raise self._refusal(response, attempt)
                chunks = self._chunks(response, attempt)
                if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
                    streamed = StreamedReply(self._parsed, lambda: attempt.elapsed)
                    for line in lines(chunks):
                        streamed.add(line)
                    if streamed.broke_off:
                        raise self._broken_off()
                    return Reply(streamed.body(), attempt.elapsed, streamed.first_token)
                return Reply(self._parsed(b"".join(chunks)), attempt.elapsed)
        except httpx.HTTPError as error:
            raise self._breakdown(error) from None

    def _chunks(self, response: httpx.Response, clock: Clock) -> Iterator[bytes]:
        size = 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > MAX_REPLY:
                raise Fault(f"{self.url} sent more than {MAX_REPLY >> 20} MiB for one reply.", "too_large")
            if clock.left <= 0:
                raise self._late()
            yield chunk

    # ── what goes wrong ────────────────────────────────────────────────────────────────────────
    def _parsed(self, body: bytes) -> Json:
        """A reply or an event of a stream; what is none, or holds a failure, is named."""
        try:
            parsed = json.loads(body)
        except (ValueError, RecursionError):
            start = self.quote(body.decode("utf-8", "replace"), 80)
            raise Fault(
                f"{self.url} did not answer in JSON (it starts {start!r}). Is it an OpenAI endpoint?", "bad_json"
            ) from None
        if not isinstance(parsed, dict):
            start = self.quote(str(parsed), 80)
            raise Fault(f"{self.url} answered {start!r}. Is it an OpenAI endpoint?", "bad_reply")
        # with HTTP 200: some gateways, and every server once its stream has begun; OpenRouter's stand in the choice
        for holder in (parsed, at(parsed, "choices", 0)):
            if error := at(holder, "error"):
                words = error_words(holder)
                shown, status = self.quote(words), status_in(error) or (200 if OVERLOADED.search(words) else None)
                if status is not None:
                    raise of_status(self.url, status, shown, None, words, error_parameter(holder))
                raise Fault(f"{self.url} failed while answering ({shown}). Look at its log.", "bad_reply")
        return parsed

    def _refusal(self, response: httpx.Response, clock: Clock) -> Fault:
        """The name of an answer that is not 2xx, with what can be read of its body."""
        body = b""
        with suppress(httpx.HTTPError):  # the status is known, and says more than a broken explanation
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > MAX_ERROR or clock.left <= 0:
                    break
        return self._refused(response, body)

    def _refused(self, response: httpx.Response, body: bytes) -> Fault:
        """The same, with the server's own words in it."""
        if response.is_redirect:
            target = self.quote(response.headers.get("location", "nowhere"))
            return Fault(f"{self.url} redirects to {target}. Give the URL that is meant.", "redirect")
        parameter = None
        try:
            parsed = json.loads(body)
            words, parameter = error_words(parsed), error_parameter(parsed)
        except (ValueError, RecursionError):
            words = "" if b"<" in body[:200] else body.decode("utf-8", "replace")  # a web page explains nothing
        wait = retry_after(response.headers.get("retry-after", ""))
        return of_status(self.url, response.status_code, self.quote(words), wait, words, parameter)

    def _breakdown(self, error: httpx.HTTPError) -> Fault:
        """The name of what happened below HTTP."""
        reason = self.quote(str(error))
        way = f" through the proxy {self._proxy}" if self._proxy else ""
        match error:
            case httpx.ConnectTimeout():
                return Fault(
                    f"{self.url} cannot be reached{way} (no answer to connecting). Is the address right?", "unreachable"
                )
            case httpx.TimeoutException():
                return self._late()
            case httpx.ConnectError() if _caused_by(error, ConnectionRefusedError):
                what = "proxy" if self._proxy else "server"
                return Fault(f"{self.url} did not answer{way} (connection refused). Is the {what} running?", "refused")
            case httpx.ConnectError() if _caused_by(error, ssl.SSLError):
                return Fault(
                    f"{self.url} cannot be trusted ({reason}). A private authority's certificates: SSL_CERT_FILE.",
                    "tls",
                )
            case httpx.ProxyError():
                return Fault(f"{self.url} cannot be reached{way} ({reason}). NO_PROXY goes round it.", "proxy")
            case httpx.ConnectError():
                return Fault(f"{self.url} cannot be reached{way} ({reason}). Is the address right?", "unreachable")
            case httpx.NetworkError():
                return self._broken_off()
            case httpx.RemoteProtocolError() if re.search(r"disconnected|peer closed|incomplete", str(error)):
                return self._broken_off()
            case _:
                return Fault(f"{self.url} does not speak HTTP as we know it ({reason}).", "not_http")

    def _broken_off(self) -> Fault:
        return Fault(f"{self.url} broke off in mid-reply. Look at the server's log.", "cut_stream")

    def _late(self) -> Fault:
        return Fault(
            f"{self.url} did not finish within {self.timeout:g} s. A longer timeout, lower concurrency, "
            "or fewer new tokens.",
            "timeout",
        )

    def quote(self, words: str, longest: int = 200) -> str:
        """What a server said, as one line for a message of ours; servers echo keys, we do not."""
        # struck out before it is cut: a key that straddles the cut would otherwise show its first half
        for secret in self._secrets:
            words = words.replace(secret, "***")
        words = " ".join(words.split())
        return words if len(words) <= longest else words[: longest - 3] + "..."


def pause_before_retry(
    attempt: int, first: float, wait: float | None, jitter: Callable[[], float] = random.random
) -> float:
    """Seconds before the retry that follows attempt 1, 2, ...

    wait: what the server asked for. jitter (0..1) spreads flows that failed together, so that they do not come
    back together: half the pause at most, or up to `first` seconds more than the server asked for.
    """
    if wait is not None:
        return wait + first * jitter()
    return min(first * 2.0 ** (attempt - 1), MAX_PAUSE) * (1 - jitter() / 2)


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
