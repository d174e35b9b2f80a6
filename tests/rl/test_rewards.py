"""Rewards: the paper's equations with its numbers, and what holds for any rollout."""

from __future__ import annotations

import doctest
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import seen

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
        verified=draw(st.booleans()),
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
    assert doctest.testmod(rewards).attempted >= 6


@given(evidence())
def test_every_reward_is_a_share_or_says_that_it_does_not_apply(one: Evidence) -> None:
    for name, reward in REWARDS.items():
        score = reward(one)
        assert score is None or 0 <= score <= 1, name
    assert (REWARDS["coverage"](one) is None) == (one.truth is None)


@given(evidence(), st.integers(2, 9))
def test_no_reward_depends_on_how_large_the_picture_is(one: Evidence, times: int) -> None:
    for name in SCALED:
        assert REWARDS[name](one) == pytest.approx(REWARDS[name](enlarged(one, times))), name


@given(evidence(), boxes(), boxes())
def test_a_larger_region_is_never_rewarded_more_for_its_size_nor_covers_less(one: Evidence, a: Box, b: Box) -> None:
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
    whole = seen(region=None)
    assert Reward("test_rewards:area_only", options={"least": 0.5}).scorer()(whole) == 1
    for name in ("regoin", "no_such_module:f", "test_rewards:no_such_function"):
        with pytest.raises(UsageError):
            Reward(name).scorer()


def test_every_reward_has_its_value() -> None:
    """A quarter of the picture, that holds the truth; 60 of 80 tokens."""
    values = {name: reward(seen()) for name, reward in REWARDS.items()}
    assert values == pytest.approx(
        {
            "region": 1, "box": 1, "accuracy": 1, "format": 1, "smooth_box": math.exp(-1), "gated_box": math.exp(-1),
            "coverage": 1, "iou": 0.04, "tokens": 0.25, "oracle": 1, "looks": 0, "early": 0, "abstain": 0,
            "likelihood": None,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "value"),
    [
        ("region", {"verified": False}, 0),
        ("accuracy", {"right": False}, 0),
        ("format", {"well_formed": False}, 0),
        ("gated_box", {"right": False}, 0),
        ("smooth_box", {"right": False}, math.exp(-1)),
        ("coverage", {"truth": Box(40, 0, 60, 10)}, 0.5),
        ("iou", {"truth": Box(0, 0, 50, 25)}, 0.5),
        ("iou", {"region": None}, 0),
        ("coverage", {"truth": None}, None),
        ("iou", {"truth": None}, None),
        ("oracle", {"truth": Box(40, 40, 51, 50)}, 0),
        ("oracle", {"region": None}, 0),
        ("oracle", {"truth": None}, None),
        ("tokens", {"vision_tokens": 80}, 0),
        ("tokens", {"vision_tokens": 20}, 0.75),
        ("looks", {"looks": 1, "allowed_looks": 4}, 0.75),
        ("looks", {"looks": 4, "allowed_looks": 4}, 0),
        ("early", {"early": True}, 1),
        ("early", {"early": True, "right": False}, 0),
        ("abstain", {"abstains": True, "right": False}, 1),
        ("abstain", {"abstains": True}, 0),
        ("abstain", {"right": False}, 0),
        ("likelihood", {"likelihood": 0.3}, 0.3),
        ("likelihood", {"likelihood": 0.0}, 0),
    ],
)
def test_what_a_reward_is_about_decides_it(name: str, changes: dict[str, object], value: float | None) -> None:
    assert REWARDS[name](seen(**changes)) == pytest.approx(value)


def test_the_oracle_s_budget_bounds_the_region() -> None:
    """Of 100 tokens a truth of 100 pixels in a region of 5,000 gets two."""
    oracle = Reward("oracle", options={"budget": 100}).scorer()
    assert oracle(seen(region=Box(0, 0, 100, 50))) == 1
    assert oracle(seen(region=Box(0, 0, 100, 51))) == 0
    assert Reward("oracle").scorer()(seen(region=Box(0, 0, 100, 100))) == 1  # without limit the whole picture will do
    assert Reward("oracle", options={"budget": 100, "needed": 1.0}).scorer()(seen(region=Box(0, 0, 100, 100))) == 1


def test_likelihood_may_be_its_logarithm() -> None:
    score = Reward("likelihood", options={"log": True}).scorer()
    assert score(seen(likelihood=0.5)) == pytest.approx(math.log(0.5))
    assert score(seen(likelihood=0.0)) == pytest.approx(math.log(1e-4)), "one bad token is no infinite loss"
    assert score(seen()) is None


def test_gamma_itself_is_still_small_enough() -> None:
    assert Reward("box").scorer()(seen(region=Box(0, 0, 100, 60))) == 1
    assert Reward("box").scorer()(seen(region=Box(0, 0, 100, 61))) == 0


def test_a_reward_counts_once_for_both_turns_unless_the_recipe_says_otherwise() -> None:
    assert (Reward("box").weight, Reward("box").turn, dict(Reward("box").options)) == (1, None, {})


def test_constants_come_from_the_recipe() -> None:
    half = seen(region=Box(0, 0, 100, 50))
    assert Reward("box", options={"gamma": 0.5}).scorer()(half) == 1
    assert Reward("box", options={"gamma": 0.49}).scorer()(half) == 0
    assert Reward("smooth_box", options={"sharpness": 2.0}).scorer()(half) == pytest.approx(math.exp(-1))
    assert Reward("gated_box", options={"sharpness": 2.0}).scorer()(half) == pytest.approx(math.exp(-1))
