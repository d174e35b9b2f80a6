"""From a name or a folder to a model with its weights, and to the processor that feeds it."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig

from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.bridge import chat_template_file, check_version, picture_settings
from ergo.backends.transformers.hub import local_folder
from ergo.backends.transformers.processor import Normalisation, Processor
from ergo.core.errors import MissingExtra, UsageError
from ergo.families import FAMILIES, family_of_checkpoint
from ergo.families.base import ModelFamily

CHECKPOINT_TYPES = {
    kind: family_of_checkpoint(kind)
    for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
}
"""What runs in this process: one picture processor, one way of counting positions. Other families are served."""


@dataclass(frozen=True)
class Checkpoint:
    """A model with its weights and what feeds and reads it."""

    model: Any
    processor: Processor
    family: ModelFamily


def load_checkpoint(name: str, settings: LocalSettings) -> Checkpoint:
    """A checkpoint by Hub name or folder; weights go to their device file by file, never through a second copy."""
    check_version()
    folder = local_folder(name)
    adapter, folder = _adapter_of(folder, settings.adapter)
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in CHECKPOINT_TYPES:
        known = ", ".join(CHECKPOINT_TYPES)
        raise UsageError(f"{name} is a {config.model_type}; ergo knows {known} (docs/models.md says how to add one)")
    place: Any = settings.device_map or {"": device_of(settings.device)}
    on_cpu = not torch.cuda.is_available() if settings.device_map else place[""].type == "cpu"
    # float32 is what a CPU is fast in; quantised weights would only pass through it, at twice the memory
    automatic = "float32" if on_cpu and not settings.quantization else "auto"
    dtype = automatic if settings.dtype == "auto" else settings.dtype
    options: dict[str, Any] = {"dtype": dtype, "device_map": place}
    if settings.attention:
        options["attn_implementation"] = settings.attention
    if settings.quantization:
        options["quantization_config"] = quantized(settings.quantization)
    model = AutoModelForImageTextToText.from_pretrained(folder, **options)
    if adapter:
        model = _with_adapter(model, local_folder(adapter))
    return Checkpoint(model, load_processor(folder), family_of(config))


def device_of(name: str | None) -> torch.device:
    """The device of this name; cuda if there is one, else cpu, where there is none."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"there is no kind of device called {name!r}: cpu, cuda, cuda:1, mps ...") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no {name} here: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def quantized(kind: str) -> Any:
    """transformers' configuration for loading in 4 or 8 bits, by whichever library is installed."""
    kept = ["model.visual", "lm_head"]  # under 10 % of a 7B model's memory, and what boxes and words are read off
    if importlib.util.find_spec("bitsandbytes"):
        if kind == "4bit":
            return BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=torch.bfloat16,
                llm_int8_skip_modules=kept,
            )
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    if kind == "8bit" and importlib.util.find_spec("torchao"):
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)
    raise MissingExtra(f"loading in {kind.removesuffix('bit')} bits", "quantized")


def family_of(config: Any) -> ModelFamily:
    """The family that a checkpoint's configuration names, or that of its type."""
    return FAMILIES.get(getattr(config, "ergo_family", ""), CHECKPOINT_TYPES[config.model_type])


def load_processor(name: str) -> Processor:
    """Tokenizer, chat template and picture settings of a checkpoint, without torchvision."""
    name = local_folder(name)
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


def _adapter_of(name: str, adapter: str | None) -> tuple[str | None, str]:
    """A folder that holds only a LoRA adapter names its base model itself."""
    config = Path(name) / "adapter_config.json"
    if adapter is None and config.is_file():
        return name, local_folder(str(json.loads(config.read_text(encoding="utf-8"))["base_model_name_or_path"]))
    return adapter, name


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra("loading a LoRA adapter", "lora") from error
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()
