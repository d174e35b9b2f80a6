"""Advantages of their own for each reply: the first chose where to look, the second what to say (DTPO, AdaptVision, arXiv 2512.03794).

GRPO gives every token of a rollout the same advantage, so a good region is blamed for an answer that was misread. Here a
reward that names a turn is assigned to the tokens of that reply alone, and each reply weighs the same in the loss,
however long it is. TRL's loss takes advantages token by token; nothing else of it changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ergo.rl.rewards import Reward

TURNS = (1, 2)


def left_out(scores: torch.Tensor, group: int) -> torch.Tensor:
    """Which rollouts cannot be compared with the others of their group [rollouts]: they lack a score that others have.

    scores: [rollouts, rewards], nan where there is none; groups are `group` rows that follow each other. Added up
    without it, a rollout would look worse than it was. A group of which fewer than two, or less than half, remain
    is left out whole: its mean would say little.

    >>> nan = torch.nan
    >>> left_out(torch.tensor([[1.0, 0], [nan, nan], [0, 1], [1, 1], [0, nan], [0, nan], [1, nan], [1, 1]]), 4).tolist()
    [False, True, False, False, True, True, True, True]
    """
    grouped = scores.view(-1, group, scores.shape[1]).isnan()
    lacking = (grouped & ~grouped.all(1, keepdim=True)).any(2) | grouped.all(2)
    remaining = (~lacking).sum(1, keepdim=True)
    return (lacking | (remaining < max(2, group / 2))).view(-1)


def turns_of(sampled: torch.Tensor) -> torch.Tensor:
    """Number of the reply to which each token belongs, from 1; 0 where the model did not sample it.

    sampled: [rollouts, tokens], 1 for tokens of the model.

    >>> turns_of(torch.tensor([[1, 1, 0, 0, 1], [1, 0, 0, 0, 0]])).tolist()
    [[1, 1, 0, 0, 2], [1, 0, 0, 0, 0]]
    """
    before = torch.nn.functional.pad(sampled, (1, 0))[:, :-1]
    begins = (sampled == 1) & (before == 0)
    return begins.cumsum(1) * sampled


def turn_rewards(scores: torch.Tensor, rewards: Sequence[Reward]) -> torch.Tensor:
    """Weighted sums [rollouts, 2] of the rewards [rollouts, rewards] that are assigned to each turn; nan where none applies.

    A reward without a turn is assigned to both.

    >>> rewards = [Reward("region", turn=1), Reward("accuracy", turn=2), Reward("format", 0.5)]
    >>> turn_rewards(torch.tensor([[1.0, 0.0, 1.0]]), rewards).tolist()
    [[1.5, 0.5]]
    """
    weights = torch.tensor([reward.weight for reward in rewards], device=scores.device)
    sums = []
    for turn in TURNS:
        chosen = [reward.turn in (None, turn) for reward in rewards]
        own = scores[:, chosen]
        total = (own * weights[chosen]).nansum(1)
        sums.append(total.masked_fill(own.isnan().all(1), torch.nan))
    return torch.stack(sums, 1)


def group_advantages(rewards: torch.Tensor, group: int, scale: str) -> torch.Tensor:
    """Each reward less the mean of its group; [rollouts, turns].

    Groups are `group` rows that follow each other. scale: over the deviation of the `group`, of the whole `batch`, or `none`
    (trl.scale_rewards). nan, a rollout without any score, is left out and gets 0.

    >>> group_advantages(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 2, "none").tolist()
    [[0.5, 0.0], [-0.5, 0.0]]
    """
    grouped = rewards.view(-1, group, rewards.shape[1])
    centred = grouped - grouped.nanmean(1, keepdim=True)
    if scale != "none":
        over = grouped if scale == "group" else rewards[None]
        centred = centred / (_deviation(over) + 1e-4)
    return centred.nan_to_num(nan=0.0).view(rewards.shape)


def _deviation(rewards: torch.Tensor) -> torch.Tensor:
    """[groups, rollouts, turns] -> [groups, 1, turns], leaving out nan."""
    known = (~rewards.isnan()).sum(1, keepdim=True)
    squares = ((rewards - rewards.nanmean(1, keepdim=True)) ** 2).nansum(1, keepdim=True)
    return (squares / (known - 1).clamp(min=1)).sqrt()


def spread(advantages: torch.Tensor, turns: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Advantages [rollouts, 2] over the tokens of their replies [rollouts, tokens]; 0 elsewhere.

    tokens: [2], how many each turn has in the whole batch, over all processes: a token of the shorter one counts for more, so that
    both turns weigh alike in a mean over all tokens. The scale is positive and a factor of the surrogate on either side of its
    clip, so it is the same as to average each turn's loss by itself.

    >>> spread(torch.tensor([[1.0, -1.0]]), torch.tensor([[1, 1, 1, 0, 2]]), torch.tensor([3, 1])).tolist()
    [[0.6666666865348816, 0.6666666865348816, 0.6666666865348816, 0.0, -2.0]]
    """
    scale = tokens.sum() / (len(TURNS) * tokens.clamp(min=1))
    by_turn: torch.Tensor = torch.nn.functional.pad(advantages * scale, (1, 0))  # turn 0: nothing
    return by_turn.gather(1, turns.clamp(max=len(TURNS)))
