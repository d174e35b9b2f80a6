"""Budgets hold for every size; boxes are half-open and never empty."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ergo.core.geometry import MAX_ASPECT, Box, Size, TokenBudget

QWEN_MIN_TOKENS, QWEN_MAX_TOKENS = 4, 16384


def random_side(generator: random.Random) -> int:
    """From 1 pixel to 100,000, each order of magnitude as likely; often exactly at an edge."""
    if generator.random() < 0.1:
        return generator.choice((1, 2, 13, 14, 27, 28, 29, 31, 32, 33, 56, 100_000))
    return round(10 ** generator.uniform(0, 5))


def overshoots(count: int, seed: int) -> list[tuple[TokenBudget, Size, Size]]:
    """Random sizes and budgets for which `fit` breaks a promise."""
    generator = random.Random(seed)
    broken = []
    for _ in range(count):
        most = generator.randint(1, 64) if generator.random() < 0.2 else generator.randint(1, 16384)
        least = generator.randint(1, most) if generator.random() < 0.1 else min(4, most)
        budget = TokenBudget(most, least, generator.choice((28, 32)))
        size = Size(random_side(generator), random_side(generator))
        fitted = budget.fit(size)
        grid = fitted.width % budget.patch == 0 and fitted.height % budget.patch == 0
        if budget.cost(fitted) > most or not grid:
            broken.append((budget, size, fitted))
    return broken


def test_no_random_size_goes_over_its_budget() -> None:
    assert overshoots(20_000, seed=1) == []


@pytest.mark.slow
def test_none_of_a_million_random_sizes_goes_over_its_budget() -> None:
    assert overshoots(1_000_000, seed=2) == []


@given(
    width=st.integers(1, 10**9),
    height=st.integers(1, 10**9),
    most=st.integers(1, 16384),
    least=st.integers(1, 16384),
    patch=st.sampled_from((28, 32)),
)
def test_no_size_that_can_be_thought_of_goes_over_its_budget(
    width: int, height: int, most: int, least: int, patch: int
) -> None:
    budget = TokenBudget(most, min(least, most), patch)
    shown = budget.fit(Size(width, height))
    assert 1 <= budget.cost(shown) <= most
    assert shown == shown.within(MAX_ASPECT)


def test_a_thin_box_is_widened_and_a_sliver_cut() -> None:
    assert Box(100, 50, 2000, 51).within_aspect(Box(0, 0, 4000, 3000)) == Box(100, 45, 2000, 55)
    assert Box(0, 0, 4000, 3).within_aspect(Box(0, 0, 9000, 3)) == Box(1700, 0, 2300, 3)


@given(
    room=st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)),
    corners=st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4),
)
def test_a_thin_box_is_widened_or_cut_about_its_middle(
    room: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    (left, right), (top, bottom) = (
        sorted((int(a * side), int(b * side))) for side, a, b in zip(room, corners[::2], corners[1::2], strict=True)
    )
    box, whole = Box(left, top, right + 1, bottom + 1), Box.whole(Size(*room))
    shown = box.within_aspect(whole)
    assert shown.clamped(whole.size) == shown
    assert shown.size == shown.size.within(MAX_ASPECT)
    if box.size == box.size.within(MAX_ASPECT):
        assert shown == box
    elif min(room) * MAX_ASPECT >= max(box.size.width, box.size.height):
        assert shown.intersection(box) == box.area, "there was room to widen it"
    else:
        assert shown.area == MAX_ASPECT * min(room) ** 2, "as much of it as can be shown"
    for old, new, side in zip(
        (left + right + 1, top + bottom + 1),
        (shown.left + shown.right, shown.top + shown.bottom),
        room,
        strict=True,
    ):
        at_an_edge = shown.left == 0 or shown.top == 0 or shown.right == room[0] or shown.bottom == room[1]
        assert abs(old - new) <= 2 or at_an_edge, side


@pytest.mark.parametrize("patch", [28, 32])
def test_sizes_are_those_of_transformers_wherever_it_stays_within_its_own_limits(patch: int) -> None:
    qwen = pytest.importorskip(
        "transformers.models.qwen2_vl.image_processing_pil_qwen2_vl",
        reason="compares with transformers, which is not installed",
    )
    generator = random.Random(3)
    compared = 0
    for _ in range(20_000):
        size = Size(random_side(generator), random_side(generator))
        budget = TokenBudget(generator.randint(QWEN_MIN_TOKENS, QWEN_MAX_TOKENS), QWEN_MIN_TOKENS, patch)
        area = patch * patch
        try:
            height, width = qwen.smart_resize(
                size.height, size.width, patch, budget.min_tokens * area, budget.max_tokens * area
            )
        except ValueError:  # an aspect ratio above 200
            continue
        if height * width > budget.max_tokens * area or max(height, width) > 200 * min(height, width):
            continue
        assert budget.fit(size) == Size(width, height), (size, budget)
        compared += 1
    assert compared > 10_000


@pytest.mark.parametrize(
    ("size", "shown", "tokens"),
    [
        (Size(3840, 2160), Size(1316, 728), 47 * 26),
        (Size(8000, 6000), Size(1148, 840), 41 * 30),
        (Size(280, 280), Size(280, 280), 100),
        (Size(1, 1), Size(56, 56), 4),
        (Size(1, 2_000_000), Size(28, 200 * 28), 200),
    ],
)
def test_what_a_budget_of_1280_shows(size: Size, shown: Size, tokens: int) -> None:
    budget = TokenBudget(1280)
    assert budget.fit(size) == shown
    assert budget.cost(shown) == tokens


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (Size(290, 270), Size(280, 280)),  # rounds to exactly 100 tokens: nothing is to be shrunk
        (Size(300, 270), Size(280, 252)),  # rounds to 110
        (Size(28, 2800), Size(28, 2800)),
        (Size(28, 2828), Size(28, 2800)),
    ],
)
def test_a_picture_that_just_fits_is_not_shrunk(size: Size, shown: Size) -> None:
    assert TokenBudget(100).fit(size) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(Size(56, 56), Size(56, 56)), (Size(56, 28), Size(84, 56)), (Size(28, 112), Size(28, 112))],
)
def test_a_picture_of_just_the_least_tokens_is_not_enlarged(size: Size, shown: Size) -> None:
    assert TokenBudget(100, min_tokens=4).fit(size) == shown


@pytest.mark.parametrize(("most", "least", "patch"), [(0, 1, 28), (4, 5, 28), (4, 0, 28), (4, 1, 0)])
def test_budgets_that_cannot_be(most: int, least: int, patch: int) -> None:
    with pytest.raises(ValueError, match=r"needs|patch"):
        TokenBudget(most, least, patch)


@pytest.mark.parametrize("corners", [(0, 0, 0, 5), (5, 0, 3, 5), (0, 5, 5, 5)])
def test_an_empty_box_cannot_be(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="left < right"):
        Box(*corners)


def test_a_size_has_two_sides() -> None:
    with pytest.raises(ValueError, match=">= 1"):
        Size(0, 5)


def test_boxes_meet() -> None:
    left, right = Box(0, 0, 10, 10), Box(5, 0, 15, 10)
    assert left.intersection(right) == 50
    assert left.iou(right) == pytest.approx(50 / 150)
    assert left.coverage_of(Box(8, 8, 12, 12)) == pytest.approx(4 / 16)
    assert left.union(right) == Box(0, 0, 15, 10)
    assert left.intersection(Box(10, 0, 20, 10)) == 0, "half-open: a shared edge is no shared pixel"
    assert str(left) == "[0, 0, 10, 10]"


def test_a_box_is_cut_to_the_picture() -> None:
    assert Box(-5, 2, 30, 40).clamped(Size(20, 10)) == Box(0, 2, 20, 10)
    assert Box(20, 0, 30, 5).clamped(Size(20, 10)) is None
    assert Box.whole(Size(20, 10)) == Box(0, 0, 20, 10)
