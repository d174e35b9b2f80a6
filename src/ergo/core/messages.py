"""What passes between a flow and a model: messages with text and views, a request, a completion."""

from dataclasses import dataclass, field
from typing import Literal

from ergo.core.errors import UsageError
from ergo.core.view import View

Role = Literal["system", "user", "assistant"]
Part = str | View


@dataclass(frozen=True)
class Message:
    """One message; parts stand in the order in which the model sees them."""

    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(part for part in self.parts if isinstance(part, View))


Chat = tuple[Message, ...]


@dataclass(frozen=True)
class Sampling:
    """How a reply is decoded. temperature 0 is greedy; max_tokens counts generated tokens."""

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"a reply needs room for at least 1 token, not {self.max_tokens}")


@dataclass(frozen=True)
class Usage:
    """Tokens of one request. None: the backend cannot tell."""

    prompt_tokens: int | None = None
    vision_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None


@dataclass(frozen=True)
class Seconds:
    """Wall seconds of one request, by part. None: the backend cannot tell the part."""

    total: float = 0.0
    image: float | None = None
    vision: float | None = None
    prefill: float | None = None
    decode: float | None = None


@dataclass(frozen=True)
class Completion:
    """A model's reply. token_ids, logprobs: of what was sampled, where known; never re-tokenised from text.

    state: the backend's own handle on its cache; opaque, never stored.
    """

    text: str
    usage: Usage = Usage()
    seconds: Seconds = Seconds()
    finish: Literal["stop", "length"] = "stop"
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    state: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Request:
    """One question to a model: the whole conversation so far, its last message to be answered.

    expect: the shape of the reply, for backends that can force it. previous: the completion this chat
    continues, so that a backend may reuse its cache.
    """

    chat: Chat
    sampling: Sampling = field(default_factory=Sampling)
    expect: Literal["text", "region"] = "text"
    previous: Completion | None = None

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(view for message in self.chat for view in message.views)
