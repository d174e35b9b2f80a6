"""Rewards: the paper's equations with its numbers, and what holds for any rollout."""

from __future__ import annotations

import doctest
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ergo.core.errors import UsageError
from ergo.core.geometry import Box, Size
from ergo.rl import rewards
from ergo.rl.rewards import REWARDS, Evidence, Reward

SCALED = ("region", "box", "accuracy", "format", "smooth_box", "gated_box", "coverage", "iou", "tokens")


@st.composite
def boxes(draw: st.DrawFn, size: int = 60) -> Box:
    left, top = draw(st.integers(0, size - 1)), draw(st.integers(0, size - 1))
    return Box(left, top, draw(st.integers(left + 1, size)), draw(st.integers(top + 1, size)))


@st.composite
def evidence(draw: st.DrawFn) -> Evidence:
    return Evidence(
        picture=Size(60, 60),
        region=draw(st.none() | boxes()),
        right=draw(st.booleans()),
        verified=draw(st.none() | st.booleans()),
        well_formed=draw(st.booleans()),
        truth=draw(st.none() | boxes()),
        vision_tokens=draw(st.integers(2, 200)),
        allowed_tokens=200,
    )


def enlarged(one: Evidence, times: int) -> Evidence:
    """The same rollout about a picture `times` as large."""

    def grown(box: Box | None) -> Box | None:
        return Box(*(times * corner for corner in box.corners)) if box else None

    size = Size(times * one.picture.width, times * one.picture.height)
    return replace(one, picture=size, region=grown(one.region), truth=grown(one.truth))


def test_the_equations_hold_with_the_papers_numbers() -> None:
    assert doctest.testmod(rewards).failed == 0
    assert doctest.testmod(rewards).attempted >= 8


@given(evidence())
def test_every_reward_is_a_share_or_says_that_it_does_not_apply(one: Evidence) -> None:
    for name, reward in REWARDS.items():
        score = reward(one)
        assert score is None or 0 <= score <= 1, name
    assert (REWARDS["region"](one) is None) == (one.verified is None)
    assert (REWARDS["coverage"](one) is None) == (one.truth is None)


@given(evidence(), st.integers(2, 9))
def test_no_reward_depends_on_how_large_the_picture_is(one: Evidence, times: int) -> None:
    for name in SCALED:
        assert REWARDS[name](one) == pytest.approx(REWARDS[name](enlarged(one, times))), name


@given(evidence(), boxes(), boxes())
def test_a_larger_region_is_never_paid_more_for_its_size_nor_covers_less(one: Evidence, a: Box, b: Box) -> None:
    small, large = replace(one, region=a), replace(one, region=a.union(b))
    for name in ("box", "smooth_box", "gated_box"):
        assert REWARDS[name](small) >= REWARDS[name](large)  # type: ignore[operator]
    if one.truth:
        assert REWARDS["coverage"](small) <= REWARDS["coverage"](large)  # type: ignore[operator]


@given(evidence())
def test_no_readable_region_counts_as_the_whole_picture_and_covers_nothing(one: Evidence) -> None:
    lost = replace(one, region=None)
    assert lost.area == 1
    assert REWARDS["box"](lost) == 0
    assert REWARDS["coverage"](lost) in (0, None)


def area_only(one: Evidence, least: float = 0.0) -> float:
    """A user's own reward."""
    return float(one.area >= least)


def test_a_reward_of_ones_own_is_an_import_path() -> None:
    whole = Evidence(Size(9, 9), None, False, None, False, None, 2, 4)
    assert Reward("test_rewards:area_only", options={"least": 0.5}).scorer()(whole) == 1
    for name in ("regoin", "no_such_module:f", "test_rewards:no_such_function"):
        with pytest.raises(UsageError):
            Reward(name).scorer()


def test_constants_come_from_the_recipe() -> None:
    half = Evidence(Size(10, 10), Box(0, 0, 10, 5), True, True, True, None, 2, 4)
    assert Reward("box").scorer()(half) == 1
    assert Reward("box", options={"gamma": 0.4}).scorer()(half) == 0
