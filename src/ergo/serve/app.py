"""Routes and limits. What a request means is in wire.py, how it is run in engine.py."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ergo.backends import Model
from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.flows import Answer, Flow, Question, start_flow
from ergo.core.messages import Request as ModelRequest
from ergo.core.messages import Sampling
from ergo.core.runner import Running, Trace, Turn
from ergo.families.base import ModelFamily
from ergo.images.picture import Picture
from ergo.serve.engine import Busy, Engine, Limits
from ergo.serve.pictures import Sources, open_picture
from ergo.serve.wire import (
    ChatRequest,
    Envelope,
    Query,
    answer_text,
    error_body,
    read_request,
    reasoning,
    region_box,
    summary,
    turn_summary,
    understood,
)

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
POLICY = "default-src 'none'; img-src blob: data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class Settings:
    """How a server is run.

    name: under which the model is listed. budget: vision tokens of each look unless the request says otherwise.
    max_budget, max_tokens, max_pictures, max_body: limits on what a request may ask for, the last in bytes.
    api_key: bearer key, None for none. hosts: names by which the server may be called; empty for any.
    origins: web pages elsewhere that may call it (CORS); none by default.
    """

    name: str = "ergo"
    budget: int | None = None
    max_budget: int = 16384
    max_tokens: int = 4096
    max_pictures: int = 16
    max_body: int = 64_000_000
    api_key: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sources: Sources = field(default_factory=Sources)


def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response


class Meters:
    """What /metrics shows; a registry of its own, so that two servers in one process do not mix."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        make = partial(Counter, registry=self.registry)
        self.requests = make("ergo_requests_total", "Chat requests by how they ended", ["status"])
        self.vision = make("ergo_vision_tokens_total", "Vision tokens shown to the model")
        self.direct = make("ergo_direct_vision_tokens_total", "Vision tokens that direct looks would have cost")
        self.written = make("ergo_generated_tokens_total", "Tokens written by the model")
        self.seconds = Histogram("ergo_request_seconds", "Wall seconds of a chat request", registry=self.registry)
        Gauge("ergo_under_way", "Questions under way", registry=self.registry).set_function(lambda: engine.in_progress)

    def ended(self, status: int, started: float) -> None:
        """A request that began at `started` (perf_counter) and is over."""
        self.requests.labels(str(status)).inc()
        self.seconds.observe(time.perf_counter() - started)

    def count(self, trace: Trace) -> None:
        """Tokens of a finished flow."""
        self.vision.inc(trace.vision_tokens)
        self.direct.inc(trace.direct_vision_tokens)
        self.written.inc(trace.generated_tokens)


