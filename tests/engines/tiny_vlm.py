"""A tiny random checkpoint, Qwen2.5-VL or Qwen3-VL: right in every shape, without a thought. For engines to serve.

    python tests/engines/tiny_vlm.py FOLDER [qwen2_5_vl | qwen3_vl]

Nothing is fetched: its tokenizer is made here too, one token per byte.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PIXELS: dict[str, dict[str, object]] = {
    "qwen2_5_vl": {
        "processor_class": "Qwen2_5_VLProcessor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "patch_size": 14,
    },
    "qwen3_vl": {
        "processor_class": "Qwen3VLProcessor",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "patch_size": 16,
    },
}
SMALLEST = {"qwen2_5_vl": 4 * 28 * 28, "qwen3_vl": 64 * 32 * 32}
LARGEST = 16384 * 28 * 28
"""Pixels, as the released processors have them."""


def save(folder: Path, family: str = "qwen2_5_vl", context: int = 8192) -> None:
    """Tokenizer, weights and settings, as an engine expects them. context: tokens."""
    tokenizer = make_tokenizer(context)
    tokenizer.save_pretrained(folder)
    make_model(family, tokenizer, context).save_pretrained(folder)
    least = SMALLEST[family]
    # min_pixels, max_pixels: for engines whose transformers is older than `size`
    size = {"min_pixels": least, "max_pixels": LARGEST, "size": {"shortest_edge": least, "longest_edge": LARGEST}}
    steps = {"image_processor_type": "Qwen2VLImageProcessor", "merge_size": 2, "temporal_patch_size": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(PIXELS[family] | steps | size, indent=2))


def make_tokenizer(context: int) -> PreTrainedTokenizerFast:
    """Control tokens first, so that their ids are 0..6; then the 256 bytes; then the one merge."""
    words = [*CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ"]
    merges = [("Ġ", "Ġ")]  # llama.cpp wants a list that is not empty: two spaces
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(CONTROL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        model_max_length=context,
    )


def make_model(family: str, tokenizer: PreTrainedTokenizerFast, context: int) -> PreTrainedModel:
    """About half a million weights. Head sizes of 32: what the engines' kernels know."""
    token = dict(zip(CONTROL, range(len(CONTROL)), strict=True))
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        "rope_parameters": rope,
        "bos_token_id": None,
        "eos_token_id": token["<|im_end|>"],
        "pad_token_id": token["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": 128,
        "patch_size": PIXELS[family]["patch_size"],
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    tokens = {
        "image_token_id": token["<|image_pad|>"],
        "video_token_id": token["<|video_pad|>"],
        "vision_start_token_id": token["<|vision_start|>"],
        "vision_end_token_id": token["<|vision_end|>"],
        "tie_word_embeddings": False,
    }
    torch.manual_seed(0)
    model: PreTrainedModel
    if family == "qwen2_5_vl":
        vision |= {"window_size": 112, "fullatt_block_indexes": [1]}
        model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens))
    else:
        text |= {"head_dim": 32, "rope_parameters": rope | {"mrope_interleaved": True, "mrope_section": [6, 5, 5]}}
        vision |= {"num_position_embeddings": 2304, "deepstack_visual_indexes": [0]}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))
    model = model.float()
    model.generation_config = GenerationConfig(eos_token_id=token["<|im_end|>"], pad_token_id=token["<|endoftext|>"])
    return model


if __name__ == "__main__":
    save(Path(sys.argv[1]), *sys.argv[2:3])
