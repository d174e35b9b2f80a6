"""A model in the shapes of Qwen2.5-VL-7B with random weights, built on the device; and the same shrunk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny_models import PATCH_SIZE, TOKEN, TOKENIZER
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.initialization import no_init_weights

PUBLISHED = Path(__file__).parent / "qwen2_5_vl_7b.json"
SHRUNK_TEXT = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
}  # fmt: skip
SHRUNK_VISION = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 128,
                 "fullatt_block_indexes": [1]}  # fmt: skip


def config(shrunk: bool) -> Qwen2_5_VLConfig:
    """The published configuration, with the token ids of the tests' tokenizer."""
    published = json.loads(PUBLISHED.read_text())
    text = published["text_config"] | (SHRUNK_TEXT if shrunk else {})
    vision = published["vision_config"] | (SHRUNK_VISION if shrunk else {})
    text |= {"bos_token_id": None, "eos_token_id": TOKEN["<|im_end|>"], "pad_token_id": TOKEN["<|endoftext|>"]}
    signs = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    tokens = {f"{name}_token_id": TOKEN[f"<|{sign}|>"] for name, sign in signs.items()}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **tokens)


def build(device: str, dtype: torch.dtype, shrunk: bool) -> Any:
    """Random weights on `device`; the end token is never the likeliest, so that replies have their full length."""
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model = Qwen2_5_VLForConditionalGeneration(config(shrunk))
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0) if "norm" in name else weight.normal_(0.0, 0.02)
        model.lm_head.weight[TOKEN["<|im_end|>"]] = 0.0
    model.generation_config = GenerationConfig(pad_token_id=TOKEN["<|endoftext|>"])
    return model.eval()


def save(model: Any, folder: Path) -> Path:
    """As a checkpoint that the trainer loads."""
    model.save_pretrained(folder)
    TOKENIZER.save_pretrained(folder)
    settings = {
        "image_processor_type": "Qwen2VLImageProcessor", "patch_size": PATCH_SIZE["qwen2_5_vl"], "merge_size": 2,
        "temporal_patch_size": 2, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
        "size": {"shortest_edge": 3136, "longest_edge": 12845056},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
