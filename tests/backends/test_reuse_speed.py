"""What keeping the first look saves, against computing it again and against two plain `generate` calls.

A Qwen2.5-VL of at least 250 M random weights, both looks at about 600 vision tokens (the paper's headline budget), A B C A B C in one process.
Run with `-s` to see the figures; docs/results.md keeps them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import PATCH_SIZE, TOKEN, TOKENIZER, kinds_of, make_processor
from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Message, Request, Sampling
from ergo.core.view import View
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture

pytestmark = pytest.mark.slow
ROUNDS = 3
WRITTEN = 2  # tokens each look: the fewer, the more of the time is looking


def model_of_250_million() -> Any:
    torch.manual_seed(0)
    text = {
        "vocab_size": len(TOKENIZER), "hidden_size": 1280, "intermediate_size": 3456, "num_hidden_layers": 12,
        "num_attention_heads": 10, "num_key_value_heads": 2, "max_position_embeddings": 8192, "bos_token_id": None,
        "eos_token_id": TOKEN["<|im_end|>"], "pad_token_id": TOKEN["<|endoftext|>"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    }  # fmt: skip
    vision = {
        "depth": 8, "hidden_size": 640, "intermediate_size": 1728, "num_heads": 8, "patch_size": PATCH_SIZE["qwen2_5_vl"],
        "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 1280, "window_size": 112, "fullatt_block_indexes": [3, 7],
    }  # fmt: skip
    tokens = {f"{name}_token_id": TOKEN[f"<|{sign}|>"] for name, sign in (
        ("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"), ("vision_end", "vision_end"))}  # fmt: skip
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **tokens))
    model.generation_config = GenerationConfig(pad_token_id=TOKEN["<|endoftext|>"])
    return model.float().eval()


def looks(patch: int) -> tuple[Request, View]:
    values = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Picture(Image.fromarray(values).resize((4000, 3000)))
    budget = TokenBudget(640, patch=patch)
    coarse, close = View.of(picture, budget), View.of(picture, budget, Box(400, 300, 2400, 1800))
    return Request(QWEN2_5_VL.ask_region(coarse, "What is it?"), Sampling(WRITTEN)), close


def by_backend(backend: TransformersBackend) -> Callable[[], None]:
    first, close = looks(backend.processor.patch)

    def both() -> None:
        [one] = backend.complete([first])
        assert not isinstance(one, Exception)
        chat = (*first.chat, Message("assistant", (one.text,)), Message("user", (close, "And?")))
        [two] = backend.complete([Request(chat, Sampling(WRITTEN), previous=one)])
        assert not isinstance(two, Exception)
        assert (two.usage.cached_tokens or 0) > 500 or not backend.reuse

    return both


def by_plain_generate(model: Any, processor: Any) -> Callable[[], None]:
    """The reference's way: each turn is the whole conversation, all its pictures encoded anew."""
    first, close = looks(processor.patch)

    def turn(ids: tuple[int, ...], views: tuple[View, ...]) -> list[int]:
        row = torch.tensor([ids])
        values, grids = processor.pixels(views)
        out = model.generate(
            input_ids=row, attention_mask=torch.ones_like(row), pixel_values=values, image_grid_thw=grids,
            mm_token_type_ids=kinds_of(processor, row), max_new_tokens=WRITTEN, min_new_tokens=WRITTEN, do_sample=False,
        )  # fmt: skip
        return [int(token) for token in out[0]]

    def both() -> None:
        opening = processor.first(first.chat)
        said = turn(opening.ids, opening.views)
        chat = (*first.chat, Message("assistant", ("x",)), Message("user", (close, "And?")))
        going_on = processor.continued(said, opening.views, chat)
        turn(going_on.ids, going_on.views)

    return both


def ratio(slow: list[float], fast: list[float]) -> tuple[float, float, float]:
    """Median of the ratios round by round, least and most."""
    pairs = [a / b for a, b in zip(slow, fast, strict=True)]
    return statistics.median(pairs), min(pairs), max(pairs)


def test_the_second_look_costs_less_when_the_first_is_kept() -> None:
    model, processor = model_of_250_million(), make_processor("qwen2_5_vl")
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert millions >= 250
    ways = {
        "kept": by_backend(TransformersBackend(model, processor, QWEN2_5_VL)),
        "computed again": by_backend(TransformersBackend(model, processor, QWEN2_5_VL, reuse=False)),
        "plain generate": by_plain_generate(model, processor),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        ways["kept"]()  # warm
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.process_time()
                way()
                seconds[name].append(time.process_time() - started)
    print(
        f"\n{millions:.0f} M weights, 600 + 600 vision tokens, {WRITTEN} + {WRITTEN} written, CPU seconds of both looks:"
    )
    for name, times in seconds.items():
        print(f"  {name:15} {statistics.median(times):.1f}")
    for name in ("computed again", "plain generate"):
        middle, least, most = ratio(seconds[name], seconds["kept"])
        print(f"  {name} / kept: {middle:.2f} [{least:.2f}, {most:.2f}]")
    assert ratio(seconds["plain generate"], seconds["kept"])[0] >= 1.3
