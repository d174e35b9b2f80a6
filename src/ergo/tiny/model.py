"""ergo-tiny from nothing: tokenizer, configuration, initial weights.

A stock Qwen3VLForConditionalGeneration. Qwen3-VL rather than Qwen2.5-VL because its vision tower has
learned positions: rotary positions turn queries and keys, not values, so in Qwen2.5-VL what is
fetched from a picture token does not say where it stood, and a small model needs thousands of steps
to find a way round (docs/log.md). Tokens see 28 x 28 pixels, as in Qwen2.5-VL, without 2x2 merging:
the same number of tokens for a quarter of the vision work.

Two starts that are not random, each because position is what is hard here:
* the position grid of the vision tower starts as sines and cosines of x and y,
* the words that are multiples of 20 start as sines and cosines of their value, so neighbours on the
  coordinate axis are neighbours in the embedding and in the (tied) output layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
TAGS = ["<think>", "</think>", "<zoom>", "</zoom>", "<answer>", "</answer>"]
PATCH = 28  # pixels a token sees, per side
MEAN, STD = 0.5, 0.25  # of every channel, in 0..1
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(corpus: Iterable[str], size: int = 768) -> Any:
    """Byte-level BPE over `corpus`: any text can be written, the world's own words are one token each."""
    tokenizer = Tokenizer(models.BPE())
    words = Regex(r" ?\p{N}{1,4}| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=CONTROL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=1,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens(TAGS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=8192,
    )


def make_config(tokenizer: Any, vision: int, depth: int, text: int, layers: int, heads: int) -> Qwen3VLConfig:
    """vision, text: hidden sizes; depth, layers: numbers of blocks; heads: of both towers."""
    head_dim = text // heads
    third = head_dim // 2 // 3
    token = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": text,
            "intermediate_size": text * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": head_dim,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [head_dim // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": depth,
            "hidden_size": vision,
            "intermediate_size": vision * 4,
            "num_heads": heads,
            "patch_size": PATCH,
            "spatial_merge_size": 1,
            "temporal_patch_size": 1,
            "out_hidden_size": text,
            "num_position_embeddings": 24 * 24,
            "deepstack_visual_indexes": [0, 1],
        },
        tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        eos_token_id=token("<|im_end|>"),
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        ergo_family="ergo_tiny",
    )


def make_model(config: Qwen3VLConfig, tokenizer: Any, seed: int) -> Qwen3VLForConditionalGeneration:
    """Fresh weights: every matrix at 1/sqrt(fan in), residual outputs scaled down by depth."""
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).float()
    depth = config.text_config.num_hidden_layers
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            continue
        fan_in = weight[0].numel()
        scale = 1 / math.sqrt(fan_in)
        if (
            name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight", "linear_fc2.weight"))
            and "merger" not in name
        ):
            scale /= math.sqrt(2 * depth)
        if "embed" in name and "patch_embed" not in name:
            scale = 0.08 if "pos_embed" not in name else 0.02
        if "patch_embed" in name:
            scale *= 0.5  # bright landmarks would drown the positions that are added next
        torch.nn.init.normal_(weight.data, 0.0, scale)
    _start_positions(model.model.visual.pos_embed.weight.data)
    _start_numbers(model.model.language_model.embed_tokens.weight.data, tokenizer)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def waves(values: torch.Tensor, count: int) -> torch.Tensor:
    """[n] values in 0..1 -> [n, 2 * count] sines and cosines of half turns 0.5, 1, ... spaced evenly in octaves."""
    rates = 2 ** torch.linspace(-1, 4, count)
    angles = values[:, None] * rates * math.pi
    return torch.cat([angles.sin(), angles.cos()], 1)


def _start_positions(grid: torch.Tensor) -> None:
    """grid [side * side, hidden]: the first two fourths of the channels become waves of x and of y."""
    side = math.isqrt(grid.shape[0])
    share = grid.shape[1] // 4
    line = torch.linspace(0, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    count = share // 2
    grid[:, : 2 * count] += 1.0 * waves(x.reshape(-1), count)
    grid[:, 2 * count : 4 * count] += 1.0 * waves(y.reshape(-1), count)


def _start_numbers(table: torch.Tensor, tokenizer: Any) -> None:
    """table [vocabulary, hidden]: number words share half of their channels as waves of their value."""
    count = table.shape[1] // 8
    for word, token in tokenizer.get_vocab().items():
        digits = word.lstrip("Ġ")
        if digits.isdecimal() and int(digits) <= 1000 and int(digits) % 20 == 0:
            table[token, : 2 * count] += 0.08 * waves(torch.tensor([int(digits) / 1000]), count)[0] * math.sqrt(2)


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """A checkpoint that plain transformers loads: no code of ours in it."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "Qwen2VLImageProcessor",
                "processor_class": "Qwen3VLProcessor",
                "patch_size": PATCH,
                "merge_size": 1,
                "temporal_patch_size": 1,
                "size": {"shortest_edge": 4 * PATCH * PATCH, "longest_edge": 16384 * PATCH * PATCH},
                "image_mean": [MEAN] * 3,
                "image_std": [STD] * 3,
            },
            indent=2,
        )
        + "\n"
    )
