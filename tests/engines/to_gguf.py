"""The checkpoint of tiny_vlm.py as the two files llama.cpp reads: language model and vision tower.

    ENGINE/bin/python tests/engines/to_gguf.py CHECKPOINT OUT      -> OUT/model.gguf, OUT/mmproj.gguf

llama.cpp's own converter is in no package and knows a hundred models; ours is one, and 32-bit. Runs in
the engine's environment: gguf, safetensors, numpy.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

TEXT = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
VISION = {
    "merger.ln_q": "v.post_ln",
    "merger.mlp.0": "mm.0",
    "merger.mlp.2": "mm.2",
    "norm1": "ln1",
    "norm2": "ln2",
    "attn.proj": "attn_out",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of modules: Hugging Face's -> llama.cpp's."""


def convert(checkpoint: Path, out: Path) -> None:
    """Both files."""
    config = json.loads((checkpoint / "config.json").read_text())
    pixels = json.loads((checkpoint / "preprocessor_config.json").read_text())
    weights = load_file(checkpoint / "model.safetensors")
    out.mkdir(parents=True, exist_ok=True)
    vision = {name.split("visual.", 1)[1]: weight for name, weight in weights.items() if "visual." in name}
    text = {name: weight for name, weight in weights.items() if "visual." not in name}

    writer = gguf.GGUFWriter(out / "model.gguf", "qwen2vl")
    write_text_settings(writer, config["text_config"])
    write_vocabulary(writer, checkpoint)
    for name, weight in text.items():
        writer.add_tensor(renamed(name, TEXT, "model.layers.", "blk."), weight)
    finish(writer)

    writer = gguf.GGUFWriter(out / "mmproj.gguf", "clip")
    write_vision_settings(writer, config["vision_config"], pixels)
    for name, weight in vision_tensors(vision):
        writer.add_tensor(name, weight)
    finish(writer)


def write_text_settings(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_sections([*config["rope_parameters"]["mrope_section"], 0])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def write_vocabulary(writer: gguf.GGUFWriter, checkpoint: Path) -> None:
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text())
    control = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    kinds = [gguf.TokenType.CONTROL if word in control else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(control["<|im_end|>"])
    writer.add_pad_token_id(control["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text())


def write_vision_settings(writer: gguf.GGUFWriter, config: dict[str, Any], pixels: dict[str, Any]) -> None:
    writer.add_type(gguf.GGUFType.MMPROJ)
    writer.add_clip_has_vision_encoder(True)
    writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
    writer.add_vision_projection_dim(config["out_hidden_size"])
    writer.add_vision_image_size(560)
    writer.add_vision_patch_size(config["patch_size"])
    writer.add_vision_embedding_length(config["hidden_size"])
    writer.add_vision_feed_forward_length(config["intermediate_size"])
    writer.add_vision_block_count(config["depth"])
    writer.add_vision_head_count(config["num_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_use_silu(True)
    writer.add_vision_n_wa_pattern(config["fullatt_block_indexes"][0] + 1)
    writer.add_vision_image_mean(pixels["image_mean"])
    writer.add_vision_image_std(pixels["image_std"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)


def vision_tensors(weights: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Renamed; queries, keys and values apart; the two frames of the patch embedding apart."""
    tensors = []
    for name, weight in weights.items():
        if name.startswith("patch_embed."):
            for frame, suffix in enumerate(("", ".1")):
                tensors.append((f"v.patch_embd.weight{suffix}", np.ascontiguousarray(weight[:, :, frame])))
        elif ".attn.qkv." in name:
            block, kind = name.split(".")[1], name.rsplit(".", 1)[1]
            for part, third in zip("qkv", np.split(weight, 3), strict=True):
                tensors.append((f"v.blk.{block}.attn_{part}.{kind}", third))
        else:
            tensors.append((renamed(name, VISION, "blocks.", "v.blk."), weight))
    return tensors


def renamed(name: str, names: dict[str, str], blocks: str, ours: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    module, kind = name.rsplit(".", 1)
    if not module.startswith(blocks):
        return f"{names[module]}.{kind}"
    number, module = module.removeprefix(blocks).split(".", 1)
    return f"{ours}{number}.{names[module]}.{kind}"


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
