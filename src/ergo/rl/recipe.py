"""The recipe of reinforcement learning."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ergo.core.errors import UsageError
from ergo.grading import Matching
from ergo.recipes.schema import RecipeTable, check_arguments, check_value, checked, unknown
from ergo.rl.rewards import Reward

OURS_IN_TRL = {
    "output_dir": "it is --out",
    "seed": "say `seed`",
    "temperature": "say `temperature`",
    "max_completion_length": "say `max_completion_length`, the most tokens of each reply",
    "reward_weights": "say `weight` in [[reward]]",
    "use_cpu": "it follows from the machine",
    "log_multimodal": "saved rollouts are set by `show_every`",
}
"""Arguments of trl.GRPOConfig that a recipe must not give."""


MAY_CHANGE = frozenset(
    ("validation", "validation_samples", "validate_every", "show_every", "patience", "max_failed_steps",
     "min_verifier_gap", "threads", "average", "trl.report_to", "trl.run_name", "trl.logging_steps", "trl.save_steps",
     "trl.save_total_limit")
)  # fmt: skip
"""Keys on which nothing that is learnt depends: they may differ when a run goes on."""


NO_VERIFIER = "none"
ASKS_VERIFIER = frozenset({"region", "likelihood"})
ASKS_ANSWER = frozenset({"accuracy", "format", "gated_box", "early", "abstain"})
"""Rewards that want a verifier, and a second look."""


class GrpoRecipe(RecipeTable):
    """Reinforcement learning (paper section 4, by TRL's GRPOTrainer).

    start: the policy: a checkpoint's folder, a Hub name, or a model of this package. verifier: the frozen model R,
        any model name that `open_backend` takes; None for `start` itself, frozen; "none" where no reward asks it.
    seed: of data and sampling.
    data, samples: where questions come from (rl/source.py), and how many of the world's (0: a file is read whole).
    budget: vision tokens of each look, and of the crop that the verifier sees. budgets: those of rollouts instead,
        alternated question by question, so that no budget is forgotten.
    flow: of rollouts: `coarse_to_fine`, or `as_needed`: the policy answers at the first look or names regions, and so on.
    looks: 2, or 1: rollouts end with the region, where no reward asks for an answer; the most there are, as needed.
    max_completion_length: most tokens of each reply. temperature: of rollouts.
    average: the final weights are the mean of this many of the last saved checkpoints (0: those of the last step).
        Near an optimum half of what separates two checkpoints is noise, and a mean takes it out (stochastic weight
        averaging, arXiv 1803.05407).
    probe: rollouts of each question before training; only mixed-outcome questions, answered both rightly and
        wrongly, are trained on (0: all are).
    rewards: `[[reward]]` in the file: what a reply is rewarded for, with weights. frozen: parts of the names of
        parameters that are not trained.
    lora: arguments of peft.LoraConfig; None to train all weights. trl: arguments of trl.GRPOConfig.
    validation, validate_every: a source as `data`, and steps between two measurements on `validation_samples` of
        it (0: never). show_every: steps between rollouts saved as pictures (0: never).
    patience: steps without signal, or with the whole picture as region, before the run stops itself.
    max_failed_steps: the same for steps in a row of which at least half of the rollouts failed.
    min_verifier_gap: by how much more often, 0..1, the verifier must be right on true crops than on wrong ones, or the
        run does not begin (0: whatever it is).
    matching: how answers are graded, those of the verifier too (docs/grading.md).
    """

    kind: Literal["grpo"]
    start: str
    seed: NonNegativeInt
    data: str
    samples: NonNegativeInt
    budget: PositiveInt
    max_completion_length: PositiveInt
    rewards: Annotated[tuple[Reward, ...], Field(alias="reward", min_length=1)]
    trl: Mapping[str, Any]
    verifier: str | None = None
    budgets: tuple[PositiveInt, ...] = ()
    flow: Literal["coarse_to_fine", "as_needed"] = "coarse_to_fine"
    looks: PositiveInt = 2
    temperature: Annotated[float, Field(gt=0)] = 1.0
    average: NonNegativeInt = 0
    probe: NonNegativeInt = 0
    frozen: tuple[str, ...] = ()
    lora: Mapping[str, Any] | None = None
    validation: str = "world:validation"
    validation_samples: PositiveInt = 200
    validate_every: NonNegativeInt = 50
    show_every: NonNegativeInt = 50
    patience: PositiveInt = 25
    max_failed_steps: PositiveInt = 3
    min_verifier_gap: Annotated[float, Field(ge=0, le=1)] = 0.1
    matching: Matching = "strict"
    threads: PositiveInt = 1

    def model_post_init(self, _: Any) -> None:
        if self.probe == 1:
            raise UsageError("probe: outcomes of one rollout cannot be mixed: 0, or 2 and more")
        if self.flow == "coarse_to_fine" and self.looks > 2:
            raise UsageError(f"looks: should be 1 or 2, or flow as_needed, not {self.looks}")
        if self.flow == "as_needed" and self.looks < 2:
            raise UsageError("looks: as_needed may look twice at least: looks is 2 or more")
        for place, reward in enumerate(self.rewards):
            _check_options(reward)
            if reward in self.rewards[:place]:
                raise UsageError(f"the reward {reward.name} is named twice: give it one weight")
            if reward.name == "box" and not 0 < reward.options.get("gamma", 1) <= 1:
                raise UsageError(f"the reward {reward.name}: gamma is a share of the picture, above 0 to 1")
            if self.verifier == NO_VERIFIER and reward.name in ASKS_VERIFIER:
                raise UsageError(
                    f"the reward {reward.name} is what the verifier says: verifier cannot be {NO_VERIFIER!r}"
                )
            if self.looks == 1 and reward.name in ASKS_ANSWER:
                raise UsageError(f"the reward {reward.name} needs an answer: looks is 2, not 1")
            if reward.turn and "multi_objective_aggregation" in self.trl:
                raise UsageError(
                    f"the reward {reward.name} names a turn: each turn's rewards are summed, "
                    "so leave out trl.multi_objective_aggregation"
                )


BOUNDS: dict[str, tuple[float, float]] = {
    "max_steps": (1, 1e9), "learning_rate": (1e-12, 1), "per_device_train_batch_size": (1, 1e6), "beta": (0, 1e3),
    "gradient_accumulation_steps": (1, 1e6), "max_grad_norm": (1e-9, 1e9), "epsilon": (0, 1e3), "epsilon_high": (0, 1e3),
    "warmup_steps": (0, 1e9), "weight_decay": (0, 1), "logging_steps": (1e-9, 1e9), "save_steps": (1e-9, 1e9),
}  # fmt: skip
"""Of arguments that TRL takes whatever they are, and that no run can mean otherwise."""


def grpo_recipe(table: Mapping[str, Any]) -> GrpoRecipe:
    """A checked GrpoRecipe, the arguments of TRL and PEFT among it."""
    recipe = checked(GrpoRecipe, table)
    from trl import GRPOConfig

    check_arguments(recipe.trl, GRPOConfig, "trl", OURS_IN_TRL)
    for key, (least, most) in BOUNDS.items():  # TRL takes a negative max_steps for "as many as the epochs have"
        value = recipe.trl.get(key)
        if value is not None and not least <= value <= most:
            raise UsageError(f"the recipe does not fit: trl.{key} is {least:g} to {most:g}, not {value}")
    if recipe.lora is not None:
        from peft import LoraConfig

        check_arguments(recipe.lora, LoraConfig, "lora", {"task_type": "it is CAUSAL_LM"})
        if recipe.lora.get("r", 1) < 1:
            raise UsageError(f"the recipe does not fit: lora.r is at least 1, not {recipe.lora['r']}")
    return recipe


def _check_options(reward: Reward) -> None:
    """A reward's constants must be parameters of its function, of the right type."""
    score = reward.scorer().func
    hints = typing.get_type_hints(score)
    _, *constants = inspect.signature(score).parameters
    for key, value in reward.options.items():
        name = f"options.{key} of the reward {reward.name}"
        if key not in constants:
            raise UsageError(f"the recipe does not fit: {unknown(name, key, constants)}")
        check_value(value, hints.get(key, Any), name)
