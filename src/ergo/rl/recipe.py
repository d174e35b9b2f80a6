"""The recipe of reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ergo.core.errors import UsageError
from ergo.rl.rewards import Reward


@dataclass(frozen=True)
class GrpoRecipe:
    """Reinforcement learning (paper section 4, by TRL's GRPOTrainer).

    start: the policy: a checkpoint's folder or Hub name. verifier: the frozen model R, any model name
    that `open_backend` takes; None for `start` itself, frozen. seed: of data and sampling.
    data, samples: where questions come from (train/source.py), and how many of the world's.
    budget: vision tokens of each look, and of the crop that the verifier sees. budgets: those of rollouts
        instead, question by question in turn, so that no budget is forgotten. max_completion_length: most tokens of each reply.
    temperature: of rollouts.
    average: how many of the last saved checkpoints the final weights are the mean of (0: the last step's alone). Near an optimum half of
        what separates two checkpoints is noise, and a mean takes it out (stochastic weight averaging, arXiv 1803.05407).
    probe: rollouts of each question before training; only questions that came out both right and wrong are trained
        on (0: all are).
    rewards: what is paid for, with weights. frozen: parts of parameter names that are not trained.
    lora: arguments of peft.LoraConfig; None to train all weights.
    validation, validate_every: a source as `data`, and steps between two measurements on
        `validation_samples` of it (0: never). show_every: steps between rollouts kept as pictures.
    patience: steps without signal, or with the whole picture as region, before the run stops itself.
    trl: arguments of trl.GRPOConfig, passed through.
    """

    kind: str
    start: str
    seed: int
    data: str
    samples: int
    budget: int
    max_completion_length: int
    rewards: tuple[Reward, ...]
    trl: Mapping[str, Any]
    verifier: str | None = None
    budgets: tuple[int, ...] = ()
    temperature: float = 1.0
    average: int = 0
    probe: int = 0
    frozen: tuple[str, ...] = ()
    lora: Mapping[str, Any] | None = None
    validation: str = "world:validation"
    validation_samples: int = 200
    validate_every: int = 50
    show_every: int = 50
    patience: int = 25
    threads: int = 1


def grpo_recipe(table: dict[str, Any]) -> GrpoRecipe:
    """A checked GrpoRecipe from a recipe's table."""
    table = dict(table)
    try:
        rewards = tuple(Reward(**row) for row in table.pop("reward"))
        recipe = GrpoRecipe(
            rewards=rewards, frozen=tuple(table.pop("frozen", ())), budgets=tuple(table.pop("budgets", ())), **table
        )
    except (TypeError, KeyError) as error:
        raise UsageError(f"the recipe does not fit reinforcement learning: {error}") from error
    for reward in recipe.rewards:
        reward.scorer()
        if reward.turn and "multi_objective_aggregation" in recipe.trl:
            raise UsageError(
                f"the reward {reward.name} names a turn: each turn's rewards are summed, so leave out trl.multi_objective_aggregation"
            )
    return recipe
