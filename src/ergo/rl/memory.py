"""How much memory a recipe needs on one GPU, before anything is loaded: counted on the meta device, which holds no weights.

Weights, gradients, optimiser states and keys and values are counted exactly; activations by the usual estimate for
memory-efficient attention, 34 values of the hidden size a token and layer (Korthikanti et al., arXiv 2205.05198).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from ergo.rl.recipe import GrpoRecipe
from ergo.rl.trl_bridge import dtype_of_weights, lora_config, trl_config

GB = 1e9
PROMPT_TOKENS = 400  # of both questions with their instructions, beside the views; the published prompt has about 300
ACTIVATIONS = 34  # values of the hidden size that one layer keeps for one token


@dataclass(frozen=True)
class Part:
    """One line of the plan. name: what lies there, and why so much. bytes: on one GPU, nothing sharded."""

    name: str
    bytes: float
    shardable: bool = False

    def __str__(self) -> str:
        return f"{self.bytes / GB:8.1f} GB  {self.name}"


def memory_plan(recipe: GrpoRecipe, start: str) -> list[Part]:
    """What training by this recipe holds on a GPU. FSDP and ZeRO-3 divide the shardable parts by the number of GPUs."""
    config = AutoConfig.from_pretrained(start)
    dtype = dtype_of_weights(recipe, start, on_gpu=True)
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        for name, weight in model.named_parameters():
            weight.requires_grad_(not any(part in name for part in recipe.frozen))
        if recipe.lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, lora_config(recipe.lora))
    every = [(weight.numel(), weight.element_size(), weight.requires_grad) for weight in model.parameters()]
    trained = sum(count * size for count, size, learns in every if learns)
    weights = sum(count * size for count, size, _ in every)
    trl = trl_config(recipe, ".")
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    sampled = recipe.looks * recipe.max_completion_length
    length = recipe.looks * recipe.budget + sampled + PROMPT_TOKENS
    at_once = trl.per_device_train_batch_size * trl.steps_per_generation
    tokens = trl.per_device_train_batch_size * length
    kept = 1 if trl.gradient_checkpointing else ACTIVATIONS
    activations = 2 * tokens * text.hidden_size * (text.num_hidden_layers * kept + ACTIVATIONS)
    parts = [
        Part(f"weights, {sum(count for count, *_ in every) / GB:.2f} billion, {_name(dtype)}", weights, True),
        Part("their gradients", trained, True),
        Part("AdamW's two moments", 2 * trained, True),
        *([Part("the bfloat16 copies of them that autocast keeps", weights / 2, True)]
          if trl.bf16 and dtype == torch.float32 else []),
        Part(f"keys and values of {at_once} rollouts of {length} tokens, while they are sampled",
             4 * at_once * length * text.num_hidden_layers * text.num_key_value_heads * head),
        Part(f"activations of {trl.per_device_train_batch_size} rollouts in the update"
             f"{', recomputed layer by layer' if trl.gradient_checkpointing else ''} (estimate)", activations),
        Part(f"logits of {sampled} sampled tokens over {text.vocab_size} words, three times in float32",
             12 * trl.per_device_train_batch_size * sampled * text.vocab_size),
    ]  # fmt: skip
    if trl.beta and recipe.lora is None:
        parts.insert(3, Part(f"the reference that beta = {trl.beta:g} wants, as many weights again", weights, True))
    return parts


def total(parts: list[Part], gpus: int = 1) -> float:
    """Bytes on each of `gpus` GPUs at the peak: rollouts and the update do not happen at once, so the larger counts."""
    fixed = sum(part.bytes for part in parts if part.shardable) / gpus
    rollouts, *update = [part.bytes for part in parts if not part.shardable]
    return fixed + max(rollouts, sum(update))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
