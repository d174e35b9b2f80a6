"""From a name or a folder to a model with its weights, and to the processor that feeds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.bridge import chat_template_file, check_version, picture_settings
from ergo.backends.transformers.processor import Normalisation, Processor
from ergo.core.errors import MissingExtra, UsageError
from ergo.families import FAMILIES, family_of_checkpoint
from ergo.families.base import ModelFamily

CHECKPOINT_TYPES = {kind: family_of_checkpoint(kind) for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")}


@dataclass(frozen=True)
class Checkpoint:
    """A model with its weights and what feeds and reads it."""

    model: Any
    processor: Processor
    family: ModelFamily


def load_checkpoint(name: str, settings: LocalSettings) -> Checkpoint:
    """A checkpoint by Hub name or folder."""
    check_version()
    _check_folder(name)
    adapter, name = _adapter_of(name, settings.adapter)
    config = AutoConfig.from_pretrained(name)
    if config.model_type not in CHECKPOINT_TYPES:
        known = ", ".join(CHECKPOINT_TYPES)
        raise UsageError(f"{name} is a {config.model_type}; ergo knows {known} (docs/models.md says how to add one)")
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    automatic = torch.float32 if device == "cpu" else "auto"
    dtype: Any = automatic if settings.dtype == "auto" else getattr(torch, settings.dtype)
    model = AutoModelForImageTextToText.from_pretrained(name, dtype=dtype).to(device)
    if adapter:
        model = _with_adapter(model, adapter)
    return Checkpoint(model, load_processor(name), family_of(config))


def family_of(config: Any) -> ModelFamily:
    """The family that a checkpoint's configuration names, or that of its type."""
    return FAMILIES.get(getattr(config, "ergo_family", ""), CHECKPOINT_TYPES[config.model_type])


def load_processor(name: str) -> Processor:
    """Tokenizer, chat template and picture settings of a checkpoint, without torchvision."""
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    if not tokenizer.chat_template:
        tokenizer.chat_template = chat_template_file(name)
        if tokenizer.chat_template is None:
            raise UsageError(f"{name} has no chat template; ergo needs one to know how the model is asked")
    settings = picture_settings(name)
    return Processor(
        tokenizer,
        settings.patch_size,
        settings.merge_size,
        settings.temporal_patch_size,
        Normalisation(tuple(settings.image_mean), tuple(settings.image_std)),
    )


def _check_folder(name: str) -> None:
    """A folder that is not there would be looked for on the Hub, and the message would speak of that."""
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UsageError(f"there is no folder {name}: give a checkpoint's folder or its name on the Hub (owner/model)")


def _adapter_of(name: str, adapter: str | None) -> tuple[str | None, str]:
    """A folder that holds only a LoRA adapter names its base model itself."""
    config = Path(name) / "adapter_config.json"
    if adapter is None and config.is_file():
        return name, str(json.loads(config.read_text())["base_model_name_or_path"])
    return adapter, name


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra("loading a LoRA adapter", "lora") from error
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()
