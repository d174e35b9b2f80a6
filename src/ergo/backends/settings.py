"""The keyword settings of `open_backend`: the same names as the command line's flags, typed and frozen.

Which settings a model takes depends on where it runs: `LocalSettings` for a checkpoint in this process
(hf:, ergo-tiny), `EndpointSettings` for a server (openai: and its short forms).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from ergo.core.errors import UsageError
from ergo.images.encode import Format

ServerName = Literal["vllm", "sglang", "llama.cpp", "other"]


@dataclass(frozen=True)
class LocalSettings:
    """How a checkpoint runs in this process.

    adapter: a LoRA adapter's Hub name or folder, merged into the weights.
    device: cuda if there is one, else cpu. dtype: auto is as stored on a GPU and float32 on a CPU.
    batch: most requests computed together. reuse: keep keys and values for the second look.
    force_region: hold replies that should name a region to a well-formed <zoom>[...]</zoom>.
    """

    adapter: str | None = None
    device: str | None = None
    dtype: str = "auto"
    batch: int = 8
    reuse: bool = True
    force_region: bool = False

    def __post_init__(self) -> None:
        _at_least("batch", self.batch, 1)


@dataclass(frozen=True)
class EndpointSettings:
    """How a server is asked.

    served_name: which of its models; asked of the server where it serves only one.
    api_key: sent as a bearer token, and shown nowhere.
    timeout: wall seconds for one request, all its attempts and pauses included.
    retries: how often a failure that may pass is retried.
    pause: seconds before the first retry, doubled for each further one, less a random part of up to half.
    image_format: how views are encoded, always without loss. None: png, which any server reads, or bmp, a
        twentieth of the work, where the server is on this machine and known to read it.
    stream: receive replies as they are generated, which separates prefill from decode.
    force_region: where a region is expected, let the server sample nothing else.
    server: which it is, where it does not say so itself (a proxy in front of it).
    extra_body: further fields of every request, such as {"chat_template_kwargs": {"enable_thinking": False}}.
    concurrency: most requests at once.
    """

    served_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 600.0
    retries: int = 4
    pause: float = 0.5
    image_format: Format | None = None
    stream: bool = False
    force_region: bool = False
    server: ServerName | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 512

    def __post_init__(self) -> None:
        _at_least("retries", self.retries, 0)
        _at_least("concurrency", self.concurrency, 1)
        if not self.timeout > 0:
            raise UsageError(f"timeout is a number of seconds above 0, not {self.timeout}")


SettingsT = TypeVar("SettingsT", LocalSettings, EndpointSettings)
KINDS = {LocalSettings: "a model in this process (hf:)", EndpointSettings: "an endpoint (openai:)"}


def settings_from(kind: type[SettingsT], given: Mapping[str, Any]) -> SettingsT:
    """`given` as settings of this kind; a name that no model or only the other kind takes is refused."""
    known = {one: [field.name for field in fields(one)] for one in KINDS}
    for name in given:
        if name in known[kind]:
            continue
        for other, names in known.items():
            if name in names:
                raise UsageError(f"{name} is a setting of {KINDS[other]}, not of {KINDS[kind]}")
        raise UsageError(f"no setting is called {name!r}; {KINDS[kind]} takes {', '.join(known[kind])}")
    return kind(**given)


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is a whole number of at least {least}, not {value!r}")
