"""Ways to reach a model. Each is imported only when asked for.

hf:NAME | hf:FOLDER      a checkpoint in this process (extra `local`)
ergo-photo               the model this package ships, likewise: reads short texts in photographs
ergo-tiny, ergo-tiny-cold
                         in a checkout: the model of the drawn world, and where its reinforcement learning began
openai:URL               any OpenAI-compatible endpoint
vllm:URL, sglang:URL, llama.cpp:URL, azure:URL
                         the same, and which server it is
ollama:NAME, lmstudio:NAME, openrouter:NAME, gemini:NAME, anthropic:NAME
                         a model at that server's usual address (ollama's: OLLAMA_HOST)
scripted:TEXT            the shipped fake: every region reply and every answer is TEXT
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, Self, TypeVar, get_args

from ergo.backends.settings import Colours, EndpointSettings, LocalSettings, ServerName, settings_from
from ergo.core.errors import BackendError, MissingExtra, UsageError
from ergo.core.flows import LookConfig
from ergo.core.messages import Sampling
from ergo.core.runner import Backend
from ergo.families import QWEN2_5_VL, family_named, family_of_served
from ergo.families.base import ModelFamily

_PACKAGE = Path(__file__).resolve().parent.parent
SHIPPED = {
    "ergo-photo": str(_PACKAGE / "models" / "ergo-photo"),
    "ergo-tiny": str(_PACKAGE.parents[1] / "weights" / "ergo-tiny"),
    "ergo-tiny-cold": str(_PACKAGE.parents[1] / "weights" / "ergo-tiny-cold"),
}
"""Models found by a name of ours. Those of the drawn world lie in a checkout, not in the wheel (docs/train.md)."""

TINY = SHIPPED["ergo-tiny"]


def shipped_folder(name: str) -> str:
    """The folder of a model found by a name of ours."""
    if not Path(SHIPPED[name]).is_dir():
        raise UsageError(
            f"{name} is not in an installed package: take weights/{name} from a checkout, name a folder of your own, "
            "or make it again: `ergo train tiny-places`, then `ergo train tiny-sft` (an hour)"
        )
    return SHIPPED[name]


class HasColours(Protocol):
    """What can leave its colour profile out: a Picture, or a file that becomes one."""

    def as_stored(self) -> Self: ...


AnyPicture = TypeVar("AnyPicture", bound=HasColours)


@dataclass(frozen=True)
class Model:
    """A model ready to be asked. patch: side in pixels of what one of its vision tokens sees. fast: as in LookConfig.

    colours: of the pictures it is shown.
    settings: all of how it was opened that decides what it says, for the file of a run; JSON.
    """

    backend: Backend
    family: ModelFamily
    patch: int
    name: str
    fast: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    colours: Colours = "srgb"

    @classmethod
    def of(cls, backend: Backend, family: str | ModelFamily, patch: int | None = None, name: str = "own") -> Model:
        """A model of parts of one's own. family: by name, or one of one's own. patch: the family's, unless given."""
        chosen = family_named(family) if isinstance(family, str) else family
        return cls(backend, chosen, patch or chosen.patch, name)

    def shown(self, picture: AnyPicture) -> AnyPicture:
        """The picture in the colours that this model is to see."""
        return picture.as_stored() if self.colours == "stored" else picture

    def look_config(
        self, budget: int | None = None, sampling: Sampling | None = None, max_looks: int = LookConfig.max_looks
    ) -> LookConfig:
        """Budgets for this model: the same hard limit for the coarse and for the close view.

        budget: most vision tokens of each look; None for the family's default.
        """
        tokens = budget if budget is not None else self.family.budget
        limit = self.family.token_budget(tokens, self.patch)
        chosen = sampling or Sampling()
        longest = min(chosen.max_tokens, self.family.max_reply or chosen.max_tokens)
        return LookConfig(self.family, limit, limit, replace(chosen, max_tokens=longest), max_looks, self.fast)


ENDPOINTS = frozenset(get_args(ServerName)) - {"other"}


def settings_of(spec: str) -> type[LocalSettings] | type[EndpointSettings] | None:
    """The settings that the model of this name takes; None for a scripted one."""
    kind = spec.partition(":")[0]
    return EndpointSettings if kind in ENDPOINTS else None if kind == "scripted" else LocalSettings


