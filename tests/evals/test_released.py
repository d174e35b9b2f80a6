"""--released-pixels: what a model is shown, to the pixel, as the released code shows it (its rule in Pillow's words)."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
from evaluating import TWO_LOOKS, model, reported, samples
from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.flows import Question
from ergo.core.geometry import Box, Size
from ergo.core.messages import Completion, Request
from ergo.core.view import View
from ergo.evals.conditions import Protocol
from ergo.evals.released import Released, released_coarse_to_fine, released_region
from ergo.images.picture import Picture


def sized(width: int, height: int, tokens: int) -> tuple[int, int]:
    def sides(scale: float) -> list[int]:
        return [round(side / scale / 28) * 28 for side in (width, height)]

    w, h = (max(28, side) for side in sides(1.0))
    if w * h > tokens * 784:
        w, h = sides(math.sqrt(width * height / (tokens * 784)))
    elif w * h < 4 * 784:
        grow = math.sqrt(4 * 784 / (width * height))
        w, h = math.ceil(width * grow / 28) * 28, math.ceil(height * grow / 28) * 28
    return w, h


def shown(picture: Image.Image, reply: str, tokens: int) -> tuple[View, View]:
    """Both views of the flow."""
    config = model().look_config(tokens)
    budget = Released(tokens, 4, 28)
    config = type(config)(config.family, budget, budget, config.sampling)
    flow = released_coarse_to_fine(Picture(picture), Question("?"), config)
    first = next(flow)
    second = flow.send(Completion(reply))
    return first.views[0], second.views[1]


def same(view: View, expected: Image.Image) -> bool:
    return view.pixels.size == expected.size and np.array_equal(np.asarray(view.pixels), np.asarray(expected))


def test_coarse_and_close_views_are_the_released_codes_to_the_pixel() -> None:
    draw, noise = random.Random(5), np.random.default_rng(5)
    for _ in range(60):
        width, height, tokens = draw.randint(40, 700), draw.randint(40, 700), draw.choice((16, 64, 200))
        picture = Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
        w, h = sized(width, height, tokens)
        x1, y1 = draw.randint(0, w - 20), draw.randint(0, h - 20)
        x2, y2 = draw.randint(x1 + 10, w + 50), draw.randint(y1 + 10, h + 50)
        coarse, close = shown(picture, f"<think>here</think> <zoom>[{x1}, {y1}, {x2},{y2}]</zoom>", tokens)
        assert same(coarse, picture.resize((w, h), Image.Resampling.BICUBIC))
        corners = [int(min(side, limit)) for side, limit in
                   ((x1 * (width / w), width), (y1 * (height / h), height), (x2 * (width / w), width), (y2 * (height / h), height))]  # fmt: skip
        crop = picture.crop((corners[0], corners[1], corners[2], corners[3]))
        assert same(close, crop.resize(sized(*crop.size, tokens), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    "reply",
    ["[5, 5, 20, 20]", "<zoom>[5.5, 5, 20, 20]</zoom>", "<zoom>[1, 2, 3, 4] [5, 6, 7, 8]</zoom>", "<zoom>(5, 5, 20, 20)</zoom>",
     "<zoom>[5, 5, 20, 20]", "<zoom>[-5, 5, 20, 20]</zoom>", ""],
)  # fmt: skip
def test_a_region_that_it_cannot_read_shows_the_whole_picture_unscaled(reply: str) -> None:
    _, close = shown(Image.new("RGB", (333, 222), "red"), reply, 16)
    assert (close.size, close.tokens) == (Size(333, 222), 12 * 8)  # Qwen's processor: 336 x 224


def test_the_first_zoom_counts_and_an_empty_one_fails() -> None:
    coarse = View.of(Picture(Image.new("RGB", (280, 280))), Released(100, 4, 28))
    box = released_region("<zoom>[0, 0, 28, 28]</zoom> <zoom>[50, 50, 90, 90]</zoom>", coarse)
    assert box == Box(0, 0, 28, 28)
    for empty in ("[50, 50, 50, 90]", "[90, 50, 50, 90]", "[500, 50, 600, 90]"):
        with pytest.raises(PictureError, match="holds nothing"):
            released_region(f"<zoom>{empty}</zoom>", coarse)


def test_a_run_with_it_is_scored_and_failures_are_named(tmp_path: Path) -> None:
    def script(request: Request) -> str:
        return "<zoom>[90, 5, 20, 20]</zoom>" if request.expect == "region" else "<answer>A</answer>"

    report = reported(
        tmp_path, lambda: samples(2), model(script), [TWO_LOOKS], Protocol("published", released_pixels=True)
    )
    assert report.figures[0].failures == {"empty_region": 2}
