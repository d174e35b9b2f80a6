"""OpenAI's Responses API beside chat completions: its request read as a chat request, its reply and events written.

Nothing is kept between requests, so whatever names an earlier one is refused by its name. A client that sends the
whole conversation, earlier output items among it, is understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pydantic import Field

from ergo.core.errors import UsageError
from ergo.core.runner import Trace, Turn
from ergo.serve.bodies import Parsed
from ergo.serve.chat import (
    HARMLESS,
    NEUTRAL,
    ChatMessage,
    ChatRequest,
    ErgoOptions,
    ImageUrl,
    Open,
    Part,
    check_detail,
    refuse,
    validated,
)
from ergo.serve.replies import Envelope, Refused, event, look, usage
from ergo.serve.structured import AnswerFormat
from ergo.traces.run import Running

NEUTRAL_HERE: Mapping[str, tuple[object, ...]] = {
    **NEUTRAL,
    "background": (False,),
    "truncation": ("disabled", "auto"),
    "max_tool_calls": (0,),
    "include": (["reasoning.encrypted_content"],),
    "reasoning": ({"summary": "auto"}, {"summary": "detailed"}, {"summary": "concise"}),
}
"""Fields that are not honoured, and the values at which that makes no difference."""

ITEM_HARMLESS = frozenset(("id", "status", "phase"))
PART_HARMLESS = frozenset(("annotations", "logprobs"))


class InputPart(Open):
    """One part of a message: input_text, input_image, or an earlier output_text or refusal."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None


class InputItem(Open):
    """A message, or an item of an earlier reply; its reasoning is not asked about again."""

    type: str = "message"
    role: str | None = None
    content: str | list[InputPart] | None = None


class TextFormat(Open):
    """format: {"type": "text"}, {"type": "json_object"}, or a json_schema with its name and schema beside the type."""

    format: dict[str, Any] | None = None


class ResponsesRequest(Open):
    """The body of POST /v1/responses."""

    model: str = ""
    input: str | list[InputItem]
    instructions: str | None = None
    stream: bool = False
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    text: TextFormat | None = None
    ergo: ErgoOptions | None = None


