"""Everything of transformers that its documentation does not promise, in one file.

Its caches, `mm_encoder_outputs` and the torchvision-free way to a checkpoint's picture settings have changed
between minor versions before. pyproject.toml bounds the versions, `check_version` says so in one line, and the
tests of this package compare every step with transformers' own plain `generate`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionLayer

# not from the top: in some versions that name wants torchvision, the class itself does not
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.utils import cached_file

from ergo.core.errors import UsageError

TESTED = ("5.18", "5.25")
"""Versions of transformers from and before which this file is right; the same bounds as in pyproject.toml."""


def check_version(version: str = transformers.__version__) -> None:
    """Refuse, in one line, a transformers whose insides are not the ones used here."""
    if not Version(TESTED[0]) <= Version(Version(version).base_version) < Version(TESTED[1]):
        raise UsageError(
            f"transformers {version} is not one that ergo knows from the inside: "
            f"pip install 'transformers>={TESTED[0]},<{TESTED[1]}'"
        )


# ── forward ────────────────────────────────────────────────────────────────────────────────────


def image_features(model: Any, pixels: torch.Tensor, grids: torch.Tensor) -> Any:
    """What the vision tower makes of views: pixel patches and grids [views, 3], as `forward` takes it."""
    return model.model.get_image_features(pixels.to(model.dtype), grids, return_dict=True)


def part_of(features: Any, start: int, stop: int) -> Any:
    """The features of some of the views, for models without deepstack features, which would need cutting as well."""
    return type(features)(pooler_output=features.pooler_output[start:stop])


def forward(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, features: Any
) -> torch.Tensor:
    """Logits [rows, vocabulary] after the last of `ids` [rows, new]; the cache grows by them.

    mask: [rows, cached + new]. positions: [3, rows, new], always given: left out, transformers computes them from
    `rope_deltas`, which it keeps ON THE MODEL from whatever conversation came before, and is silently wrong by
    several logits. features: of the views among `ids`, or None. Given as `pixel_values`, transformers would look
    for the tokens of all earlier views among the new ids.
    """
    out = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        mm_encoder_outputs={"image": features} if features is not None else None,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits


def hidden_states(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, features: Any
) -> torch.Tensor:
    """As `forward`, but the last layer's states [rows, new, hidden] and no logits; gradients flow through the cache."""
    out = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        mm_encoder_outputs={"image": features} if features is not None else None,
        use_cache=True,
    )
    hidden: torch.Tensor = out.last_hidden_state
    return hidden


# ── cache ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Kept:
    """One conversation's cache, after `length` tokens.

    layers: of an attention layer keys and values [heads, length, head_dim], without padding; of a recurrent one
    (Qwen3.5's gated delta nets) the convolution's last inputs and the state, which can be continued but, unlike
    keys and values, never cut back to fewer tokens.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    length: int


def is_recurrent(model: Any) -> bool:
    """Whether some of its layers keep a state instead of keys and values."""
    return "linear_attention" in (getattr(model.config.get_text_config(), "layer_types", None) or ())


def kept_of(cache: DynamicCache, row: int, mask: torch.Tensor) -> Kept:
    """One row's part of a batched cache; mask [length] of what is not padding."""
    places = mask.nonzero()[:, 0]
    layers = []
    for layer in cache.layers:
        if isinstance(layer, LinearAttentionLayer):
            # copied: the layer writes its next state into the same memory
            layers.append((layer.conv_states[0][row].clone(), layer.recurrent_states[0][row].clone()))
        else:
            layers.append((layer.keys[row][:, places], layer.values[row][:, places]))
    return Kept(tuple(layers), len(places))


def select_rows(cache: DynamicCache, rows: torch.Tensor) -> None:
    """Make the cache one of these rows, in this order; a row may be taken several times."""
    cache.reorder_cache(rows)


def joined(parts: Sequence[Kept], model: Any) -> DynamicCache:
    """One batched cache from many conversations, each padded with zeros on its left to the longest."""
    cache = DynamicCache(config=model.config.get_text_config())
    length = max((part.length for part in parts), default=0)
    for number in range(len(parts[0].layers) if parts else 0):
        pairs = [part.layers[number] for part in parts]
        if isinstance(cache.layers[number], LinearAttentionLayer):
            inputs, states = (torch.stack(side) for side in zip(*pairs, strict=True))
            cache.update_conv_state(inputs, number, conv_kernel_size=inputs.shape[-1])
            cache.update_recurrent_state(states, number)
            continue
        keys, values = pairs[0]
        shape = (len(parts), keys.shape[0], length, keys.shape[2])
        all_keys, all_values = keys.new_zeros(shape), values.new_zeros(shape)
        for row, part in enumerate(parts):
            all_keys[row, :, length - part.length :] = part.layers[number][0]
            all_values[row, :, length - part.length :] = part.layers[number][1]
        cache.update(all_keys, all_values, number)
    return cache


# ── files of a checkpoint ──────────────────────────────────────────────────────────────────────


def picture_settings(name: str) -> Any:
    """patch_size, merge_size, image_mean ... of a checkpoint; AutoProcessor would need torchvision."""
    return AutoImageProcessor.from_pretrained(name)


def chat_template_file(name: str) -> str | None:
    """The template in chat_template.json, where older checkpoints keep it apart from the tokenizer."""
    found = cached_file(name, "chat_template.json", _raise_exceptions_for_missing_entries=False)
    return str(json.loads(Path(found).read_text(encoding="utf-8"))["chat_template"]) if found else None
