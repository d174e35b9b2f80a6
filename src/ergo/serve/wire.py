"""OpenAI's chat completions, read and generated.

Which picture a question is about: the latest one in the conversation, unless `ergo.picture` counts another
(0 is the first). The question: the text of the last user message; earlier exchanges go before it as text, for models
that can take them. A conversation without a picture is passed through in one turn.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ergo.core.errors import UsageError
from ergo.core.geometry import Box
from ergo.core.messages import Message, Role
from ergo.core.runner import Trace, Turn
from ergo.families.base import ModelFamily
from ergo.traces.rows import trace_to_dict

MAX_MESSAGES = 500
MAX_TEXT = 100_000


class Open(BaseModel):
    """Unknown fields are tolerated: clients send many."""

    model_config = ConfigDict(extra="allow")


class ImageUrl(Open):
    """A data: URI, or an address on an allowed host."""

    url: str


class Part(Open):
    """One part of a message."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None


class ChatMessage(Open):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class StreamOptions(Open):
    """As OpenAI has them."""

    include_usage: bool = False


class ErgoOptions(BaseModel):
    """What OpenAI has no name for.

    options: answers to choose from. budget: most vision tokens of each look. region: [left, top, right, bottom] in pixels of
    the upright picture, for crop_only. picture: which picture of the conversation, from 0.
    """

    model_config = ConfigDict(extra="forbid")
    options: list[str] = Field(default_factory=list, max_length=26)
    budget: int | None = Field(default=None, ge=1)
    flow: Literal["coarse_to_fine", "one_look", "crop_only"] = "coarse_to_fine"
    region: tuple[int, int, int, int] | None = None
    picture: int | None = Field(default=None, ge=0)


class ChatRequest(Open):
    """The body of POST /v1/chat/completions."""

    model: str = ""
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    ergo: ErgoOptions | None = None


@dataclass(frozen=True)
class Query:
    """A question about one of the pictures of a conversation. pictures: all addresses, in order; chosen: the one it is about, None for text alone.

    chat: the conversation as text, for passing through.
    """

    question: str
    pictures: tuple[str, ...]
    chosen: str | None
    chat: tuple[Message, ...]
    options: ErgoOptions


def read_request(body: bytes) -> ChatRequest:
    """The request in `body`; UsageError in one line where it is not one."""
    try:
        return ChatRequest.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc'])) or 'body'}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not JSON") from error


def read_query(request: ChatRequest, family: ModelFamily, max_pictures: int) -> Query:
    """What the conversation asks, about which of its pictures."""
    options = request.ergo or ErgoOptions()
    pictures = [url for message in request.messages for url in _pictures(message)]
    if len(pictures) > max_pictures:
        raise UsageError(f"the conversation holds {len(pictures)} pictures, at most {max_pictures} are taken")
    texts = [(message.role, _text(message)) for message in request.messages]
    if sum(len(text) for _, text in texts) > MAX_TEXT:
        raise UsageError(f"the conversation holds more than {MAX_TEXT:,} characters")
    places = [place for place, (role, _) in enumerate(texts) if role == "user"]
    if not places or not texts[places[-1]][1].strip():
        raise UsageError("the last user message asks nothing: it needs text")
    if options.picture is not None and options.picture >= len(pictures):
        raise UsageError(f"ergo.picture counts from 0; the conversation holds {len(pictures)}")
    if options.flow == "crop_only" and options.region is None:
        raise UsageError("crop_only needs ergo.region")
    question = texts[places[-1]][1].strip()
    earlier = [
        f"{role}: {text.strip()}"
        for role, text in texts[: places[-1]]
        if role in ("user", "assistant") and text.strip()
    ]
    if earlier:
        question = family.prompts.earlier.format(earlier="\n".join(earlier), question=question)
    chosen = pictures[options.picture if options.picture is not None else -1] if pictures else None
    chat = tuple(Message(_role(role), (text,)) for role, text in texts if text)
    return Query(question, tuple(pictures), chosen, chat, options)


def _role(role: str) -> Role:
    return "system" if role in ("system", "developer") else "assistant" if role == "assistant" else "user"


def _pictures(message: ChatMessage) -> Iterator[str]:
    for part in message.content if isinstance(message.content, list) else ():
        if part.type in ("image_url", "input_image"):
            if part.image_url is None:
                raise UsageError("an image_url part needs image_url.url")
            yield part.image_url if isinstance(part.image_url, str) else part.image_url.url


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if part.text)
    return message.content or ""


# ── replies ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Envelope:
    """What all parts of one reply share."""

    model: str
    id: str
    created: int

    @classmethod
    def fresh(cls, model: str) -> Envelope:
        return cls(model, f"chatcmpl-{uuid.uuid4().hex}", int(time.time()))

    def completion(self, trace: Trace) -> dict[str, Any]:
        """The whole reply of a flow that answered."""
        message = {
            "role": "assistant",
            "content": answer_text(trace),
            "reasoning_content": "\n".join(map(reasoning, trace.turns)),
        }
        choice = {"index": 0, "message": message, "finish_reason": trace.turns[-1].finish, "logprobs": None}
        return self._with("chat.completion", choices=[choice], usage=usage(trace), ergo=trace_to_dict(trace))

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        """One server-sent event."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return event(self._with("chat.completion.chunk", choices=[choice], **more))

    def last_chunk(self, trace: Trace) -> str:
        """The usage, after everything else."""
        return event(self._with("chat.completion.chunk", choices=[], usage=usage(trace)))

    def _with(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, **fields}


def event(content: Mapping[str, Any]) -> str:
    """A server-sent event."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def answer_text(trace: Trace) -> str:
    """The answer alone."""
    return trace.answer.text if trace.answer else ""


def reasoning(turn: Turn) -> str:
    """A reply as its model wrote it, without the tags of the answer."""
    return turn.text.partition("<answer>")[0].strip()


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


def region_box(options: ErgoOptions) -> Box | None:
    """The region a client drew; UsageError where it is none."""
    if options.region is None:
        return None
    try:
        return Box(*options.region)
    except ValueError as error:
        raise UsageError(f"ergo.region: {error}") from error


def error_body(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}
