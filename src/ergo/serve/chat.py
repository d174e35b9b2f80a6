"""A chat request, read: what it asks about which of its pictures, or the name of what cannot be honoured.

The question is about the picture of the latest message that holds any, unless `ergo.picture` counts another (0 is
the first); of several in that message it is about all of them, in one look, where the model can. The question is
the text of the last user message; earlier exchanges go before it as text, for models that can take them. A
conversation without a picture is passed through in one turn.

Nothing is dropped in silence: a field, part or role that is not honoured is refused by its name. What changes no
answer (`user`, `metadata`) and what has its neutral value (`n` 1, `tools` empty) is let pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ergo.core.errors import UsageError
from ergo.core.geometry import Box
from ergo.core.messages import Message, Role, whole_text
from ergo.families.base import ModelFamily
from ergo.serve.bodies import Parsed
from ergo.serve.settings import Limits
from ergo.serve.structured import MAX_OPTIONS, AnswerFormat

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
    "modalities": (["text"],),
}
"""Fields that are not honoured, and the values at which that makes no difference; None, [] and {} always make none."""

INSTEAD = dict.fromkeys(
    ("tools", "tool_choice", "functions", "function_call"),
    "response_format (json_schema) gives an answer in a form of your own",
)
"""What to do in place of a field that is refused, where there is something."""

MESSAGE_HARMLESS = frozenset(
    ("name", "id", "reasoning_content", "reasoning", "provider_specific_fields", "cache_control")
)

PART_HARMLESS = frozenset(("cache_control",))


class Open(BaseModel):
    """Unknown fields are kept, for `_refuse` to name them."""

    model_config = ConfigDict(extra="allow")


class ImageUrl(Open):
    """A data: URI, or an address on an allowed host. detail: looking closely is what this server does."""

    url: str
    detail: str | None = None


class Part(Open):
    """One part of a message."""

    type: str = Field(json_schema_extra={"enum": ["text", "image_url"]})
    text: str | None = None
    image_url: ImageUrl | str | None = None


class ChatMessage(Open):
    """One message of the conversation."""

    role: str = Field(json_schema_extra={"enum": ["system", "developer", "user", "assistant"]})
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
    options: list[str] = Field(default_factory=list, max_length=MAX_OPTIONS)
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
    response_format: dict[str, Any] | None = None
    ergo: ErgoOptions | None = None


@dataclass(frozen=True)
class Query:
    """A question about pictures of a conversation.

    about: the addresses of those it is about, none for text alone. pictures: how many there are in all.
    chat: the conversation as text, for passing through. max_tokens, stop, form: of the final answer.
    """

    question: str
    about: tuple[str, ...]
    pictures: int
    chat: tuple[Message, ...]
    options: ErgoOptions
    region: Box | None
    max_tokens: int | None
    stop: tuple[str, ...]
    form: AnswerFormat | None


Asked = TypeVar("Asked", bound=BaseModel)


def validated(kind: type[Asked], value: Any) -> Asked:
    """A body's JSON as such a request; UsageError in one line where it is none."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        deepest = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
        raise UsageError(f"{'.'.join(map(str, deepest['loc'])) or 'body'}: {deepest['msg']}") from error


def read_request(body: Parsed) -> ChatRequest:
    """The request in a body; UsageError in one line where it is none, or asks for what is not honoured."""
    request = validated(ChatRequest, body.value)
    refuse(request.model_extra or {}, HARMLESS, NEUTRAL, "")
    for place, message in enumerate(request.messages):
        here = f"messages.{place}"
        if message.role not in ("system", "developer", "user", "assistant"):
            raise UsageError(f"{here}.role: {message.role[:50]!r} is not honoured here; there are no tools")
        refuse(message.model_extra or {}, MESSAGE_HARMLESS, {}, f"{here}.")
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            _check_part(part, f"{here}.content.{number}")
    return request


def refuse(
    extra: Mapping[str, Any], harmless: frozenset[str], neutral: Mapping[str, tuple[object, ...]], at: str
) -> None:
    """UsageError for the first of these fields that would change the answer."""
    for name, value in extra.items():
        empty = value is None or value == [] or value == {}
        if not (empty or name in harmless or any(value == one for one in neutral.get(name, ()))):
            instead = INSTEAD.get(name, "leave it out")
            raise UsageError(f"{at}{name[:100]} is not honoured here; {instead}")


