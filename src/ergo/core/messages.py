"""What passes between a flow and a model: messages with text and views, a request, a completion."""

from dataclasses import dataclass, field
from typing import Literal

from ergo.core.errors import UsageError
from ergo.core.view import View

Role = Literal["system", "user", "assistant"]
Expected = Literal["text", "region", "fractions"]
Part = str | View
Chat = tuple["Message", ...]


@dataclass(frozen=True)
class Message:
    """One message; parts stand in the order in which the model sees them."""

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(whole_text(p) if isinstance(p, str) else p for p in self.parts))

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(part for part in self.parts if isinstance(part, View))


def whole_text(text: str) -> str:
    """Text that any tokenizer, file and connection takes: half a surrogate pair, which has no UTF-8, becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True)
class Sampling:
    """How a reply is decoded. max_tokens: generated ones. temperature: below 0.001 (1e-40 divides by zero) is greedy."""

    max_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    response_format: str = ""  # JSON: the form that an endpoint holds it to, in OpenAI's words; any where empty

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"a reply needs room for at least 1 token, not {self.max_tokens}")
        bounded = 0 <= self.temperature <= 100 and 0 < self.top_p <= 1 and abs(self.seed or 0) < 2**63
        if not bounded or "" in self.stop:
            raise UsageError("temperature is 0 to 100, top_p above 0 to 1, seed of 64 bits, no stop string empty")
        object.__setattr__(self, "temperature", self.temperature if self.temperature >= 1e-3 else 0.0)


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
    """A model's reply. token_ids, logprobs, pieces (texts): of each token sampled, where known; never re-tokenised.

    finish: length at its limit, refusal where the provider declined. state: the backend's own, opaque, never stored.
    """

    text: str
    usage: Usage = Usage()
    seconds: Seconds = Seconds()
    finish: Literal["stop", "length", "refusal"] = "stop"
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    pieces: tuple[str, ...] | None = field(default=None, repr=False)
    state: object = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Request:
    """One question to a model: the whole conversation so far, its last message to be answered.

    expect: the shape of the reply, for backends that can force it (fractions: a region in 0..1).
    previous: the completion this chat continues, so that a backend may reuse its cache.
    """

    chat: Chat
    sampling: Sampling = field(default_factory=Sampling)
    expect: Expected = "text"
    previous: Completion | None = None

    @property
    def views(self) -> tuple[View, ...]:
        return tuple(view for message in self.chat for view in message.views)
