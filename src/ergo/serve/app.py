"""Routes. What a request means is in chat.py, how it is answered in replies.py, how it is run in engine.py."""

from __future__ import annotations

import asyncio
import hmac
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from ergo.backends import Model
from ergo.core.errors import PictureError, UsageError
from ergo.core.flows import Flow, Question
from ergo.core.messages import Sampling
from ergo.core.runner import Trace, Turn
from ergo.images.picture import Picture
from ergo.serve.bodies import Bodies, Parsed
from ergo.serve.chat import ChatRequest, Query, read_query, read_request
from ergo.serve.engine import Busy, Endpoint, Engine, NotReady
from ergo.serve.flows import Held, passed_through, together
from ergo.serve.gate import Gate
from ergo.serve.meters import CHAT, RESPONSES, Meters
from ergo.serve.page import Page
from ergo.serve.pictures import DecodeMemory, EncodedPicture, open_picture, read_picture
from ergo.serve.replies import HEARTBEAT, ChatReply, Envelope, Json, Refused, Reply, refused
from ergo.serve.responses import ResponsesReply, ResponsesRequest, read_responses_request
from ergo.serve.settings import Settings
from ergo.serve.structured import FIELDS, AnswerFormat
from ergo.traces.flows import start_flow
from ergo.traces.run import Running

log = logging.getLogger(__name__)


class Server:
    """An ASGI application, and the engine behind it."""

    def __init__(self, open_model: Callable[[], Model], settings: Settings) -> None:
        self.engine = Engine(open_model, settings.limits)
        meters = Meters(self.engine)
        routes = Routes(settings, self.engine, meters)
        self.app = Gate(_application(routes, settings, self.engine), settings, meters.ended)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


def _application(routes: Routes, settings: Settings, engine: Engine) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with engine.running():
            yield

    app = FastAPI(title="ergo", version=version("ergo-vlm"), lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(Refused, _refusal)
    app.add_exception_handler(HTTPException, _http_error)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # browsers' OpenAI clients send a dozen x-stainless-... ones
        )
    codes = (400, 401, 404, 408, 413, 415, 429, 500, 502, 503, 504)
    errors: dict[int | str, dict[str, Any]] = {code: {} for code in codes}
    for path, route, extra in (
        ("/health", routes.health, {"responses": {503: {}}}),
        ("/metrics", routes.metrics, {"responses": {401: {}}, "response_class": PlainTextResponse}),
        ("/v1/models", routes.models, {"responses": {401: {}}}),
        ("/v1/models/{name:path}", routes.model, {"responses": {401: {}, 404: {}}}),
    ):
        app.add_api_route(path, route, methods=["GET"], **extra)
    app.add_api_route("/health", routes.health, methods=["HEAD"], include_in_schema=False)
    Page().add_to(app)
    parts: dict[str, Any] = {}
    for path, answer, kind in ((CHAT, routes.chat, ChatRequest), (RESPONSES, routes.responses, ResponsesRequest)):
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        parts |= schema.pop("$defs")
        body = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
        app.add_api_route(path, answer, methods=["POST"], openapi_extra=body, responses=errors)
    app.openapi().setdefault("components", {}).setdefault("schemas", {}).update(parts)
    return app


def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response


