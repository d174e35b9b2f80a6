"""Small random Qwen2.5-VL and Qwen3-VL models: right in every shape, without a thought. Nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.processor import Normalisation, Prepared, Processor
from ergo.families import family_of_checkpoint

torch.set_num_threads(1)  # at this size more threads only wait for each other

FAMILY_NAMES = ("qwen2_5_vl", "qwen3_vl")
ARCHITECTURES = (*FAMILY_NAMES, "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe")
"""What runs in process. The last two keep states instead of keys in three layers of four."""
CONTROL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
TOKEN = {word: number for number, word in enumerate(CONTROL)}
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
PATCH_SIZE = {"qwen2_5_vl": 14, "qwen3_vl": 16, "qwen3_vl_moe": 16, "qwen3_5": 16, "qwen3_5_moe": 16}


def make_tokenizer(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    """One token per byte, after the control tokens."""
    words = [*CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(CONTROL)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=template
    )


TOKENIZER = make_tokenizer()


def make_model(family: str, seed: int = 0) -> Any:
    """About 0.2 million weights, large enough ones that the picture decides what is said.

    Of newer architectures the released configuration with fewer and narrower layers: its head sizes, rotary
    sections, layer pattern and experts per token are kept.
    """
    torch.manual_seed(seed)
    if family not in FAMILY_NAMES:
        return _finished(_shrunk(family))
    text = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "max_position_embeddings": 4096,
        "bos_token_id": None,
        "eos_token_id": TOKEN["<|im_end|>"],
        "pad_token_id": TOKEN["<|endoftext|>"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "patch_size": PATCH_SIZE[family],
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 48,
        "initializer_range": 0.2,
    }
    tokens = {
        "image_token_id": TOKEN["<|image_pad|>"],
        "video_token_id": TOKEN["<|video_pad|>"],
        "vision_start_token_id": TOKEN["<|vision_start|>"],
        "vision_end_token_id": TOKEN["<|vision_end|>"],
        "tie_word_embeddings": False,
    }
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 2, 2]}
    model: Any
    if family == "qwen2_5_vl":
        vision |= {"window_size": 112, "fullatt_block_indexes": [1]}
        config = Qwen2_5_VLConfig(text_config=text | {"rope_parameters": rope}, vision_config=vision, **tokens)
        model = Qwen2_5_VLForConditionalGeneration(config)
    else:
        vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text |= {"rope_parameters": rope | {"mrope_interleaved": True}, "head_dim": 12}
        model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **tokens))
    return _finished(model)


def _finished(model: Any) -> Any:
    model.generation_config = GenerationConfig(eos_token_id=TOKEN["<|im_end|>"], pad_token_id=TOKEN["<|endoftext|>"])
    return model.float().eval()


def _shrunk(architecture: str) -> Any:
    config = AutoConfig.for_model(architecture)
    text, vision = config.text_config, config.vision_config
    text.vocab_size, text.hidden_size, text.intermediate_size = len(TOKENIZER), 64, 96
    text.num_attention_heads, text.num_key_value_heads = 4, 2
    text.initializer_range = vision.initializer_range = 0.2
    text.eos_token_id, text.pad_token_id = TOKEN["<|im_end|>"], TOKEN["<|endoftext|>"]
    vision.depth, vision.hidden_size, vision.intermediate_size, vision.num_heads = 2, 32, 64, 2
    vision.out_hidden_size, vision.num_position_embeddings = 64, 64
    if "moe" in architecture:
        text.num_experts, text.moe_intermediate_size = 8, 32
    if architecture == "qwen3_vl_moe":  # 30B-A3B's head size and rotary sections
        text.num_hidden_layers, text.head_dim, vision.deepstack_visual_indexes = 2, 128, [0]
        text.num_experts_per_tok, text.norm_topk_prob = 2, True
        text.rope_parameters = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}  # fmt: skip
    else:
        text.num_hidden_layers, text.layer_types = 4, ["linear_attention"] * 3 + ["full_attention"]
        text.linear_num_key_heads, text.linear_num_value_heads = 2, 4
        text.rope_parameters = text.rope_parameters | {"mrope_section": [11, 11, 10], "mrope_interleaved": True}
    if architecture == "qwen3_5_moe":
        text.num_experts_per_tok, text.shared_expert_intermediate_size = 2, 32
    config.image_token_id, config.video_token_id = TOKEN["<|image_pad|>"], TOKEN["<|video_pad|>"]
    config.vision_start_token_id, config.vision_end_token_id = TOKEN["<|vision_start|>"], TOKEN["<|vision_end|>"]
    return AutoModelForImageTextToText.from_config(config)


def make_processor(family: str, tokenizer: Any = TOKENIZER) -> Processor:
    return Processor(tokenizer, PATCH_SIZE[family], 2, 2, Normalisation(MEAN, STD))


def kinds_of(processor: Processor, ids: torch.Tensor) -> torch.Tensor:
    """mm_token_type_ids, as plain transformers wants them: 1 where a token stands for a vision token."""
    return (ids == processor.image_id).int()


def fed(processor: Processor, prepared: Sequence[Prepared]) -> dict[str, torch.Tensor]:
    """What plain transformers is fed: left-padded input_ids, attention_mask, mm_token_type_ids, [rows, length]."""
    length = max(len(one.ids) for one in prepared)
    ids = torch.full((len(prepared), length), processor.tokenizer.pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(prepared):
        ids[row, length - len(one.ids) :] = torch.tensor(one.ids)
        mask[row, length - len(one.ids) :] = 1
    return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds_of(processor, ids)}


def make_backend(family: str, **settings: Any) -> TransformersBackend:
    return TransformersBackend(make_model(family), make_processor(family), family_of_checkpoint(family), **settings)


def save(folder: Path, family: str) -> Path:
    """A checkpoint as the Hub would hold it."""
    make_model(family).save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "patch_size": PATCH_SIZE[family],
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": MEAN,
        "image_std": STD,
        "size": {"shortest_edge": 3136, "longest_edge": 12845056},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
