"""A chat request, read: what it asks about which of its pictures, or the name of what cannot be honoured.

The picture is the latest one of the conversation, unless `ergo.picture` counts another (0 is the first); a message
that holds several must say which. The question is the text of the last user message; earlier exchanges go before it
as text, for models that can take them. A conversation without a picture is passed through in one turn.

Nothing is dropped in silence: a field, part or role that is not honoured is refused by its name. What changes no
answer (`user`, `metadata`) and what has its neutral value (`n` 1, `tools` empty) is let pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ergo.core.errors import UsageError
from ergo.core.geometry import Box
from ergo.core.messages import Message, Role, whole_text
from ergo.families.base import ModelFamily
from ergo.serve.settings import Limits

HARMLESS = frozenset(
    ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
     "parallel_tool_calls", "chat_id", "session_id", "id")
)  # fmt: skip
"""Fields that change no answer."""

NEUTRAL: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are not honoured, and the values at which that makes no difference; None, [] and {} always make none."""

MESSAGE_HARMLESS = frozenset(
    ("name", "id", "reasoning_content", "reasoning", "provider_specific_fields", "cache_control")
)


class Open(BaseModel):
    """Unknown fields are kept, for `_refuse` to name them."""

    model_config = ConfigDict(extra="allow")


class ImageUrl(Open):
    """A data: URI, or an address on an allowed host. detail: looking closely is what this server does."""

    url: str
    detail: str | None = None


