"""What is shown of any picture and any region of it: within budget, never thinner than 1:200, sized as Qwen sizes it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from PIL import Image

from ergo.core.geometry import Box, Size
from ergo.core.view import View
from ergo.families import FAMILIES
from ergo.families.base import ModelFamily

SLIVER = 200


class Blank:
    """A picture of any size that costs nothing."""

    name, lazy = "blank", False

    def __init__(self, size: Size) -> None:
        self.size = size

    def read_size(self, box: Box, size: Size) -> Size:
        return self.size

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        return Image.new("RGB", (size.width, size.height))


def side(generator: random.Random) -> int:
    """From 1 pixel to a million, each order of magnitude as likely; often exactly at an edge."""
    if generator.random() < 0.1:
        return generator.choice((1, 2, 13, 14, 27, 28, 29, 31, 32, 33, 56, 199, 200, 201, 5600, 1_000_000))
    return round(10 ** generator.uniform(0, 6))


def region(generator: random.Random, size: Size) -> Box:
    across, down = (sorted(generator.choices(range(length + 1), k=2)) for length in (size.width, size.height))
    if generator.random() < 0.5:  # small, or thin
        across[1], down[1] = across[0] + side(generator), down[0] + side(generator)
    left, top = min(across[0], size.width - 1), min(down[0], size.height - 1)
    return Box(left, top, max(left + 1, min(across[1], size.width)), max(top + 1, min(down[1], size.height)))


def check(family: ModelFamily, count: int, seed: int) -> Counter[str]:
    """Of `count` random pictures and regions, how many were what; AssertionError where a promise is broken."""
    qwen = pytest.importorskip(
        "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
        reason="compares with transformers, which is not installed",
    )
    generator, found = random.Random(seed), Counter[str]()
    for _ in range(count):
        picture = Blank(Size(side(generator), side(generator)))
        asked = region(generator, picture.size) if generator.random() < 0.7 else Box.whole(picture.size)
        least = family.min_tokens
        tokens = generator.choice((least, least + 1, 2 * least, 640, 1280, 16384, generator.randint(least, 16384)))
        budget = family.token_budget(max(tokens, least))
        view = View.of(picture, budget, asked)
        shown, case = view.size, (picture.size, asked, budget, view)
        found["views"] += 1
        assert view.tokens <= budget.max_tokens, case
        assert view.tokens >= min(least, budget.max_tokens), case
        assert thinness(shown) <= SLIVER, case
        assert view.box.clamped(picture.size) == view.box, case
        if thinness(asked.size) <= SLIVER:
            assert view.box == asked, case
        if asked == Box.whole(picture.size):
            assert (view.box, view.asked) == (asked, None), "everything is shown, squeezed if need be"
            found["squeezed"] += thinness(asked.size) > SLIVER
        elif view.box == asked:
            assert view.asked is None, case
        else:
            assert view.asked == asked, case
            assert thinness(view.box.size) <= SLIVER, case
            found["widened" if view.box.area > asked.area else "cut"] += 1
        area = budget.patch**2
        again = qwen.smart_resize(shown.height, shown.width, budget.patch, least * area, 16384 * area)
        assert again == (shown.height, shown.width), "Qwen's own processor leaves it as it is"
        if thinness(view.box.size) <= SLIVER:
            height, width = qwen.smart_resize(
                view.box.size.height, view.box.size.width, budget.patch, least * area, budget.max_tokens * area
            )
            if least <= height * width / area <= budget.max_tokens and thinness(Size(width, height)) <= SLIVER:
                assert (width, height) == (shown.width, shown.height), case
                found["as transformers"] += 1
    return found


def thinness(size: Size) -> float:
    return max(size.width, size.height) / min(size.width, size.height)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_20_000_pictures_and_regions(name: str) -> None:
    found = check(FAMILIES[name], 10_000, seed=1)
    assert min(found["as transformers"] / 5, found["squeezed"], found["widened"], found["cut"]) > 100, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl"])
def test_a_million_pictures_and_regions(name: str) -> None:
    print(name, dict(check(FAMILIES[name], 500_000, seed=2)))


@pytest.mark.parametrize("name", FAMILIES)
def test_no_familys_view_is_thinner(name: str) -> None:
    generator, family = random.Random(3), FAMILIES[name]
    for _ in range(2_000):
        budget = family.token_budget(generator.choice((family.min_tokens, family.budget, 5 * family.budget)))
        view = View.of(Blank(Size(side(generator), side(generator))), budget)
        assert thinness(view.size) <= SLIVER, view
        assert view.tokens <= budget.max_tokens, view
