"""Ways to reach a model. Each is imported only when asked for.

    hf:NAME | hf:FOLDER      a checkpoint in this process (extra `local`)
    ergo-tiny                the model this package ships, likewise
    ergo-tiny-cold           its cold start, which reinforcement learning began from
    openai:URL               any OpenAI-compatible endpoint
    scripted:TEXT            the shipped fake: every region reply and every answer is TEXT
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ergo.dialect import QWEN2_5_VL, QWEN3_VL, Dialect, dialect_named
from ergo.errors import BackendError, MissingExtra, UsageError
from ergo.pipeline import Backend

_MODELS = Path(__file__).resolve().parent.parent / "models"
SHIPPED = {name: str(_MODELS / name) for name in ("ergo-tiny", "ergo-tiny-cold")}
TINY = SHIPPED["ergo-tiny"]


@dataclass(frozen=True)
class Opened:
    """A model ready to be asked. patch: side in pixels of what one of its vision tokens sees."""

    backend: Backend
    dialect: Dialect
    patch: int
    name: str


def open_backend(spec: str, dialect: str | None = None, **settings: Any) -> Opened:
    """Reach the model that `spec` names (see above).

    dialect: by name, where it should not be told from the checkpoint or the model's name.
    settings: passed to the backend: `adapter`, `batch`, `device`, `dtype`, `reuse`, `force_region`
    for local models; `api_key`, `model`, `timeout`, `force_region` for endpoints.
    """
    kind, separator, rest = spec.partition(":")
    if spec in SHIPPED or kind == "hf":
        name = rest or spec
        return _open_local(SHIPPED.get(name, name), dialect, settings)
    if kind == "openai" and rest:
        return _open_endpoint(rest, dialect, settings)
    if kind == "scripted":
        from ergo.backends.scripted import ScriptedBackend

        spoken = dialect_named(dialect) if dialect else QWEN2_5_VL
        return Opened(ScriptedBackend([rest], record=False), spoken, spoken.patch, "scripted")
    if not separator and Path(spec).is_dir():
        return _open_local(spec, dialect, settings)
    raise UsageError(f"no model is named {spec!r}: say ergo-tiny, hf:NAME, hf:FOLDER or openai:URL")


def _open_local(name: str, dialect: str | None, settings: dict[str, Any]) -> Opened:
    try:
        from safetensors import SafetensorError

        from ergo.backends.transformers import TransformersBackend
    except ImportError as error:
        raise MissingExtra(f"running {name} in this process", "local") from error
    try:
        backend = TransformersBackend.open(name, **settings)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        # no such name, no or broken weights, a kind that transformers does not know, weights of other shapes
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{name} cannot be loaded ({reason.strip()}): "
            "a checkpoint's folder holds config.json, weights and a tokenizer; a Hub name needs the network once"
        ) from error
    spoken = dialect_named(dialect) if dialect else backend.dialect
    return Opened(backend, spoken, backend.processor.patch, name)


def _open_endpoint(url: str, dialect: str | None, settings: dict[str, Any]) -> Opened:
    from ergo.backends.openai import OpenAIBackend

    backend = OpenAIBackend(url, **settings)
    served = backend.served()
    if isinstance(served, BackendError):
        raise served
    name = settings.get("model") or ", ".join(served.models) or url
    spoken = dialect_named(dialect) if dialect else QWEN3_VL if "qwen3" in name.lower() else QWEN2_5_VL
    return Opened(backend, spoken, spoken.patch, name)
