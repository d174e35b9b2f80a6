"""One step of GRPO on two looks (arXiv 2509.21991, section 3). After core/, this is the file to read.

    rollouts      the policy looks at each question of the batch several times, coarse then close: a group
    evidence      R, a frozen model, answers from each crop alone; answers are compared with the truth
    rewards       pure functions of the evidence, weighted by the recipe: r_region + 0.5 r_box + r_acc + r_format
    advantages    how much better each rollout is than the mean of its group
    loss          over the sampled tokens, p the ratio of their new to their old probability, A the advantage:
                  - mean min(p A, clip(p, 1 - eps, 1 + eps) A)

What is here makes the first three. The last two are TRL's (trl_bridge.py), but for advantages of each
turn's own (advantages.py). A rollout that failed for a reason other than the policy's choice (a verifier
that did not answer, a broken picture, no memory) is left out of its group: it earns nothing, is compared
with nothing, and nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Literal

import numpy as np
import torch
from PIL import Image

from ergo.backends import Model
from ergo.backends.transformers.processor import Processor
from ergo.core.errors import PictureError
from ergo.core.flows import Answer, Flow, LookConfig, Question, as_needed, coarse_to_fine
from ergo.core.geometry import Box, Size
from ergo.core.messages import Request, Sampling
from ergo.core.view import SourcePicture, View
from ergo.images.address import open_picture
from ergo.images.picture import Picture
from ergo.rl.episode import Episode, episode_of
from ergo.rl.evidence import Failure, Rollout, Verifier, gather
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.rewards import Evidence
from ergo.rl.source import Source
from ergo.samples.sample import Sample
from ergo.traces.run import run

FlowName = Literal["coarse_to_fine", "as_needed"]


@dataclass(frozen=True)
class GrpoStep:
    """What every step of a run has in common; `numbers` are those of questions in `source`, one a rollout."""

    recipe: GrpoRecipe
    source: Source
    verifier: Verifier
    processor: Processor

    def rollouts(self, policy: Model, numbers: Sequence[int], step: int, first_place: int) -> list[Rollout]:
        """Two looks at each question, sampled; one, or as many as needed, where the recipe says so.

        first_place: of this process's rollouts among those of all. Each place of each step has a seed of
        its own, so a resumed run samples what the undisturbed one would have.
        """
        recipe = self.recipe
        samples = {number: self.source[number] for number in dict.fromkeys(numbers)}
        budgets = recipe.budgets or (recipe.budget,)
        seeds = [seed_of(recipe.seed, step, first_place + place) for place in range(len(numbers))]
        return roll_out(
            policy,
            [samples[number] for number in numbers],
            [budgets[number % len(budgets)] for number in numbers],
            [Sampling(recipe.max_completion_length, recipe.temperature, seed=seed) for seed in seeds],
            recipe.flow,
            recipe.looks,
        )

    def evidence(self, rollouts: Sequence[Rollout]) -> list[Evidence | Failure]:
        """What is known of each rollout: the one part of a reward that asks a model."""
        return gather(rollouts, self.verifier)

    def rewards(self, evidence: Sequence[Evidence | Failure]) -> torch.Tensor:
        """Scores [rollouts, rewards]; nan where a reward does not apply, and all along a failed rollout."""
        scorers = [reward.scorer() for reward in self.recipe.rewards]
        rows = [[_score(scorer, one) for scorer in scorers] for one in evidence]
        return torch.tensor(rows, dtype=torch.float32).view(len(rows), len(scorers))

    def episodes(self, rollouts: Sequence[Rollout]) -> list[Episode]:
        """The rows of token ids to train on, as they were sampled."""
        return [episode_of(self.processor, one.trace) for one in rollouts]


def roll_out(
    policy: Model,
    samples: Sequence[Sample],
    budgets: Sequence[int],
    sampling: Sequence[Sampling],
    flow: FlowName = "coarse_to_fine",
    looks: int = 2,
) -> list[Rollout]:
    """One flow for each sample, all at once, by the code of `ask`; coarse-to-fine ends with its region where `looks` is 1.

    The rollouts of a group are of one Sample, whose picture is opened once. Where it cannot be opened, they fail, and
    no others.
    """
    pictures = _Pictures()
    jobs = []
    for place, (sample, budget, how) in enumerate(zip(samples, budgets, sampling, strict=True)):
        config = policy.look_config(budget, how, looks)
        jobs.append((place, partial(_flow, flow, sample, pictures, config)))
    traces = {trace.tag: trace for trace in run(jobs, policy.backend, concurrency=max(1, len(jobs)))}
    return [
        Rollout(sample, pictures.opened(sample), traces[place], budget, looks)
        for place, (sample, budget) in enumerate(zip(samples, budgets, strict=True))
    ]


@dataclass(frozen=True, eq=False)
class _Shown(Picture):
    """A picture that keeps the parts it was shown in: a group shares the coarse one, the verifier and the update the close ones."""

    _parts: dict[tuple[Box, Size], Image.Image] = field(default_factory=dict, init=False, repr=False)
    _cutting: Lock = field(default_factory=Lock, init=False, repr=False)

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        with self._cutting:  # the rollouts of a group may run in threads
            if (box, size) not in self._parts:
                self._parts[box, size] = super().part(box, size, fast)
            return self._parts[box, size]


class _Pictures:
    """The pictures of one batch, each opened once."""

    def __init__(self) -> None:
        self._found: dict[int, Picture | PictureError] = {}
        self._opening: dict[int, Lock] = {}

    def open(self, sample: Sample) -> Picture:
        """By the sample itself, not by its id: ids of different files may be equal."""
        with self._opening.setdefault(id(sample), Lock()):  # which is atomic
            if id(sample) not in self._found:
                try:
                    opened = open_picture(sample.image)
                    self._found[id(sample)] = _Shown(opened.stored, opened.name)
                except PictureError as error:
                    self._found[id(sample)] = error
            found = self._found[id(sample)]
        if isinstance(found, PictureError):
            raise found
        return found

    def opened(self, sample: Sample) -> Picture | None:
        found = self._found.get(id(sample))
        return None if isinstance(found, PictureError) else found


def _flow(name: FlowName, sample: Sample, pictures: _Pictures, config: LookConfig) -> Flow:
    flow = as_needed if name == "as_needed" else coarse_to_fine if config.max_looks > 1 else first_look
    return flow(pictures.open(sample), Question(sample.question, sample.choices), config)


def first_look(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """Coarse-to-fine up to its region: for rewards that ask for no answer."""
    coarse = View.of(picture, config.coarse)
    first = yield Request(config.family.ask_region(coarse, question.text), config.sampling, expect="region")
    region = config.family.read(first.text, coarse).region
    return Answer("", "empty", (region.box,) if region.box else (), region.reading)


def _score(scorer: Callable[[Evidence], float | None], evidence: Evidence | Failure) -> float:
    score = None if isinstance(evidence, Failure) else scorer(evidence)
    return float("nan") if score is None else score


def seed_of(*numbers: int) -> int:
    """A seed that depends on all of these numbers, and in no simple way."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
