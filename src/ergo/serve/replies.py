"""Traces and failures in OpenAI's words: the whole reply, the chunks of a stream, errors."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from ergo.core.errors import BackendError, PictureError
from ergo.core.runner import Trace, Turn
from ergo.families.base import ModelFamily
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
    """The status that a failed question has."""
    if isinstance(error, PictureError):
        busy = error.kind == "busy"
        return (
            Refused(503, str(error), "busy", **{"retry-after": "5"}) if busy else Refused(400, str(error), error.kind)
        )
    status = {"timeout": 504, "deadline": 504, "out_of_memory": 503, "crashed": 500, "context_length": 400}.get(
        error.kind, 502
    )
    return Refused(status, str(error), error.kind)


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": " ".join(message.split()), "type": kind, "param": None, "code": code}}


@dataclass(frozen=True)
class Envelope:
    """What all parts of one reply share. stop: what ends the answer's text. pictures: of the conversation."""

    model: str
    family: ModelFamily
    stop: tuple[str, ...]
    pictures: int
    id: str
    created: int

    @classmethod
    def fresh(cls, model: str, family: ModelFamily, stop: Sequence[str], pictures: int) -> Envelope:
        return cls(model, family, tuple(stop), pictures, f"chatcmpl-{uuid.uuid4().hex}", int(time.time()))

    def completion(self, trace: Trace) -> dict[str, Any]:
        """The whole reply of a flow that answered."""
        text, finish = self.answer(trace)
        reasoning = "\n".join(filter(None, (self.reasoning(turn) for turn in trace.turns)))
        message = {"role": "assistant", "content": text, "refusal": None, "reasoning_content": reasoning or None}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return self._with("chat.completion", choices=[choice], usage=usage(trace), ergo=self.summary(trace))

    def answer(self, trace: Trace) -> tuple[str, str]:
        """The answer alone, up to the first of the client's stops, and why it ended."""
        text = trace.answer.text if trace.answer else ""
        ends = [place for one in self.stop if (place := text.find(one)) >= 0]
        return (text[: min(ends)], "stop") if ends else (text, trace.turns[-1].finish)

    def reasoning(self, turn: Turn) -> str:
        """The reasoning of a reply, without its tags."""
        return self.family.read_thought(turn.text).strip()

    def summary(self, trace: Trace) -> dict[str, Any]:
        """The `ergo` field: the Trace as `ergo.traces` writes it."""
        return trace_to_dict(trace) | {"pictures": self.pictures}

    # ── a stream ───────────────────────────────────────────────────────────────────────────────
    def begins(self) -> str:
        return self._chunk({"role": "assistant", "content": ""})

    def looked(self, turn: Turn, after: Running | Trace) -> str:
        """A turn that ended, and the region that the next look will be at, as soon as it is known."""
        views = after.request.views if isinstance(after, Running) else ()
        shown = turn_to_dict(turn) | {"next_region": list(views[-1].box.corners) if views else None}
        thought = self.reasoning(turn)
        return self._chunk({"reasoning_content": f"{thought}\n"} if thought else {}, ergo={"turn": shown})

    def ends(self, trace: Trace, include_usage: bool) -> str:
        """The answer, why it ended, what it cost."""
        text, finish = self.answer(trace)
        chunks = [self._chunk({"content": text}), self._chunk({}, finish, ergo=self.summary(trace))]
        if include_usage:
            chunks.append(event(self._with("chat.completion.chunk", choices=[], usage=usage(trace))))
        return "".join(chunks)

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event(self._with("chat.completion.chunk", choices=[choice], **more))

    def _with(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}


DONE = "data: [DONE]\n\n"
HEARTBEAT = ": still looking\n\n"
"""A comment, which clients pass over and proxies take for life."""


def event(content: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content)}\n\n"


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
