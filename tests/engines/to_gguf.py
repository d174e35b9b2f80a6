"""The checkpoint of tiny_vlm.py as the two files llama.cpp reads: language model and vision tower.

    ENGINE/bin/python tests/engines/to_gguf.py CHECKPOINT OUT      -> OUT/model.gguf, OUT/mmproj.gguf

llama.cpp's own converter is in no package; the table of names that it goes by is, in `gguf`. What stands here beside
it is what the converter does for Qwen2.5-VL and Qwen3-VL (ggml-org/llama.cpp, conversion/qwenvl.py and qwen3vl.py),
in 32 bits. Runs in the engine's environment: gguf, safetensors, numpy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

ARCHITECTURES = {"qwen2_5_vl": gguf.MODEL_ARCH.QWEN2VL, "qwen3_vl": gguf.MODEL_ARCH.QWEN3VL}
RENAMED = {"merger.norm": "merger.ln_q", "merger.linear_fc1": "merger.mlp.0", "merger.linear_fc2": "merger.mlp.2"}
"""Of Qwen3-VL's tower, as Qwen2.5-VL calls the same, which is what the table of names knows."""
DEEPSTACK = {"norm": gguf.MODEL_TENSOR.V_DS_NORM, "linear_fc1": gguf.MODEL_TENSOR.V_DS_FC1, "linear_fc2": gguf.MODEL_TENSOR.V_DS_FC2}  # fmt: skip


def convert(checkpoint: Path, out: Path) -> None:
    """Both files."""
    config = json.loads((checkpoint / "config.json").read_text())
    pixels = json.loads((checkpoint / "preprocessor_config.json").read_text())
    weights = load_file(checkpoint / "model.safetensors")
    out.mkdir(parents=True, exist_ok=True)
    vision = {name.split("visual.", 1)[1]: weight for name, weight in weights.items() if "visual." in name}
    text = {name.replace("language_model.", ""): one for name, one in weights.items() if "visual." not in name}

    architecture = ARCHITECTURES[config["model_type"]]
    names = gguf.get_tensor_name_map(architecture, config["text_config"]["num_hidden_layers"])
    writer = gguf.GGUFWriter(out / "model.gguf", gguf.MODEL_ARCH_NAMES[architecture])
    write_text_settings(writer, config["text_config"])
    if architecture == gguf.MODEL_ARCH.QWEN3VL:
        writer.add_key_length(config["text_config"]["head_dim"])
        writer.add_value_length(config["text_config"]["head_dim"])
        writer.add_num_deepstack_layers(len(config["vision_config"]["deepstack_visual_indexes"]))
    write_vocabulary(writer, checkpoint)
    for name, weight in text.items():
        writer.add_tensor(named(name, names), weight)
    finish(writer)

    writer = gguf.GGUFWriter(out / "mmproj.gguf", "clip")
    write_vision_settings(writer, config["vision_config"], pixels)
    for name, weight in vision_tensors(vision, config["vision_config"]):
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
    writer.add_vision_projection_dim(config["out_hidden_size"])
    writer.add_vision_patch_size(config["patch_size"])
    writer.add_vision_embedding_length(config["hidden_size"])
    writer.add_vision_feed_forward_length(config["intermediate_size"])
    writer.add_vision_block_count(config["depth"])
    writer.add_vision_head_count(config["num_heads"])
    writer.add_vision_attention_layernorm_eps(1e-6)
    writer.add_vision_image_mean(pixels["image_mean"])
    writer.add_vision_image_std(pixels["image_std"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    if "deepstack_visual_indexes" in config:
        writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN3VL)
        writer.add_vision_image_size(round(config["num_position_embeddings"] ** 0.5) * config["patch_size"])
        writer.add_vision_use_gelu(True)
        writer.add_vision_spatial_merge_size(config["spatial_merge_size"])
        deep = config["deepstack_visual_indexes"]
        writer.add_vision_is_deepstack_layers([layer in deep for layer in range(config["depth"])])
    else:
        writer.add_clip_projector_type(gguf.VisionProjectorType.QWEN25VL)
        writer.add_vision_image_size(560)
        writer.add_vision_use_silu(True)
        writer.add_vision_n_wa_pattern(config["fullatt_block_indexes"][0] + 1)


def vision_tensors(weights: dict[str, np.ndarray], config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Renamed; the two frames of the patch embedding apart; Qwen2.5-VL's queries, keys and values apart."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, max(config["depth"], 3))  # the merger's layers are 0 and 2
    for name, weight in weights.items():
        module, kind = name.rsplit(".", 1)
        if name == "patch_embed.proj.weight":
            for frame, suffix in enumerate(("", ".1")):
                yield f"v.patch_embd.weight{suffix}", np.ascontiguousarray(weight[:, :, frame])
        elif module.startswith("deepstack_merger_list."):
            _, number, part = module.split(".")
            layer = config["deepstack_visual_indexes"][int(number)]
            yield f"{gguf.TENSOR_NAMES[DEEPSTACK[part]].format(bid=layer)}.{kind}", weight
        elif ".attn.qkv." in name and "deepstack_visual_indexes" not in config:
            for part, third in zip("qkv", np.split(weight, 3), strict=True):
                yield named(f"visual.{name.replace('qkv', part)}", names), third
        else:
            yield named(f"visual.{RENAMED.get(module, module)}.{kind}", names), weight


def named(name: str, names: gguf.TensorNameMap) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    found = names.get_name(name, try_suffixes=(".weight", ".bias"))
    assert found is not None, f"gguf knows no name for {name}"
    return str(found)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
