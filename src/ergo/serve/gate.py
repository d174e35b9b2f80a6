"""The outermost layer: who may speak at all, a last boundary for exceptions, one line in the log for each request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ergo.serve.replies import Refused
from ergo.serve.settings import Settings

log = logging.getLogger(__name__)
access = logging.getLogger("ergo.access")

MAX_HEADERS, MAX_HEAD = 100, 32_768  # as many as Apache takes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Ended = Callable[[str, int, float], None]


class Gate:
    """An ASGI application around another. ended: called with path, status and seconds of each request."""

    def __init__(self, app: App, settings: Settings, ended: Ended) -> None:
        self._app, self._settings, self._ended = app, settings, ended

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _request(self, scope: Message, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            async with asyncio.timeout(self._settings.limits.idle_seconds):  # a reply that nobody reads
                await send(message)

        try:
            refusal = self._refusal(scope)
            await (refusal.response if refusal else self._app)(scope, receive, sent)
        except TimeoutError:
            log.info("a client did not read its reply")
            raise
        except Exception:  # the last boundary: a mistake of ours is a 500 in OpenAI's shape, and its traceback is kept
            log.exception("%s %s failed", scope["method"], scope["path"][:200])
            if not status:
                await Refused(500, "the server failed; its log says why", "server_error").response(scope, receive, sent)
        finally:
            seconds = time.perf_counter() - started
            status = scope.get("ergo.status", status)  # of a stream: how it ended
            self._ended(scope["path"], status, seconds)
            peer = (scope.get("client") or ("-",))[0]
            path = scope["path"][:200].encode("unicode_escape").decode()
            access.info("%s %s %s %s %.3f", peer, scope["method"], path, status, seconds)

    def _refusal(self, scope: Message) -> Refused | None:
        """Why this request goes no further; None where it may."""
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) for name, value in headers) > MAX_HEAD:
            return Refused(431, f"more than {MAX_HEADERS} headers, or {MAX_HEAD:,} bytes of them", connection="close")
        if scope["http_version"] not in ("1.0", "1.1"):
            return Refused(505, "HTTP/1.1 is spoken here", connection="close")
        names = [name for name, _ in headers]
        if b"content-length" in names and b"transfer-encoding" in names:
            return Refused(400, "a request has a content-length or a transfer-encoding, not both", connection="close")
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if self._settings.hosts and (len(hosts) != 1 or _name(hosts[0]) not in self._settings.hosts):
            return Refused(400, "this server is not called by that name (--served-as adds one)")
        return None


def _name(host: str) -> str:
    """A Host header without its port.

    >>> _name("Localhost:8000"), _name("[::1]:8000"), _name("::1")
    ('localhost', '[::1]', '::1')
    """
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() and (":" not in name or name.endswith("]")) else host).lower()
