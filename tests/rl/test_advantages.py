"""Each reply has an advantage of its own (DTPO): a token's advantage depends on its turn's rewards alone."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
import torch
from training import RECIPE, SMALL, make_trainer, recipe, rows

from ergo.cli.train import train
from ergo.core.errors import UsageError
from ergo.rl import advantages as turns
from ergo.rl.advantages import group_advantages, spread, turn_rewards, turns_of
from ergo.rl.rewards import Reward

PER_TURN = (Reward("region", turn=1), Reward("box", 0.5, turn=1), Reward("accuracy", turn=2), Reward("format", 0.5))


def test_the_examples_hold() -> None:
    assert doctest.testmod(turns).failed == 0


def test_a_score_that_does_not_apply_is_left_out_and_without_any_there_is_no_advantage() -> None:
    nan = torch.nan
    scores = torch.tensor([[nan, 1.0, 1.0], [1.0, 1.0, 0.0], [nan, nan, 1.0]])
    by_turn = turn_rewards(scores, [Reward("region", turn=1), Reward("box", 0.5, turn=1), Reward("accuracy", turn=2)])
    assert by_turn[:2].tolist() == [[0.5, 1.0], [1.5, 0.0]]
    assert by_turn[2].isnan().tolist() == [True, False]
    advantages = group_advantages(by_turn, 3, "group")
    assert advantages[2, 0] == 0
    assert advantages[:, 0].sum() == 0
    assert advantages.isfinite().all()


def test_advantages_are_scaled_as_trl_scales_them() -> None:
    rewards = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 3.0], [0.0, 1.0]])
    for scale, deviation in (("group", rewards[2:].std(0)), ("batch", rewards.std(0)), ("none", torch.ones(2))):
        mean = rewards[2:].mean(0)
        assert torch.allclose(group_advantages(rewards, 2, scale)[2:], (rewards[2:] - mean) / deviation, atol=1e-3), (
            scale
        )


def test_each_turn_weighs_the_same_however_long_it_is() -> None:
    """The mean over all tokens of the spread advantages is the mean of each turn's own mean."""
    generator = torch.Generator().manual_seed(0)
    sampled = torch.tensor([[1] * 9 + [0] * 4 + [1] * 3, [1] * 12 + [0] * 3 + [1], [1] * 5 + [0] * 11])
    own = torch.randn(3, 2, generator=generator)
    gradient = torch.randn(sampled.shape, generator=generator)  # of each token's log-probability
    turn = turns_of(sampled)
    tokens = torch.stack([(turn == 1).sum(), (turn == 2).sum()])
    together = (spread(own, turn, tokens) * gradient * sampled).sum() / sampled.sum()
    apart = [(own[:, [k]] * gradient * (turn == k + 1)).sum() / (turn == k + 1).sum() for k in (0, 1)]
    assert together == pytest.approx(float(sum(apart)) / 2, rel=1e-5)


def test_the_trainer_rewards_each_reply_for_what_it_did(tmp_path: Path) -> None:
    """Through TRL's batch, groups and loss."""
    chosen = recipe("temperature=1.3").model_copy(update={"rewards": PER_TURN})
    trainer = make_trainer(chosen, tmp_path)
    inputs = [dict(trainer.train_dataset[number // 4]) for number in range(8)]
    batch = trainer._generate_and_score_completions(inputs)
    sampled = batch["tool_mask"] * batch["completion_mask"]
    turn = turns_of(sampled)
    assert batch["advantages"].shape == sampled.shape
    assert not batch["advantages"][sampled == 0].any()
    scores = {name: torch.tensor(list(trainer._logs["rewards"][name])) for name in trainer.reward_func_names}
    expected = (
        scores["region"] + 0.5 * scores["box"] + 0.5 * scores["format"],
        scores["accuracy"] + 0.5 * scores["format"],
    )
    for number, reward in enumerate(expected, 1):
        assert reward.std() > 0, "rewards that are all alike would prove nothing"
        grouped = reward.view(2, 4)
        own = ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).flatten()
        scale = sampled.sum() / 2 / (turn == number).sum()
        for row, advantage in zip(*torch.where(turn == number), strict=True):
            assert batch["advantages"][row, advantage] == pytest.approx(float(own[row] * scale), abs=1e-4)


def test_a_run_with_turns_learns_through_trl_s_shuffle_and_loss(tmp_path: Path) -> None:
    rewards = "reward=[{name='region', turn=1}, {name='accuracy', turn=2}]"
    train(
        RECIPE,
        tmp_path,
        [*SMALL, rewards, "temperature=1.3", "trl.gradient_accumulation_steps=2", "trl.max_steps=1"],
    )
    [row] = rows(tmp_path).values()
    assert row["grad_norm"] > 0


def test_without_turns_one_advantage_a_rollout_stays_trl_s(tmp_path: Path) -> None:
    trainer = make_trainer(recipe(), tmp_path)
    batch = trainer._generate_and_score_completions([dict(trainer.train_dataset[0]) for _ in range(4)])
    assert batch["advantages"].dim() == 1


def test_there_are_two_turns() -> None:
    with pytest.raises(UsageError, match="turn 1"):
        recipe("reward=[{name='region', turn=3}]")
    with pytest.raises(UsageError, match="multi_objective_aggregation"):
        recipe("reward=[{name='region', turn=1}]", "trl.multi_objective_aggregation='normalize_then_sum'")


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_each_turn_is_scaled_by_the_scores_that_it_has(scale: str) -> None:
    """A rollout without a score in one turn changes neither the mean nor the deviation of the others."""
    nan = torch.nan
    rewards = torch.tensor([[nan, 1.0], [1.0, 3.0], [0.0, 2.0], [5.0, nan], [1.0, nan], [3.0, 9.0]])
    found = group_advantages(rewards, 3, scale)
    for turn in (0, 1):
        every = rewards[:, turn][~rewards[:, turn].isnan()]
        for group in (slice(0, 3), slice(3, 6)):
            own = rewards[group, turn]
            known = own[~own.isnan()]
            if len(known) < 2:
                assert not found[group, turn].any()
                continue
            over = known if scale == "group" else every
            expected = ((own - known.mean()) / (over.std() + 1e-4)).nan_to_num(0.0)
            assert torch.allclose(found[group, turn], expected, atol=1e-4)