class Refused(Exception):
    """A request that ends here, with what the client is told."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> None:
        super().__init__(message)
        self.response = JSONResponse(error_body(message, kind, str(status)), status, headers)


def make_app(model: Model, settings: Settings) -> FastAPI:
    """The server as an ASGI application."""
    engine = Engine(model.backend, settings.limits)
    server = Routes(model, settings, engine, Meters(engine))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(title="ergo", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refused, _refusal)
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["POST"],
            allow_headers=["authorization", "content-type"],
        )
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs")
    json_body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    errors: dict[int | str, dict[str, Any]] = {code: {} for code in (400, 401, 404, 408, 413, 415, 429, 502, 503, 504)}
    app.add_api_route("/", server.page, methods=["GET"], include_in_schema=False)
    app.add_api_route("/health", server.health, methods=["GET"])
    app.add_api_route(
        "/metrics", server.metrics, methods=["GET"], responses={401: {}}, response_class=PlainTextResponse
    )
    app.add_api_route("/v1/models", server.models, methods=["GET"], responses={401: {}})
    app.add_api_route("/v1/chat/completions", server.chat, methods=["POST"], openapi_extra=json_body, responses=errors)
    app.openapi().setdefault("components", {}).setdefault("schemas", {}).update(parts)
    return app


class Routes:
    """The routes."""

    def __init__(self, model: Model, settings: Settings, engine: Engine, meters: Meters) -> None:
        self.model = model
        self.settings = settings
        self.engine = engine
        self.meters = meters
        self._page = (files("ergo.serve") / "page.html").read_text(encoding="utf-8")

    async def page(self) -> HTMLResponse:
        headers = {
            "content-security-policy": POLICY,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        }
        return HTMLResponse(self._page, headers=headers)

    async def health(self) -> dict[str, Any]:
        return {"status": "ok", "model": self.settings.name, "under_way": self.engine.in_progress}

    async def metrics(self, request: Request) -> Response:
        self._let_in(request)
        return Response(generate_latest(self.meters.registry), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> dict[str, Any]:
        self._let_in(request)
        model = {"id": self.settings.name, "object": "model", "created": 0, "owned_by": "ergo", "root": self.model.name}
        return {"object": "list", "data": [model]}

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        started = time.perf_counter()
        try:
            self._let_in(request)
            body = await self._body(request)
            response = await self._answer(request, body, started)
        except Refused as refused:
            response = refused.response
        if not isinstance(response, StreamingResponse):  # a stream is counted when it has ended
            self.meters.ended(response.status_code, started)
        return response

    # ── who and how much ───────────────────────────────────────────────────────────────────────
    def _let_in(self, request: Request) -> None:
        if self.settings.api_key is None:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(key.strip().encode(), self.settings.api_key.encode())
        if scheme.lower() != "bearer" or not same:
            raise Refused(
                401, "the API key is missing or wrong", "authentication_error", **{"www-authenticate": "Bearer"}
            )

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than its limit. A page elsewhere cannot send this content type unasked."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "send application/json")
        declared = request.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > self.settings.max_body:
            raise self._too_much()
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.limits.deadline):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.settings.max_body:
                        raise self._too_much()
        except TimeoutError:
            raise Refused(408, "the body took too long to arrive") from None
        return bytes(body)

    def _too_much(self) -> Refused:
        return Refused(413, f"the body has more than {self.settings.max_body:,} bytes")

    # ── answering ──────────────────────────────────────────────────────────────────────────────
    async def _answer(self, request: Request, body: bytes, started: float) -> Response:
        try:
            chat = await asyncio.to_thread(read_request, body)
            if chat.model not in ("", self.settings.name):
                raise Refused(
                    404, f"no model is called {chat.model[:200]!r}; there is {self.settings.name}", "not_found_error"
                )
            asked = understood(chat, self.model.family, self.settings.max_pictures)
            make = self._flow(chat, asked)
        except UsageError as error:
            raise Refused(400, str(error)) from error
        envelope = Envelope.fresh(self.settings.name)
        if chat.stream:
            return await self._streamed(request, make, envelope, chat, started)
        trace = await self._until_gone(request, self._driven(make))
        self.meters.count(trace)
        return JSONResponse(envelope.completion(trace))

    def _flow(self, chat: ChatRequest, asked: Query) -> Callable[[], Flow]:
        """What starts the flow: in a worker's thread, since a picture is decoded there."""
        options = asked.options
        most = chat.max_completion_tokens or chat.max_tokens or self.settings.max_tokens
        stop = (chat.stop,) if isinstance(chat.stop, str) else tuple(chat.stop or ())
        sampling = Sampling(
            min(most, self.settings.max_tokens),
            chat.temperature or 0.0,
            chat.top_p or 1.0,
            chat.seed,
            tuple(filter(None, stop)),
        )
        budget = min(options.budget or self.settings.budget or self.model.family.budget, self.settings.max_budget)
        config = self.model.look_config(budget, sampling)
        region = region_box(options)
        chosen = asked.chosen
        if chosen is None:
            return partial(_passed_through, asked, sampling, self.model.family)
        question = Question(asked.question, tuple(options.options))

        def make() -> Flow:
            picture: Picture = open_picture(chosen, self.settings.sources)
            return start_flow(options.flow, picture, question, config, region)

        return make

    async def _driven(
        self, make: Callable[[], Flow], on_turn: Callable[[Turn, Running | Trace], None] | None = None
    ) -> Trace:
        """The trace of a flow that answered; Refused, with its status, where it did not."""
        try:
            trace = await self.engine.drive(make, on_turn)
        except Busy as busy:
            raise Refused(429, str(busy), "rate_limit_error", **{"retry-after": str(busy.retry_after)}) from busy
        except UsageError as error:
            raise Refused(400, str(error)) from error
        if trace.error is None:
            return trace
        raise Refused(_status(trace.error), str(trace.error), trace.error.kind)

    async def _until_gone(self, request: Request, work: Any) -> Trace:
        """The work's result; cancelled when the client leaves."""
        task = asyncio.ensure_future(work)
        gone = asyncio.create_task(_gone(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Refused(499, "the client left")
            result: Trace = task.result()
            return result
        finally:
            task.cancel()
            gone.cancel()

    async def _streamed(
        self, request: Request, make: Callable[[], Flow], envelope: Envelope, chat: ChatRequest, started: float
    ) -> Response:
        """Each turn as it ends. What goes wrong before the first turn still has its status."""
        news: asyncio.Queue[tuple[Turn, Running | Trace] | None] = asyncio.Queue()
        task = asyncio.create_task(self._driven(make, lambda *turn: news.put_nowait(turn)))
        task.add_done_callback(lambda _: news.put_nowait(None))
        try:
            first = await self._until_gone(request, news.get())
        except (Refused, asyncio.CancelledError):
            task.cancel()  # who leaves during the first look gets no second
            raise
        if first is None:
            await task  # Refused
        told = bool(chat.stream_options and chat.stream_options.include_usage)
        return StreamingResponse(
            self._events(task, news, first, envelope, told, started),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    async def _events(
        self, task: asyncio.Task[Trace], news: Any, first: Any, envelope: Envelope, told: bool, started: float
    ) -> AsyncIterator[str]:
        status = 499  # unless it comes to its end
        try:
            yield envelope.chunk({"role": "assistant", "content": ""})
            turn = first
            while turn is not None:
                text = reasoning(turn[0])
                if text:
                    yield envelope.chunk({"reasoning_content": text + "\n"}, ergo={"turn": _shown(*turn)})
                else:
                    yield envelope.chunk({}, ergo={"turn": _shown(*turn)})
                turn = await news.get()
            try:
                trace = await task
            except Refused as refused:
                status = refused.response.status_code
                yield f"data: {bytes(refused.response.body).decode()}\n\n"
                yield "data: [DONE]\n\n"
                return
            self.meters.count(trace)
            yield envelope.chunk({"content": answer_text(trace)})
            yield envelope.chunk({}, trace.turns[-1].finish, ergo=summary(trace))
            if told:
                yield envelope.last_chunk(trace)
            status = 200
            yield "data: [DONE]\n\n"
        finally:
            self.meters.ended(status, started)
            task.cancel()  # a client who leaves ends the flow between two looks


def _shown(turn: Turn, after: Running | Trace) -> dict[str, Any]:
    """A turn, and the region that the next look will be at, as soon as it is known."""
    views = after.request.views if isinstance(after, Running) else ()
    return turn_summary(turn) | {"next_region": list(views[-1].box.corners) if views else None}


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.2)


def _passed_through(asked: Query, sampling: Sampling, family: ModelFamily) -> Flow:
    """Text alone: one turn, the conversation as it is."""
    reply = yield ModelRequest(asked.chat, sampling)
    return Answer(*family.read_answer(reply.text))


def _status(error: BackendError | PictureError) -> int:
    if isinstance(error, PictureError):
        return 400
    return {"timeout": 504, "deadline": 504, "out_of_memory": 503}.get(error.kind, 502)
