"""An OpenAI-compatible endpoint on loopback that misbehaves on order.

with FaultyServer(status(429), cut()) as server:     # two faults in turn, then proper answers
    OpenAIBackend(server.url)
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]
Fault = Callable[["Handler"], None]
Answer = Callable[[Json], "Json | Fault"]

MODELS = {"object": "list", "data": [{"id": "tiny", "object": "model", "owned_by": "vllm"}]}


class FaultyServer:
    """faults: done in turn to the first completions; then `answer` (payload -> reply, or a fault of its own) speaks.

    payloads, headers, paths: what the completions' requests held, in order of arrival. listed: how often
    /v1/models was asked. port: 0 for any that is free.
    """

    def __init__(self, *faults: Fault, answer: Answer | None = None, models: Any = MODELS, port: int = 0) -> None:
        self.faults = list(faults)
        self.answer = answer or (lambda payload: reply("yes"))
        self.models = models
        self.payloads: list[Json] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.listed = 0
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self._http = _Http(("127.0.0.1", port), Handler)
        self._http.owner = self
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS; before it is started."""
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.url = self.url.replace("http://", "https://")

    def __enter__(self) -> FaultyServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    owner: FaultyServer


class Handler(BaseHTTPRequestHandler):
    """One connection. `send` and the faults below are all it can do."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms apart otherwise
    server: _Http

    def do_GET(self) -> None:
        if not self.path.partition("?")[0].endswith("/models"):
            return self.send(404, "")
        with self.server.owner.lock:
            self.server.owner.listed += 1
        if self.server.owner.closing.is_set():  # a connection kept alive outlives its listener
            return drop(self)
        models = self.server.owner.models
        return models(self) if callable(models) else self.send(200, json.dumps(models))

    def do_POST(self) -> None:
        owner = self.server.owner
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with owner.lock:
            owner.payloads.append(payload)
            owner.headers.append(dict(self.headers))
            owner.paths.append(self.path)
            fault = owner.faults.pop(0) if owner.faults else None
        if not self.path.partition("?")[0].endswith("/chat/completions"):
            return self.send(404, "")
        said = fault or owner.answer(payload)
        return said(self) if callable(said) else self.send(200, json.dumps(said))

    def send(self, code: int, body: str | bytes, kind: str = "application/json", **headers: str) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Tests read outcomes, not logs."""


def reply(text: str | None, finish: str | None = "stop", usage: Json | None = None, **message: Any) -> Json:
    """A well-formed completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], "usage": usage}


def status(code: int, body: str = "", kind: str = "application/json", **headers: str) -> Fault:
    return lambda handler: handler.send(code, body, kind, **headers)


def says(body: Any, kind: str = "application/json") -> Fault:
    """HTTP 200 with this body, whatever it is."""
    return lambda handler: handler.send(200, body if isinstance(body, str | bytes) else json.dumps(body), kind)


def hang(seconds: float) -> Fault:
    """Silence; ends early when the test does."""

    def fault(handler: Handler) -> None:
        handler.server.owner.closing.wait(seconds)
        handler.close_connection = True

    return fault


def cut(after: float = 0.0) -> Fault:
    """Half a reply, silence for `after` seconds, then the line goes dead."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choices": [{"mess')
        handler.server.owner.closing.wait(after)
        handler.close_connection = True

    return fault


def drop(handler: Handler) -> None:
    """Not even a status line."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def trickle(seconds: float) -> Fault:
    """A byte now and then, for ever: no single read is late, the reply is."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not handler.server.owner.closing.wait(seconds):
            try:
                handler.wfile.write(b" ")
            except OSError:
                break
        handler.close_connection = True

    return fault


def stream(*events: Any, done: bool = True, pause: float = 0.0) -> Fault:
    """Server-sent events; without `done` the line goes dead after the last."""

    def fault(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.send_header("Connection", "close")
        handler.end_headers()
        for event in events:
            data = event if isinstance(event, str) else "data: " + json.dumps(event, ensure_ascii=False)
            handler.wfile.write(data.encode() + b"\r\n\r\n")
            handler.wfile.flush()
            handler.server.owner.closing.wait(pause)
        if done:
            handler.wfile.write(b"data: [DONE]\n\n")
        handler.close_connection = True

    return fault


def delta(finish: str | None = None, **said: Any) -> Json:
    """One event of a stream."""
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}