class Part(Open):
    """One part of a message."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None


class ChatMessage(Open):
    """One message of the conversation."""

    role: str
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
    flow: Literal["coarse_to_fine", "one_look", "crop_only", "as_needed"] = "coarse_to_fine"
    region: tuple[int, int, int, int] | None = None
    picture: int | None = Field(default=None, ge=0)


class ChatRequest(Open):
    """The body of POST /v1/chat/completions."""

    model: str = ""
    messages: list[ChatMessage] = Field(min_length=1)
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
    """A question about one of the pictures of a conversation.

    picture: the address of the one it is about, None for text alone. pictures: how many there are.
    chat: the conversation as text, for passing through. max_tokens, stop: of the final answer.
    """

    question: str
    picture: str | None
    pictures: int
    chat: tuple[Message, ...]
    options: ErgoOptions
    region: Box | None
    max_tokens: int | None
    stop: tuple[str, ...]


def read_request(body: bytes, limits: Limits) -> ChatRequest:
    """The request in `body`; UsageError in one line where it is none, or asks for what is not honoured.

    JSON's own signs are counted before it is parsed: 60 MB of small objects would be gigabytes of Python ones.
    """
    if sum(body.count(sign) for sign in (b"{", b"[", b",")) > limits.values:
        raise UsageError(f"the body holds more than {limits.values:,} JSON values")
    try:
        request = ChatRequest.model_validate(json.loads(body))
    except ValidationError as error:
        deepest = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        raise UsageError(f"{'.'.join(map(str, deepest['loc'])) or 'body'}: {deepest['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is not JSON") from error
    _refuse(request.model_extra or {}, HARMLESS, NEUTRAL, "")
    for place, message in enumerate(request.messages):
        here = f"messages.{place}"
        if message.role not in ("system", "developer", "user", "assistant"):
            raise UsageError(f"{here}.role: {message.role[:50]!r} is not honoured here; there are no tools")
        _refuse(message.model_extra or {}, MESSAGE_HARMLESS, {}, f"{here}.")
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            _check_part(part, f"{here}.content.{number}")
    return request


def _refuse(
    extra: Mapping[str, Any], harmless: frozenset[str], neutral: Mapping[str, tuple[object, ...]], at: str
) -> None:
    for name, value in extra.items():
        empty = value is None or value == [] or value == {}
        if not (empty or name in harmless or any(value == one for one in neutral.get(name, ()))):
            raise UsageError(f"{at}{name[:100]} is not honoured here; leave it out")


def _check_part(part: Part, at: str) -> None:
    if part.type == "text":
        if part.text is None:
            raise UsageError(f"{at}: a text part needs text")
    elif part.type == "image_url":
        if part.image_url is None:
            raise UsageError(f"{at}: an image_url part needs image_url.url")
        detail = part.image_url.detail if isinstance(part.image_url, ImageUrl) else None
        if detail not in (None, "auto", "high"):
            raise UsageError(
                f"{at}.image_url.detail: {detail[:50]!r} is not honoured here; ergo.budget says how closely"
            )
    else:
        raise UsageError(f"{at}: parts of type {part.type[:50]!r} are not honoured here; there are text and image_url")


def read_query(request: ChatRequest, family: ModelFamily, limits: Limits) -> Query:
    """What the conversation asks, about which of its pictures."""
    options = request.ergo or ErgoOptions()
    if len(request.messages) > limits.messages:
        raise UsageError(f"the conversation holds more than {limits.messages:,} messages")
    pictures = [(place, url) for place, message in enumerate(request.messages) for url in _pictures(message)]
    if len(pictures) > limits.pictures:
        raise UsageError(f"the conversation holds {len(pictures)} pictures, at most {limits.pictures} are taken")
    written = [_text(message) for message in request.messages]
    if sum(map(len, [*written, *options.options])) > limits.text:  # before it is looked at any closer
        raise UsageError(f"the conversation holds more than {limits.text:,} characters")
    texts = [(message.role, whole_text(text)) for message, text in zip(request.messages, written, strict=True)]
    places = [place for place, (role, _) in enumerate(texts) if role == "user"]
    if not places or not texts[places[-1]][1].strip():
        raise UsageError("the last user message asks nothing: it needs text")
    question = texts[places[-1]][1].strip()
    earlier = [
        f"{role}: {text.strip()}"
        for role, text in texts[: places[-1]]
        if role in ("user", "assistant") and text.strip()
    ]
    if earlier:
        question = family.prompts.earlier.format(earlier="\n".join(earlier), question=question)
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Query(
        question,
        _chosen(pictures, options),
        len(pictures),
        tuple(Message(_role(role), (text,)) for role, text in texts if text),
        options,
        _region(options),
        request.max_completion_tokens or request.max_tokens,
        tuple(filter(None, stop)),
    )


def _pictures(message: ChatMessage) -> Iterator[str]:
    for part in message.content if isinstance(message.content, list) else ():
        if part.image_url is not None:
            yield part.image_url if isinstance(part.image_url, str) else part.image_url.url


def _text(message: ChatMessage) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if part.text)
    return message.content or ""


def _role(role: str) -> Role:
    return "system" if role in ("system", "developer") else "assistant" if role == "assistant" else "user"


def _chosen(pictures: list[tuple[int, str]], options: ErgoOptions) -> str | None:
    """The picture the question is about; UsageError where that is not clear."""
    if options.picture is not None:
        if options.picture >= len(pictures):
            raise UsageError(f"ergo.picture counts from 0; the conversation holds {len(pictures)}")
        return pictures[options.picture][1]
    if not pictures:
        if options.options or options.region or options.flow != "coarse_to_fine":
            raise UsageError("ergo.options, ergo.region and ergo.flow are about a picture; there is none")
        return None
    message, url = pictures[-1]
    beside = sum(place == message for place, _ in pictures)
    if beside > 1:
        raise UsageError(
            f"messages.{message} holds {beside} pictures and a question is about one: "
            "send the others in messages of their own, or count the one that is meant by ergo.picture"
        )
    return url


def _region(options: ErgoOptions) -> Box | None:
    """The region a client drew; UsageError where it is none."""
    if options.region is None:
        if options.flow == "crop_only":
            raise UsageError("crop_only needs ergo.region")
        return None
    if options.flow != "crop_only":
        raise UsageError("ergo.region is for the flow crop_only")
    try:
        return Box(*options.region)
    except ValueError as error:
        raise UsageError(f"ergo.region: {error}") from error
