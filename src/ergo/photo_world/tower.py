"""The stock Qwen3-VL vision tower over a batch of pictures of one size, several times faster on a CPU.

transformers runs attention picture by picture; here all pictures of a batch share one call. The weights, and up
to rounding the result, are those of the stock class (tests/photo_world/test_tower.py). Under autocast attention stays
in float32: on CPUs with bfloat16 products the backward pass of attention is four times slower in bfloat16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers.models.qwen3_vl.modeling_qwen3_vl import rotate_half
from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

from ergo.photo_world.pages import MERGE


def patches_of(pictures: np.ndarray, side: int) -> torch.Tensor:
    """[B, H, W, 3] bytes -> [B, patches, 3 * side * side] in -2..2, patches in the tower's order (merged 2 x 2)."""
    count, high, wide, _ = pictures.shape
    rows, columns = high // (MERGE * side), wide // (MERGE * side)
    grid = pictures.reshape(count, rows, MERGE, side, columns, MERGE, side, 3)
    flat = grid.transpose(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, rows * columns * MERGE * MERGE, 3 * side * side)
    return torch.from_numpy(np.ascontiguousarray(flat)).float().mul_(4 / 255).sub_(2)


def in_tower_order(labels: np.ndarray) -> np.ndarray:
    """[B, rows, columns] labels of patches -> [B, patches] in the tower's order."""
    count, rows, columns = labels.shape
    grid = labels.reshape(count, rows // MERGE, MERGE, columns // MERGE, MERGE)
    return grid.transpose(0, 1, 3, 2, 4).reshape(count, rows * columns)


def see(visual: Any, patches: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """What the last block says of every patch [B, patches, hidden]. rows, columns: of patches."""
    grid = torch.tensor([[1, rows, columns]])
    indices, weights = get_vision_interpolation_indices_and_weights(
        grid,
        num_grid_per_side=visual.num_grid_per_side,
        mode=visual.interpolation_mode,
        align_corners=visual.interpolation_align_corners,
        spatial_merge_size=MERGE,
    )
    proj = visual.patch_embed.proj
    hidden: torch.Tensor = functional.linear(patches, proj.weight.flatten(1), proj.bias)
    hidden = hidden + (visual.pos_embed(indices) * weights[:, :, None]).sum(1)
    cos, sin = visual.rotary_pos_emb(hidden, get_vision_position_ids(grid, MERGE))
    for block in visual.blocks:
        hidden = hidden + _attend(block.attn, block.norm1(hidden), cos, sin)
        hidden = hidden + block.mlp(block.norm2(hidden))
    return hidden


def merge(visual: Any, hidden: torch.Tensor) -> torch.Tensor:
    """[B, patches, hidden] -> what the language model is shown [B, tokens, its hidden size]."""
    tokens: torch.Tensor = visual.merger(hidden.reshape(-1, hidden.shape[-1]))
    return tokens.view(hidden.shape[0], -1, tokens.shape[-1])


def float_attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attention in float32, also under autocast."""
    with torch.autocast("cpu", enabled=False):
        mixed: torch.Tensor = functional.scaled_dot_product_attention(
            queries.float(), keys.float(), values.float(), attn_mask=mask
        )
    return mixed


def _attend(attention: Any, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    count, length, width = hidden.shape
    qkv = attention.qkv(hidden).view(count, length, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    queries, keys, values = qkv.unbind(0)
    queries = queries * cos + rotate_half(queries) * sin
    keys = keys * cos + rotate_half(keys) * sin
    mixed = float_attention(queries, keys, values)
    result: torch.Tensor = attention.proj(mixed.transpose(1, 2).reshape(count, length, width))
    return result
