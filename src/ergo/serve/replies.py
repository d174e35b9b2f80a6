"""Traces and failures in OpenAI's words: the whole reply, the chunks of a stream, errors."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.responses import Response

from ergo.core.errors import BackendError, PictureError
from ergo.core.runner import Trace, Turn
from ergo.families.base import ModelFamily
from ergo.serve.structured import AnswerFormat, Unfit
from ergo.traces.rows import trace_to_dict, turn_to_dict
from ergo.traces.run import Running


class Json(Response):
    """JSON in ASCII: a model may write half a surrogate pair, which has no UTF-8."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


class Refused(Exception):
    """A request that ends here, with the reply that says why."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.body = error_body(message, kind, str(status))

    @property
    def response(self) -> Response:
        return Json(self.body, self.status, self.headers)


def refused(error: BackendError | PictureError) -> Refused:
    """The status that a failed question has: 400 for what would fail again, which clients do not repeat."""
    if isinstance(error, PictureError):
        busy = error.kind == "busy"
        return (
            Refused(503, str(error), "busy", **{"retry-after": "5"}) if busy else Refused(400, str(error), error.kind)
        )
    status = {"timeout": 504, "deadline": 504, "out_of_memory": 503, "crashed": 500, "context_length": 400,
              "content_filter": 400, "http_400": 400, "http_422": 400, "http_429": 429}.get(error.kind, 502)  # fmt: skip
    return Refused(status, str(error), error.kind)


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": " ".join(message.split()), "type": kind, "param": None, "code": code}}


@dataclass(frozen=True)
class Said:
    """The final answer. finish: stop, length, or content_filter, where the provider refused; then text says why."""

    text: str
    finish: str

    @property
    def refused(self) -> bool:
        return self.finish == "content_filter"


@dataclass(frozen=True)
class Envelope:
    """What all parts of one reply share, whatever the protocol. stop: what ends the answer's text.

    pictures: of the conversation. form: the answer's, None for text. options: those of the question.
    """

    model: str
    family: ModelFamily
    stop: tuple[str, ...] = ()
    pictures: int = 0
    form: AnswerFormat | None = None
    options: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    def answer(self, trace: Trace) -> Said:
        """The answer alone: in its form, or up to the first of the client's stops. Raises Refused where it has none."""
        text, finish = trace.answer.text if trace.answer else "", trace.turns[-1].finish
        if finish == "refusal":
            return Said(text, "content_filter")
        if self.form is not None:
            try:
                return Said(self.form.write(trace, self.options), finish)
            except Unfit as unfit:
                raise Refused(422, str(unfit), "unfit_answer") from unfit
        ends = [place for one in self.stop if (place := text.find(one)) >= 0]
        return Said(text[: min(ends)], "stop") if ends else Said(text, finish)

    def reasoning(self, turn: Turn) -> str:
        """The reasoning of a reply, without its tags."""
        return self.family.read_thought(turn.text).strip()

    def summary(self, trace: Trace) -> dict[str, Any]:
        """The `ergo` field: the Trace as `ergo.traces` writes it."""
        return trace_to_dict(trace) | {"pictures": self.pictures}


class Reply(Protocol):
    """One reply in a protocol's own words, whole or as the events of a stream."""

    def whole(self, trace: Trace) -> dict[str, Any]: ...
    def begins(self) -> str: ...
    def looked(self, turn: Turn, after: Running | Trace) -> str: ...
    def ends(self, trace: Trace) -> str: ...
    def failed(self, refusal: Refused) -> str: ...


@dataclass(frozen=True)
class ChatReply:
    """A reply to POST /v1/chat/completions. include_usage: as a last chunk."""

    envelope: Envelope
    include_usage: bool = False

    def whole(self, trace: Trace) -> dict[str, Any]:
        said = self.envelope.answer(trace)
        reasoning = "\n".join(filter(None, map(self.envelope.reasoning, trace.turns)))
        message = {"role": "assistant", **_content(said), "reasoning_content": reasoning or None}
        choice = {"index": 0, "message": message, "finish_reason": said.finish, "logprobs": None}
        return self._with("chat.completion", choices=[choice], usage=usage(trace), ergo=self.envelope.summary(trace))

    def begins(self) -> str:
        return self._chunk({"role": "assistant", "content": ""})

    def looked(self, turn: Turn, after: Running | Trace) -> str:
        """A turn that ended, and the region that the next look will be at, as soon as it is known."""
        thought = self.envelope.reasoning(turn)
        return self._chunk({"reasoning_content": f"{thought}\n"} if thought else {}, ergo=look(turn, after))

    def ends(self, trace: Trace) -> str:
        """The answer, why it ended, what it cost."""
        said, summary = self.envelope.answer(trace), self.envelope.summary(trace)
        chunks = [self._chunk(_content(said)), self._chunk({}, said.finish, ergo=summary)]
        if self.include_usage:
            chunks.append(event(self._with("chat.completion.chunk", choices=[], usage=usage(trace))))
        return "".join([*chunks, DONE])

    def failed(self, refusal: Refused) -> str:
        return event(refusal.body) + DONE

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event(self._with("chat.completion.chunk", choices=[choice], **more))

    def _with(self, kind: str, **fields: Any) -> dict[str, Any]:
        one = self.envelope
        return {"id": f"chatcmpl-{one.id}", "object": kind, "created": one.created, "model": one.model, **fields}


def _content(said: Said) -> dict[str, Any]:
    return {"content": None, "refusal": said.text} if said.refused else {"content": said.text, "refusal": None}


def look(turn: Turn, after: Running | Trace) -> dict[str, Any]:
    """The `ergo` field of a look that ended."""
    views = after.request.views if isinstance(after, Running) else ()
    return {"turn": turn_to_dict(turn) | {"next_region": list(views[-1].box.corners) if views else None}}


DONE = "data: [DONE]\n\n"
HEARTBEAT = ": still looking\n\n"
"""A comment, which clients pass over and proxies take for life."""


def event(content: Mapping[str, Any], name: str = "") -> str:
    """A server-sent event."""
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(content)}\n\n"


def usage(trace: Trace) -> dict[str, Any]:
    """Summed over the turns: what an OpenAI client would be charged for."""
    usages = [turn.usage for turn in trace.turns]
    prompt = sum(one.prompt_tokens or 0 for one in usages)
    generated = sum(one.generated_tokens or 0 for one in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(one.cached_tokens or 0 for one in usages)},
    }
