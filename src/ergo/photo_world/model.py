"""The reader from nothing: tokenizer, configuration and initial weights of a stock Qwen3-VL.

Answers are spelt character by character; of words only those of the world's questions are tokens, and these have
a space before them, so a sign never melts into one. A patch has 14 pixels, a token 2 x 2 of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from ergo.photo_world.pages import MERGE, PATCH
from ergo.photo_world.texts import CANNOT_TELL
from ergo.tiny.model import CONTROL, TAGS, TEMPLATE, waves

GRID = 20  # thousandths of a view's side: coordinates are multiples of it


def make_tokenizer(corpus: Iterable[str]) -> Any:
    """Bytes, the words of `corpus` with a space before them or with which a sentence of it opens, coordinates, tags."""
    words = {word for text in corpus for word in re.findall(r" [A-Za-z]+|^[A-Z][a-z]+", text)}
    numbers = [str(number) for number in range(0, 1001, GRID)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*CONTROL, *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in [*sorted(words), *(" " + n for n in numbers), *("[" + n for n in numbers)]:
        spelt = word.replace(" ", "Ġ")
        for end in range(2, len(spelt) + 1):
            if spelt[:end] not in vocabulary:
                vocabulary[spelt[:end]] = len(vocabulary)
                merges.append((spelt[: end - 1], spelt[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    split = Regex(r"\[\p{N}+| ?\p{N}+| ?\p{L}+| ?[^\s\p{L}\p{N}\[]+|\[|\s")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(split, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.add_tokens([*TAGS, *(AddedToken(word, single_word=True) for word in (CANNOT_TELL, "user", "assistant"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        padding_side="left",
        model_max_length=8192,
    )


def make_config(tokenizer: Any, width: int, depth: int, layers: int, heads: int) -> Qwen3VLConfig:
    """width: of both halves; depth, layers: blocks of the vision tower and of the language model."""
    head = width // heads
    third = head // 2 // 3
    token = tokenizer.convert_tokens_to_ids
    return Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": width,
            "intermediate_size": width * 3,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "head_dim": head,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100.0,
                "mrope_section": [head // 2 - 2 * third, third, third],
                "mrope_interleaved": True,
            },
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": depth,
            "hidden_size": width,
            "intermediate_size": width * 4,
            "num_heads": heads,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 1,
            "out_hidden_size": width,
            "num_position_embeddings": 24 * 24,
            "deepstack_visual_indexes": [],
            "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
        },
        tie_word_embeddings=True,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        eos_token_id=token("<|im_end|>"),
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        ergo_family="ergo_photo",
    )


def make_model(config: Qwen3VLConfig, tokenizer: Any, patches: torch.Tensor, seed: int) -> Any:
    """Fresh weights. patches [n, 3 * PATCH * PATCH]: what the patch embedding is whitened by.

    A patch of a photograph is nearly constant: an ordinary start sees brightness and nothing else, and letters
    are not learnt in the time there is (docs/log.md).
    """
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).float()
    depth = config.text_config.num_hidden_layers
    for name, weight in model.named_parameters():
        if weight.dim() < 2:
            continue
        scale = 1 / math.sqrt(weight[0].numel())
        if (
            name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight", "linear_fc2.weight"))
            and "merger" not in name
        ):
            scale /= math.sqrt(2 * depth)
        if "embed" in name and "patch_embed" not in name:
            scale = 0.08 if "pos_embed" not in name else 0.02
        torch.nn.init.normal_(weight.data, 0.0, scale)
    visual = model.model.visual
    _start_positions(visual.pos_embed.weight.data)
    _whiten(visual.patch_embed.proj, patches)
    _start_numbers(model.model.language_model.embed_tokens.weight.data, tokenizer)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, do_sample=False
    )
    return model


def _whiten(embedding: Any, patches: torch.Tensor) -> None:
    """Eigenvectors of the patches, over the root of eigenvalue + 0.01; the largest ones first."""
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((patches - mean).T))
    values, vectors = values.flip(0), vectors.flip(1)
    count = embedding.weight.shape[0]
    rows = (vectors[:, :count] / (values[:count] + 0.01).sqrt()).T
    embedding.weight.data.copy_(rows.view_as(embedding.weight))
    embedding.bias.data.copy_(-rows @ mean)


def _start_positions(grid: torch.Tensor) -> None:
    """grid [side * side, hidden]: half of the channels become waves of x and of y."""
    side = math.isqrt(grid.shape[0])
    count = grid.shape[1] // 8
    line = torch.linspace(0, 1, side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    grid[:, : 2 * count] += 0.5 * waves(x.reshape(-1), count)
    grid[:, 2 * count : 4 * count] += 0.5 * waves(y.reshape(-1), count)


def _start_numbers(table: torch.Tensor, tokenizer: Any) -> None:
    """table [vocabulary, hidden]: coordinates share half of their channels as waves of their value."""
    count = table.shape[1] // 8
    for word, token in tokenizer.get_vocab().items():
        digits = word.lstrip("Ġ[")
        if word != digits and digits.isdecimal() and int(digits) <= 1000 and int(digits) % GRID == 0:
            table[token, : 2 * count] += 0.08 * waves(torch.tensor([int(digits) / 1000]), count)[0] * math.sqrt(2)


def save(folder: Path, model: Any, tokenizer: Any) -> None:
    """A checkpoint that plain transformers loads: no code of ours in it."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen3VLProcessor",
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 1,
        "size": {"shortest_edge": 4 * (MERGE * PATCH) ** 2, "longest_edge": 16384 * (MERGE * PATCH) ** 2},
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
