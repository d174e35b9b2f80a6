"""How quick looking could be: the model's arithmetic and memory traffic over what the machine can do.

    vision    2 * weights * patches + 2 * merger * tokens + attention(patches)      FLOP
    prefill   2 * weights * n + 4 * hidden * layers * (n * past + n^2 / 2) + head   FLOP
    decode    (weight bytes + cache bytes per token * context) / bandwidth          seconds per token, one request

A measured time stands beside its roofline so that one sees what is physics and what is ours. Work of the
vision tower that is not matrix work, and the embedding, are left out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ergo.core.errors import UsageError


@dataclass(frozen=True)
class Rates:
    """What a machine can do. flops: matrix FLOP per second; bandwidth: bytes of memory per second."""

    flops: float
    bandwidth: float


@dataclass(frozen=True)
class ModelShape:
    """What of a Qwen-VL model costs time.

    vision, merger, text, head: weights of the tower's blocks, of its mergers, of the language layers,
    and of the output layer. patches: per vision token. window: patches that see each other in a
    windowed block; full_blocks: blocks in which all do. weight_bytes: of one weight.
    cache_bytes: keys and values of one token.
    """

    vision: int
    merger: int
    text: int
    head: int
    patches: int
    vision_width: int
    full_blocks: int
    windowed_blocks: int
    window: int
    text_width: int
    layers: int
    weight_bytes: int
    cache_bytes: int

    @classmethod
    def of(cls, config: Mapping[str, Any], weight_bytes: int = 2) -> ModelShape:
        """From a checkpoint's config.json (Qwen2.5-VL and Qwen3-VL)."""
        try:
            text = {**config, **config.get("text_config", {})}
            return _shape(text, config["vision_config"], weight_bytes)
        except (KeyError, TypeError) as error:
            raise UsageError(f"no roofline can be computed for this model: its config.json lacks {error}") from error


def _shape(text: Mapping[str, Any], vision: Mapping[str, Any], weight_bytes: int) -> ModelShape:
    width, wide, depth = vision["hidden_size"], vision["intermediate_size"], vision["depth"]
    gated = "fullatt_block_indexes" in vision  # Qwen2.5-VL: gated MLP and windows; Qwen3-VL: neither
    full = len(vision["fullatt_block_indexes"]) if gated else depth
    merged = width * vision["spatial_merge_size"] ** 2
    mergers = 1 + len(vision.get("deepstack_visual_indexes") or ())
    hidden, layers = text["hidden_size"], text["num_hidden_layers"]
    head_width = text.get("head_dim") or hidden // text["num_attention_heads"]
    queries, keys = text["num_attention_heads"] * head_width, text["num_key_value_heads"] * head_width
    patch = vision["patch_size"]
    return ModelShape(
        vision=depth * (4 * width**2 + (3 if gated else 2) * width * wide)
        + 3 * vision.get("temporal_patch_size", 2) * patch**2 * width,
        merger=mergers * (merged**2 + merged * vision["out_hidden_size"]),
        text=layers * (2 * hidden * queries + 2 * hidden * keys + 3 * hidden * text["intermediate_size"]),
        head=hidden * text["vocab_size"],
        patches=vision["spatial_merge_size"] ** 2,
        vision_width=width,
        full_blocks=full,
        windowed_blocks=depth - full,
        window=(vision.get("window_size", 0) // patch) ** 2,
        text_width=queries,
        layers=layers,
        weight_bytes=weight_bytes,
        cache_bytes=2 * layers * keys * weight_bytes,
    )


@dataclass(frozen=True)
class LookCost:
    """One exchange in tokens. views: of each picture newly shown; fresh: prompt tokens to be computed;
    past: tokens in the cache before; output_tokens: generated."""

    views: tuple[int, ...]
    fresh: int
    past: int
    output_tokens: int


@dataclass(frozen=True)
class Roofline:
    """Least seconds of one sample, by part."""

    vision: float
    prefill: float
    decode: float

    @property
    def total(self) -> float:
        return self.vision + self.prefill + self.decode


def vision_flops(shape: ModelShape, tokens: int) -> float:
    """Of one view."""
    patches = tokens * shape.patches
    attention = (
        4.0 * shape.vision_width * patches * (shape.window * shape.windowed_blocks + patches * shape.full_blocks)
    )
    return 2.0 * shape.vision * patches + 2.0 * shape.merger * tokens + attention


def prefill_flops(shape: ModelShape, fresh: int, past: int) -> float:
    """Of `fresh` tokens after `past` cached ones; one position goes through the output layer."""
    attention = 4.0 * shape.text_width * shape.layers * (fresh * past + fresh**2 / 2)
    return 2.0 * shape.text * fresh + attention + 2.0 * shape.head


def latency_roofline(shape: ModelShape, rates: Rates, looks: Sequence[LookCost]) -> Roofline:
    """One request at a time: decoding reads all weights for every token."""
    weights = (shape.text + shape.head) * shape.weight_bytes
    read = sum(
        one.output_tokens * (weights + shape.cache_bytes * (one.past + one.fresh + one.output_tokens / 2))
        for one in looks
    )
    return Roofline(_vision(shape, rates, looks), _prefill(shape, rates, looks), read / rates.bandwidth)


def throughput_roofline(shape: ModelShape, rates: Rates, looks: Sequence[LookCost], batch: int) -> Roofline:
    """`batch` requests at a time: they share the reading of the weights, and nothing overlaps."""
    weights = (shape.text + shape.head) * shape.weight_bytes / batch
    read = sum(
        one.output_tokens * (weights + shape.cache_bytes * (one.past + one.fresh + one.output_tokens / 2))
        for one in looks
    )
    computed = sum(one.output_tokens * 2.0 * (shape.text + shape.head) for one in looks)
    decode = read / rates.bandwidth + computed / rates.flops
    return Roofline(_vision(shape, rates, looks), _prefill(shape, rates, looks), decode)


def _vision(shape: ModelShape, rates: Rates, looks: Sequence[LookCost]) -> float:
    return sum(vision_flops(shape, tokens) for one in looks for tokens in one.views) / rates.flops


def _prefill(shape: ModelShape, rates: Rates, looks: Sequence[LookCost]) -> float:
    return sum(prefill_flops(shape, one.fresh, one.past) for one in looks) / rates.flops


def measured_rates(device: str, dtype: str) -> Rates:
    """The better of a few matrix products and copies on this machine, now; about a second."""
    import torch

    kind = getattr(torch, dtype)
    side = 8192 if device.startswith("cuda") else 1024
    left, right = (torch.randn(side, side, device=device).to(kind) for _ in range(2))
    product = _quickest(lambda: left @ right, device)
    # far more than any cache holds, or the cache would be measured
    block = torch.empty(2**29 if device.startswith("cuda") else 2**26, dtype=torch.uint8, device=device)
    copy = _quickest(block.clone, device)
    return Rates(2.0 * side**3 / product, 2.0 * block.numel() / copy)


def _quickest(work: Any, device: str, times: int = 5) -> float:
    import torch

    best = float("inf")
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best