def read_responses_request(body: Parsed) -> ChatRequest:
    """The request in a body, as chat completions would have it; UsageError where it asks for what is not honoured."""
    request = validated(ResponsesRequest, body.value)
    refuse(request.model_extra or {}, HARMLESS, NEUTRAL_HERE, "")
    text = request.text or TextFormat()
    refuse(text.model_extra or {}, frozenset(), {"verbosity": ("medium",)}, "text.")
    items = [InputItem(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    messages = [ChatMessage(role="system", content=request.instructions)] if request.instructions else []
    for place, item in enumerate(items):
        if item.type != "reasoning":
            messages.append(_message(item, f"input.{place}"))
    if not messages:
        raise UsageError("input is empty")
    return ChatRequest(
        model=request.model,
        messages=messages,
        stream=request.stream,
        max_tokens=request.max_output_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        response_format=_format(text.format),
        ergo=request.ergo,
    )


def _message(item: InputItem, at: str) -> ChatMessage:
    if item.type != "message":
        raise UsageError(f"{at}: items of type {item.type[:50]!r} are not honoured here; there are messages")
    if item.role not in ("system", "developer", "user", "assistant"):
        raise UsageError(f"{at}.role: {str(item.role)[:50]!r} is not honoured here")
    refuse(item.model_extra or {}, ITEM_HARMLESS, {}, f"{at}.")
    if not isinstance(item.content, list):
        return ChatMessage(role=item.role, content=item.content)
    parts = [_part(part, f"{at}.content.{number}") for number, part in enumerate(item.content)]
    return ChatMessage(role=item.role, content=parts)


def _part(part: InputPart, at: str) -> Part:
    if part.type not in ("input_text", "output_text", "text", "refusal", "input_image"):
        raise UsageError(
            f"{at}: parts of type {part.type[:50]!r} are not honoured here; there are input_text and input_image"
        )
    if part.type == "input_image":
        if part.image_url is None:
            raise UsageError(f"{at}: an input_image needs image_url: a file_id names a file kept elsewhere")
        check_detail(part.detail, f"{at}.detail")
        made = Part(type="image_url", image_url=ImageUrl(url=part.image_url))
    else:
        said = part.refusal if part.type == "refusal" else part.text
        if said is None:
            raise UsageError(f"{at}: a part of type {part.type} needs its text")
        made = Part(type="text", text=said)
    refuse(part.model_extra or {}, PART_HARMLESS, {}, f"{at}.")
    return made


def _format(value: dict[str, Any] | None) -> dict[str, Any] | None:
    """text.format as response_format: the same, one level flatter."""
    if value is None or value.get("type") != "json_schema":
        AnswerFormat.read(value, "text.format")
        return value
    flat = {"type": "json_schema", "json_schema": {name: one for name, one in value.items() if name != "type"}}
    AnswerFormat.read(flat, "text.format")
    return flat


# ── the reply ──────────────────────────────────────────────────────────────────────────────────


@dataclass
class ResponsesReply:
    """A reply to POST /v1/responses. asked: what of the request stands in the reply again."""

    envelope: Envelope
    asked: Mapping[str, Any]
    _numbers: count[int] = field(default_factory=count)
    _thoughts: list[str] = field(default_factory=list)

    @classmethod
    def to(cls, chat: ChatRequest, envelope: Envelope) -> ResponsesReply:
        flat = dict(chat.response_format or {"type": "text"})
        form = flat | flat.pop("json_schema", {})
        asked = {"max_output_tokens": chat.max_tokens, "temperature": chat.temperature, "top_p": chat.top_p,
                 "text": {"format": {name: one for name, one in form.items() if name != "json_schema"}}}  # fmt: skip
        return cls(envelope, asked)

    def whole(self, trace: Trace) -> dict[str, Any]:
        said = self.envelope.answer(trace)
        thoughts = [thought for turn in trace.turns if (thought := self.envelope.reasoning(turn))]
        part = _part_of(said.text, said.refused)
        output = [*([self._reasoning(thoughts)] if thoughts else []), self._answer([part], "completed")]
        cut = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.finish)
        return self._response(
            "incomplete" if cut else "completed",
            output=output,
            usage=_usage(trace),
            incomplete_details={"reason": cut} if cut else None,
            ergo=self.envelope.summary(trace),
        )

    def begins(self) -> str:
        started = self._response("in_progress", output=[], usage=None)
        return self._event("response.created", response=started) + self._event("response.in_progress", response=started)

    def looked(self, turn: Turn, after: Running | Trace) -> str:
        """A look that ended: its reasoning as a part of the summary, and what was seen as `ergo`."""
        thought, at = self.envelope.reasoning(turn), {"item_id": self._id("rs"), "output_index": 0}
        seen = self._event("response.in_progress", response=self._response("in_progress", output=[], usage=None)
                           | {"ergo": look(turn, after)})  # fmt: skip
        if not thought:
            return seen
        number, events = len(self._thoughts), [seen]
        self._thoughts.append(thought)
        if number == 0:
            events.append(self._event("response.output_item.added", output_index=0, item=self._reasoning([])))
        at |= {"summary_index": number}
        name = "response.reasoning_summary"
        events += [
            self._event(f"{name}_part.added", **at, part={"type": "summary_text", "text": ""}),
            self._event(f"{name}_text.delta", **at, delta=thought),
            self._event(f"{name}_text.done", **at, text=thought),
            self._event(f"{name}_part.done", **at, part={"type": "summary_text", "text": thought}),
        ]
        return "".join(events)

    def ends(self, trace: Trace) -> str:
        whole, thoughts = self.whole(trace), self._thoughts
        answer, index, events = whole["output"][-1], 1 if thoughts else 0, []
        if thoughts:
            events.append(self._event("response.output_item.done", output_index=0, item=self._reasoning(thoughts)))
        [part] = answer["content"]
        refused = part["type"] == "refusal"
        kind, text = ("refusal", part["refusal"]) if refused else ("output_text", part["text"])
        at = {"item_id": answer["id"], "output_index": index, "content_index": 0}
        marks: dict[str, Any] = {} if refused else {"logprobs": []}
        events += [
            self._event("response.output_item.added", output_index=index, item=self._answer([], "in_progress")),
            self._event("response.content_part.added", **at, part=_part_of("", refused)),
            self._event(f"response.{kind}.delta", **at, delta=text, **marks),
            self._event(f"response.{kind}.done", **at, **{"refusal" if refused else "text": text}, **marks),
            self._event("response.content_part.done", **at, part=part),
            self._event("response.output_item.done", output_index=index, item=answer),
            self._event(f"response.{whole['status']}", response=whole),
        ]
        return "".join(events)

    def failed(self, refusal: Refused) -> str:
        error = refusal.body["error"]
        gone = {"code": error["type"], "message": error["message"]}
        return self._event("error", **gone, param=None, error=error) + self._event(
            "response.failed", response=self._response("failed", output=[], usage=None, error=gone)
        )

    def _event(self, name: str, **fields: Any) -> str:
        return event({"type": name, "sequence_number": next(self._numbers), **fields}, name)

    def _id(self, kind: str) -> str:
        return f"{kind}_{self.envelope.id}"

    def _reasoning(self, thoughts: list[str]) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": thought} for thought in thoughts]
        return {"id": self._id("rs"), "type": "reasoning", "summary": summary, "status": "completed"}

    def _answer(self, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
        return {"id": self._id("msg"), "type": "message", "status": status, "role": "assistant", "content": parts}

    def _response(self, status: str, **fields: Any) -> dict[str, Any]:
        one = self.envelope
        return {
            "id": self._id("resp"), "object": "response", "created_at": one.created, "status": status, "model": one.model,
            "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "previous_response_id": None,
            "parallel_tool_calls": False, "tool_choice": "none", "tools": [], "store": False, "truncation": "disabled",
            "reasoning": {"effort": None, "summary": None}, **self.asked, **fields,
        }  # fmt: skip


def _part_of(text: str, refused: bool) -> dict[str, Any]:
    if refused:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(trace: Trace) -> dict[str, Any]:
    spent = usage(trace)
    return {
        "input_tokens": spent["prompt_tokens"],
        "input_tokens_details": spent["prompt_tokens_details"],
        "output_tokens": spent["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": spent["total_tokens"],
    }
