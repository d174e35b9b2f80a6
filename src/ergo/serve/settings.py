"""How a server is run, and what its clients may ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ergo.backends.loopback import LOOPBACK
from ergo.core.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """What requests may take, each alone and all together.

    concurrency: questions in progress, 429 beyond. batch: of them computed together by a model in this process.
    deadline: seconds of one question, from its head to its answer.
    connections: open ones. head_seconds: for the head of a request. idle_seconds: without a byte of a body, or
        with a reply that nobody reads. heartbeat: seconds between two signs of life in a stream.
    body: bytes of one request. bodies: of all that are read or wait, still encoded.
    decode: bytes of memory for decoding pictures, all together, and so for the largest one.
    values: JSON values in one request. messages, pictures, text: of one conversation; text in characters.
    shutdown_seconds: for running questions after SIGTERM. probe_every: seconds between two looks at an endpoint.
    """

    concurrency: int = 64
    batch: int = 16
    deadline: float = 120.0
    connections: int = 512
    head_seconds: float = 10.0
    idle_seconds: float = 20.0
    heartbeat: float = 5.0
    body: int = 64_000_000
    bodies: int = 160_000_000
    decode: int = 610_000_000
    values: int = 50_000
    messages: int = 500
    pictures: int = 16
    text: int = 32_000
    shutdown_seconds: float = 30.0
    probe_every: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise UsageError(f"a server's {name} is more than 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class Sources:
    """Where pictures may be fetched from: hosts as `name` or `name:port`, none by default. seconds: for one picture."""

    hosts: frozenset[str] = frozenset()
    seconds: float = 10.0


@dataclass(frozen=True)
class Settings:
    """One server.

    name: under which the model is listed. budget: vision tokens of each look unless the request says otherwise.
    max_budget, max_tokens: caps on what a request may ask for. look_tokens: most tokens of a reply that names a
    region; what a client says of `max_tokens` and `stop` is about the final answer alone.
    api_key: bearer key, None for none. hosts: names by which the server may be called; empty for any.
    origins: web pages elsewhere that may call it (CORS).
    """

    name: str = "ergo"
    budget: int | None = None
    max_budget: int = 16384
    max_tokens: int = 4096
    look_tokens: int = 1024
    api_key: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    sources: Sources = field(default_factory=Sources)

    def __post_init__(self) -> None:
        if self.api_key is not None and not self.api_key.strip():
            raise UsageError("the server's key is empty: everybody would be let in; leave it out if that is meant")
        if min(self.max_budget, self.max_tokens, self.look_tokens, self.budget or 1) < 1:
            raise UsageError("budgets and numbers of tokens are at least 1")