def _check_part(part: Part, at: str) -> None:
    if part.type in ("text", "image_url"):  # of other types the type is what is wrong
        refuse(part.model_extra or {}, PART_HARMLESS, {}, f"{at}.")
    if part.type == "text":
        if part.text is None:
            raise UsageError(f"{at}: a text part needs text")
    elif part.type == "image_url":
        if part.image_url is None:
            raise UsageError(f"{at}: an image_url part needs image_url.url")
        if isinstance(part.image_url, ImageUrl):
            refuse(part.image_url.model_extra or {}, frozenset(), {}, f"{at}.image_url.")
            check_detail(part.image_url.detail, f"{at}.image_url.detail")
    else:
        raise UsageError(f"{at}: parts of type {part.type[:50]!r} are not honoured here; there are text and image_url")


def check_detail(detail: str | None, at: str) -> None:
    """UsageError for a picture that is to be looked at less closely than this server looks."""
    if detail not in (None, "auto", "high"):
        raise UsageError(f"{at}: {detail[:50]!r} is not honoured here; ergo.budget says how closely")


def read_query(request: ChatRequest, family: ModelFamily, limits: Limits, held: Collection[str] = ()) -> Query:
    """What the conversation asks, about which of its pictures. held: names of pictures that stand for long ones."""
    options, form = request.ergo or ErgoOptions(), AnswerFormat.read(request.response_format)
    if len(request.messages) > limits.messages:
        raise UsageError(f"the conversation holds more than {limits.messages:,} messages")
    pictures = [(place, url) for place, message in enumerate(request.messages) for url in _pictures(message)]
    if len(pictures) > limits.pictures:
        raise UsageError(f"the conversation holds {len(pictures)} pictures, at most {limits.pictures} are taken")
    if set(held) - {url for _, url in pictures}:
        raise UsageError("a long data: URI stands where no picture is taken; pictures are image_url parts")
    written = [_text(message) for message in request.messages]
    if sum(map(len, [*written, *options.options])) > limits.text:  # before it is looked at any closer
        raise UsageError(f"the conversation holds more than {limits.text:,} characters")
    if form and len(form.sent) > limits.text:
        raise UsageError(f"response_format: the schema holds more than {limits.text:,} characters")
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
    if len({option.strip() for option in options.options} - {""}) < len(options.options):
        raise UsageError("ergo.options: each is a text of its own, and none is empty")
    if form and form.options:
        if options.options not in ([], list(form.options)):
            raise UsageError("ergo.options and the enum of response_format differ: leave one of them out")
        options = options.model_copy(update={"options": list(form.options) if pictures else []})
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return Query(
        question,
        _chosen(pictures, options, family),
        len(pictures),
        tuple(Message(_role(role), (text,)) for role, text in texts if text),
        options,
        _region(options),
        request.max_completion_tokens or request.max_tokens,
        tuple(filter(None, stop)),
        form,
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


def _chosen(pictures: list[tuple[int, str]], options: ErgoOptions, family: ModelFamily) -> tuple[str, ...]:
    """The pictures the question is about; UsageError where that is not clear, or more than the model can look at."""
    if options.picture is not None:
        if options.picture >= len(pictures):
            raise UsageError(f"ergo.picture counts from 0; the conversation holds {len(pictures)}")
        return (pictures[options.picture][1],)
    if not pictures:
        if options.options or options.region or options.flow != "coarse_to_fine":
            raise UsageError("ergo.options, ergo.region and ergo.flow are about a picture; there is none")
        return ()
    latest = pictures[-1][0]
    beside = tuple(url for place, url in pictures if place == latest)
    if len(beside) > 1 and not family.several_pictures:
        raise UsageError(
            f"messages.{latest} holds {len(beside)} pictures and this model looks at one: "
            "send the others in messages of their own, or count the one that is meant by ergo.picture"
        )
    if len(beside) > 1 and "flow" in options.model_fields_set and options.flow != "one_look":
        raise UsageError(
            f"ergo.flow: the {len(beside)} pictures of messages.{latest} are asked about together, in one look; "
            "leave it out, or count the one that is meant by ergo.picture"
        )
    return beside


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