def _http_error(_: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    kind = "not_found_error" if error.status_code == 404 else "invalid_request_error"
    return Refused(error.status_code, str(error.detail), kind, **dict(error.headers or {})).response


class Routes:
    """The routes."""

    def __init__(self, settings: Settings, engine: Engine, meters: Meters) -> None:
        self.settings = settings
        self.engine = engine
        self.meters = meters
        self._bodies = Bodies(settings.limits)
        self._parsing = threading.Lock()  # one at a time: each megabyte parsed holds Python's lock
        self._memory = DecodeMemory(settings.limits.decode)

    async def health(self) -> Response:
        """200 while questions are answered; 503 with the reason while they are not."""
        engine = self.engine
        found = {"status": engine.status, "model": self.settings.name, "in_progress": engine.in_progress,
                 "crashes": engine.crashes, "restarts": engine.restarts}  # fmt: skip
        if engine.problem and not self.settings.api_key:  # it may name hosts behind the server
            found["problem"] = engine.problem
        return Json(found, 200 if engine.status == "ready" else 503)

    async def metrics(self, request: Request) -> Response:
        self._let_in(request)
        return Response(generate_latest(self.meters.registry), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        self._let_in(request)
        return Json({"object": "list", "data": [self._listed()]})

    async def model(self, request: Request, name: str) -> Response:
        self._let_in(request)
        self._check_model(name)
        return Json(self._listed())

    def _listed(self) -> dict[str, Any]:
        listed = {"id": self.settings.name, "object": "model", "created": 0, "owned_by": "ergo", "root": self._root()}
        knows = self.engine.model.family.knows if self.engine.status == "ready" else ""
        return listed | {"limits": self._limits(), "notice": knows}

    def _limits(self) -> dict[str, Any]:
        """What the page must know before it asks."""
        settings = self.settings
        budget = settings.budget or (self.engine.model.family.budget if self.engine.status == "ready" else 0)
        return {"budget": min(budget, settings.max_budget), "max_budget": settings.max_budget,
                "max_tokens": settings.max_tokens, "bytes": settings.limits.body,
                "fetches": bool(settings.sources.hosts)}  # fmt: skip

    def _root(self) -> str | None:
        """The model's own name; of one in a folder not where that lies."""
        try:
            name = self.engine.model.name
        except NotReady:
            return None
        return Path(name).name if Path(name).is_absolute() or name.startswith((".", "~")) else name

    def _check_model(self, name: str) -> None:
        if name not in ("", self.settings.name):
            raise Refused(404, f"no model is called {name[:200]!r}; there is {self.settings.name}", "not_found_error")

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

    # ── answering ──────────────────────────────────────────────────────────────────────────────
    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self._answer(request, read_request, _chat_reply)

    async def responses(self, request: Request) -> Response:
        """POST /v1/responses."""
        return await self._answer(request, read_responses_request, ResponsesReply.to)

    async def _answer(
        self,
        request: Request,
        read: Callable[[Parsed], ChatRequest],
        reply_to: Callable[[ChatRequest, Envelope], Reply],
    ) -> Response:
        ends = asyncio.get_running_loop().time() + self.settings.limits.deadline
        self._let_in(request)
        with ExitStack() as held:
            try:
                self.engine.model  # noqa: B018  before anything is read
                held.enter_context(self.engine.place())
                body = await self._bodies.read(request, held)
                chat, flow, envelope = await self.engine.in_thread(self._read, body, read, held)
            except Busy as busy:
                raise Refused(429, str(busy), "rate_limit_error", **{"retry-after": str(busy.retry_after)}) from busy
            except NotReady as error:
                raise Refused(503, str(error), "not_ready", **{"retry-after": "5"}) from error
            except PictureError as error:
                raise refused(error) from error
            except UsageError as error:
                raise Refused(400, str(error)) from error
            except RecursionError as error:
                raise Refused(400, "the body is nested too deeply") from error
            del body
            reply = reply_to(chat, envelope)
            if chat.stream:
                return Stream(self._events(flow, ends, reply, request.scope), held.pop_all())
            trace = await self._until_gone(request, self._driven(flow, ends))
            return Json(reply.whole(trace))

    def _read(
        self, body: bytearray, read: Callable[[Parsed], ChatRequest], held: ExitStack
    ) -> tuple[ChatRequest, Flow, Envelope]:
        """The question, as a flow that is ready to start. In a thread: megabytes are parsed here."""
        settings, model = self.settings, self.engine.model
        with self._parsing:
            parsed = Parsed(body, settings.limits)
            chat = read(parsed)
        self._check_model(chat.model)
        query = read_query(chat, model.family, settings.limits, parsed.names)
        form = query.form
        if form and form.for_the_model:
            self._check_form(form, query, model)
        flow = self._flow(chat, query, parsed, model, held)
        chat.messages.clear()  # the pictures asked about are held as bytes; the others are not needed
        options = tuple(query.options.options)
        return chat, flow, Envelope(settings.name, model.family, query.stop, query.pictures, form, options)

    def _check_form(self, form: AnswerFormat, query: Query, model: Model) -> None:
        """Raises UsageError where an answer cannot be held to this form."""
        if form.types is None and not isinstance(model.backend, Endpoint):
            raise UsageError(
                "response_format: this model cannot be held to that schema; "
                f"here it is an object of some of {', '.join(FIELDS)} (docs/serve.md)"
            )
        if form.types is None and query.options.flow == "as_needed":
            raise UsageError(
                "response_format: with ergo.flow as_needed no reply is known to be the last; leave one out"
            )

    def _flow(self, chat: ChatRequest, query: Query, parsed: Parsed, model: Model, held: ExitStack) -> Flow:
        settings, flow_name = self.settings, query.options.flow
        most = min(query.max_tokens or settings.max_tokens, settings.max_tokens)
        if flow_name == "as_needed":  # any reply may be a look
            most = max(most, settings.look_tokens)
        form = query.form.for_the_model if query.form and isinstance(model.backend, Endpoint) else ""
        sampling = Sampling(most, chat.temperature or 0.0, 1.0 if chat.top_p is None else chat.top_p, chat.seed)
        answer = Held(sampling, settings.look_tokens, form, query.form.schema if query.form and form else "")
        if not query.about:
            return answer.of(passed_through(query.chat, model.family, sampling))
        budget = min(query.options.budget or settings.budget or model.family.budget, settings.max_budget)
        pictures = [model.shown(self._picture(url, parsed, held)) for url in query.about]
        question = Question(query.question, tuple(query.options.options))
        config = model.look_config(budget, sampling)
        if len(pictures) > 1:
            return answer.of(together(pictures, question, config))
        one = start_flow(flow_name, pictures[0], question, config, query.region)
        return answer.of(model.family.careful(one))

    def _picture(self, url: str, parsed: Parsed, held: ExitStack) -> EncodedPicture | Picture:
        limits = self.settings.limits
        with nullcontext() if url.startswith("http") else self._parsing:  # one text of megabytes at a time
            file = read_picture(parsed.picture(url), self.settings.sources, limits)
        picture = open_picture(file, self._memory, time.monotonic() + limits.deadline, limits)
        if isinstance(picture, EncodedPicture):
            held.callback(picture.close)
        return picture

    async def _driven(
        self, flow: Flow, ends: float, on_turn: Callable[[Turn, Running | Trace], None] | None = None
    ) -> Trace:
        """The trace of a flow that answered; Refused, with its status, where it did not."""
        try:
            trace = await self.engine.drive(flow, ends, on_turn)
        except UsageError as error:
            raise Refused(400, str(error)) from error
        self.meters.count(trace)
        if trace.error is None:
            return trace
        raise refused(trace.error)

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

    async def _events(self, flow: Flow, ends: float, reply: Reply, scope: Any) -> AsyncIterator[str]:
        """The first byte at once, each turn as it ends, a sign of life while nothing does, then the answer."""
        scope["ergo.status"] = 499  # unless it comes to its end
        turns: asyncio.Queue[tuple[Turn, Running | Trace] | None] = asyncio.Queue()
        task = asyncio.create_task(self._driven(flow, ends, lambda *turn: turns.put_nowait(turn)))
        task.add_done_callback(lambda _: turns.put_nowait(None))
        try:
            yield reply.begins()
            while True:
                try:
                    async with asyncio.timeout(self.settings.limits.heartbeat):
                        turn = await turns.get()
                except TimeoutError:
                    yield HEARTBEAT
                    continue
                if turn is None:
                    break
                yield reply.looked(*turn)
            try:
                last = reply.ends(await task)
                scope["ergo.status"] = 200
            except Refused as refusal:
                last = reply.failed(refusal)
                scope["ergo.status"] = refusal.status
            yield last
        finally:
            task.cancel()  # a client who leaves ends the flow


class Stream(StreamingResponse):
    """Server-sent events; what the request holds is given back when it is over, however that comes about."""

    def __init__(self, events: AsyncIterator[str], held: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers.update({"cache-control": "no-store", "x-accel-buffering": "no"})  # nginx passes events on at once
        self._events, self._held = events, held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._events.aclose()  # type: ignore[attr-defined]


def _chat_reply(chat: ChatRequest, envelope: Envelope) -> ChatReply:
    return ChatReply(envelope, bool(chat.stream_options and chat.stream_options.include_usage))


async def _gone(request: Request) -> None:
    """Returns when the client has left."""
    while not await request.is_disconnected():
        await asyncio.sleep(0.2)
