"""The keyword settings of `open_backend`: the same names as the command line's flags, typed and frozen.

Which settings a model takes depends on where it runs: `LocalSettings` for a checkpoint in this process
(hf:, ergo-tiny), `EndpointSettings` for a server (openai: and its short forms).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from ergo.core.errors import UsageError
from ergo.images.encode import Format

Colours = Literal["srgb", "stored"]
"""Of pictures: converted to sRGB by the file's profile, or its numbers as they are."""

ServerName = Literal[
    "vllm", "sglang", "llama.cpp", "ollama", "lmstudio", "openai", "azure", "openrouter", "gemini", "anthropic", "other"
]

Quantization = Literal["4bit", "8bit"]
GenerationSource = Literal["request", "checkpoint"]


@dataclass(frozen=True)
class LocalSettings:
    """How a checkpoint runs in this process.

    adapter: a LoRA adapter's Hub name or folder, merged into the weights.
    device: where all of it goes, such as cuda:1; cuda if there is one, else cpu.
    device_map: instead, how it is spread over several: auto, balanced, balanced_low_0 or sequential.
    dtype: of the weights, such as bfloat16; auto is as stored, on a CPU float32 unless quantised.
    attention: transformers' implementation: sdpa, eager, flash_attention_2 ...; None for its own choice.
    quantization: 4bit or 8bit, of the language half; the vision tower keeps its precision, for boxes depend on it.
    generation: whose repetition penalty and top-k apply. request: none, as in training and in all our figures;
        checkpoint: those of its generation_config.json (Qwen2.5-VL: 1.05).
    batch_size: most requests computed together. reuse: keep the first look's cache for the second.
    force_region: hold replies that should name a region to a well-formed <zoom>[...]</zoom>.
    """

    adapter: str | None = None
    device: str | None = None
    device_map: str | None = None
    dtype: str = "auto"
    attention: str | None = None
    quantization: Quantization | None = None
    generation: GenerationSource = "request"
    batch_size: int = 8
    reuse: bool = True
    force_region: bool = False

    def __post_init__(self) -> None:
        _at_least("batch_size", self.batch_size, 1)
        _one_of("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))
        _one_of("device_map", self.device_map, ("auto", "balanced", "balanced_low_0", "sequential"))
        _one_of("quantization", self.quantization, get_args(Quantization))
        _one_of("generation", self.generation, get_args(GenerationSource))
        if self.device and self.device_map:
            raise UsageError(
                f"device puts a model in one place, device_map spreads it: not both ({self.device}, {self.device_map})"
            )


@dataclass(frozen=True)
class EndpointSettings:
    """How a server is asked.

    served_name: which of its models; asked of the server where it serves only one.
    api_key: shown nowhere. None: ERGO_API_KEY, or the provider's own variable (OPENAI_API_KEY,
        AZURE_OPENAI_API_KEY, OPENROUTER_API_KEY, GEMINI_API_KEY, ANTHROPIC_API_KEY), for that provider alone.
    server: which it is, where neither its address nor its list of models says so (a proxy in front of it).
    timeout: wall seconds for one request, all its attempts and pauses included.
    retries: how often a failure that may pass is retried.
    pause: seconds before the first retry, doubled for each further one, less a random part of up to half.
    image_format: how views are encoded, always without loss. None: png, or, where the server is on this machine,
        stored-png, which any server reads as well: a file half as large again for a seventh of the work.
    detail: sent with every picture; "high" and "original" keep OpenAI from shrinking it. None: as the server needs.
    picture_ids: name pictures by their content (vLLM's uuid, SGLang's content_hash); vLLM is then not sent the
        first look again in the second turn, as long as it still has it.
    stream: receive replies as they are generated, which separates prefill from decode.
    force_region: where a region is expected, let the server sample nothing else.
    extra_body: further fields of every request, such as {"chat_template_kwargs": {"enable_thinking": False}}.
    extra_query: fields after the ? of every address, such as {"api-version": "2024-10-21"}.
    concurrency: most requests at once.
    """

    served_name: str | None = None
    api_key: str | None = field(default=None, repr=False)
    server: ServerName | None = None
    timeout: float = 600.0
    retries: int = 4
    pause: float = 0.5
    image_format: Format | None = None
    detail: str | None = None
    picture_ids: bool = False
    stream: bool = False
    force_region: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    extra_query: Mapping[str, str] = field(default_factory=dict, repr=False)
    concurrency: int = 512

    def __post_init__(self) -> None:
        _at_least("retries", self.retries, 0)
        _at_least("concurrency", self.concurrency, 1)
        if not self.timeout > 0:
            raise UsageError(f"timeout is a number of seconds above 0, not {self.timeout}")
        _one_of("server", self.server, get_args(ServerName))
        _one_of("image_format", self.image_format, get_args(Format))


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


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}")


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is a whole number of at least {least}, not {value!r}")