def open_backend(
    spec: str, family: str | None = None, resize: Literal["exact", "fast"] | None = None, **settings: Any
) -> Model:
    """Reach the model that `spec` names (see above).

    family: by name, where it should not be read from the checkpoint or the model's name.
    resize: how whole pictures are shrunk: exact, by Pillow, or fast, within one level of 255 of that
        (images/shrink.py). None: fast for an endpoint, where the extra `fast` or torch is installed; exact for
        a model in this process, as the one shipped here was trained and measured.
    settings: as `LocalSettings` and `EndpointSettings` name them (settings.py), the same names as the command
    line's flags. One that is unknown, or does not apply to this kind of model, is refused by name.
    """
    from ergo.images.shrink import uses_fast

    fast = uses_fast(resize, usual=settings_of(spec) is EndpointSettings)
    return replace(_open(spec, family, settings), fast=fast)


def _open(spec: str, family: str | None, settings: Mapping[str, Any]) -> Model:
    kind, separator, rest = spec.partition(":")
    if spec in SHIPPED or kind == "hf":
        name = rest or spec
        return _open_local(
            shipped_folder(name) if name in SHIPPED else name, family, settings_from(LocalSettings, settings)
        )
    if kind in ENDPOINTS and rest:
        return _open_endpoint(*_endpoint(kind, rest, settings_from(EndpointSettings, settings)), family)
    if kind == "scripted":
        from ergo.backends.scripted import ScriptedBackend

        if settings:
            raise UsageError(f"a scripted model takes no settings, {', '.join(settings)} least of all")
        chosen = family_named(family) if family else QWEN2_5_VL
        return Model(ScriptedBackend([rest], record=False), chosen, chosen.patch, "scripted")
    if not separator and Path(spec).is_dir():
        return _open_local(spec, family, settings_from(LocalSettings, settings))
    raise UsageError(f"no model is named {spec!r}: say ergo-photo, hf:NAME, hf:FOLDER, openai:URL or ollama:NAME")


def _open_local(name: str, family: str | None, settings: LocalSettings) -> Model:
    try:
        from safetensors import SafetensorError

        from ergo.backends.transformers.backend import TransformersBackend
        from ergo.backends.transformers.sampling import stated_by
    except ImportError as error:
        raise MissingExtra(f"running {name} in this process", "local") from error
    try:
        backend = TransformersBackend.open(name, settings)
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError) as error:
        # no or broken weights, a kind that transformers does not know, weights of other shapes, or an attention
        # implementation or quantisation that wants a package
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"{name} cannot be loaded ({reason.strip()}): "
            "a checkpoint's folder holds config.json, weights and a tokenizer; a Hub name needs the network once"
        ) from error
    chosen = family_named(family) if family else backend.family
    own = ("adapter", "dtype", "attention", "quantization", "generation", "force_region")
    decisive = {one: getattr(settings, one) for one in own} | {
        "repetition_penalty": backend.penalties.repetition,
        "top_k": backend.penalties.top_k,
        "checkpoint_states": stated_by(backend.model.generation_config),
    }
    return Model(backend, chosen, backend.processor.patch, name, settings=decisive)


def _endpoint(kind: str, rest: str, settings: EndpointSettings) -> tuple[str, EndpointSettings]:
    """The URL that KIND:REST names, and the settings it implies."""
    from ergo.backends.openai.profiles import PROFILES, default_url

    if kind == "openai":  # whatever server speaks it; the name alone never sends a picture to a provider
        return rest, settings
    profile = next(profile for profile in PROFILES.values() if profile.name == kind)
    settings = replace(settings, server=settings.server or profile.name)
    usual = default_url(profile)
    if "://" in rest or usual is None:
        return rest, settings
    if settings.served_name not in (None, rest):
        raise UsageError(f"{kind}:{rest} names a model already, and served_name another: {settings.served_name}")
    return usual, replace(settings, served_name=rest)


def _open_endpoint(url: str, settings: EndpointSettings, family: str | None) -> Model:
    from ergo.backends.openai.backend import OpenAIBackend

    backend = OpenAIBackend(url, settings)
    served = backend.served()
    if isinstance(served, BackendError):
        raise served
    name = settings.served_name or ", ".join(served.models) or url
    names = (settings.served_name,) if settings.served_name else served.models or (url,)
    checkpoints = [served.checkpoints[one] for one in names if one in served.checkpoints]
    chosen = family_named(family) if family else family_of_served(*checkpoints, *names)
    own = ("server", "served_name", "detail", "force_region")
    decisive = {one: getattr(settings, one) for one in own} | {"extra_body": dict(settings.extra_body)}
    return Model(backend, chosen, chosen.patch, name, settings=decisive)
