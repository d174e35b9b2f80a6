"""From rollouts to Evidence: the crop goes to the frozen verifier through the same flow as any other question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ergo.backends import Model
from ergo.core.errors import BackendError, PictureError
from ergo.core.flows import Flow, LookConfig, Question, crop_only
from ergo.core.geometry import Box
from ergo.core.runner import Trace
from ergo.grading import is_right
from ergo.images.picture import Picture
from ergo.rl.rewards import Evidence
from ergo.samples.sample import Sample
from ergo.traces.run import run


@dataclass(frozen=True)
class Rollout:
    """One finished coarse-to-fine flow about a sample whose picture is open."""

    sample: Sample
    picture: Picture
    trace: Trace


@dataclass(frozen=True)
class Verifier:
    """The frozen model R. budget: vision tokens of the crop it is shown."""

    model: Model
    budget: int

    def answers(self, crops: Sequence[tuple[Sample, Picture, Box]]) -> list[bool | BackendError | PictureError]:
        """For each crop: whether R answers rightly from it alone, or how it failed."""
        config = self.model.look_config(self.budget)
        results: list[bool | BackendError | PictureError] = [False] * len(crops)
        jobs = ((number, partial(_look, crop, config)) for number, crop in enumerate(crops))
        for trace in run(jobs, self.model.backend, concurrency=max(1, len(crops))):
            assert isinstance(trace.tag, int)
            results[trace.tag] = trace.error or answered_right(crops[trace.tag][0], trace)
        return results


def _look(crop: tuple[Sample, Picture, Box], config: LookConfig) -> Flow:
    sample, picture, box = crop
    return crop_only(picture, Question(sample.question, sample.choices), config, box)


def answered_right(sample: Sample, trace: Trace) -> bool:
    """match(answer, truth): strict, so that no list, hedge or added letter earns a reward."""
    return trace.answer is not None and is_right(sample, trace.answer.text)


def is_well_formed(trace: Trace) -> bool:
    """<think> ... </think> and an exact <zoom> first, <answer> ... </answer> second."""
    if trace.answer is None or len(trace.turns) != 2:
        return False
    first = trace.turns[0].text
    thinks = "<think>" in first and "</think>" in first
    return thinks and trace.answer.region_reading == "exact" and trace.answer.reading == "exact"


def gather(rollouts: Sequence[Rollout], verifier: Verifier, allowed_tokens: int) -> list[Evidence]:
    """Evidence of each rollout.

    Where no region could be read there is no crop, and nothing is verified (the paper does not say; our
    choice). A rollout that ended in an error has looked nowhere and answered nothing.
    """
    boxes = [one.trace.answer.region if one.trace.answer else None for one in rollouts]
    cropped = [(number, box) for number, box in enumerate(boxes) if box]
    verdicts = verifier.answers([(rollouts[number].sample, rollouts[number].picture, box) for number, box in cropped])
    verified: list[bool | None] = [False] * len(rollouts)
    for (number, _), verdict in zip(cropped, verdicts, strict=True):
        verified[number] = verdict if isinstance(verdict, bool) else None
    return [
        Evidence(
            picture=one.picture.size,
            region=box,
            right=answered_right(one.sample, one.trace),
            verified=verdict,
            well_formed=is_well_formed(one.trace),
            truth=one.sample.region,
            vision_tokens=one.trace.vision_tokens,
            allowed_tokens=allowed_tokens,
        )
        for one, box, verdict in zip(rollouts, boxes, verified, strict=True)
    ]


@dataclass(frozen=True)
class VerifierErrors:
    """A verifier that guesses pays for bad crops: shares of 1 it answers rightly from crops that do and do not show it.

    failed: calls without an answer, of all.
    """

    right_on_true: float
    right_on_wrong: float
    failed: int


def error_rate(verifier: Verifier, rollouts: Sequence[tuple[Sample, Picture]], seed: int) -> VerifierErrors:
    """Measured on the true regions, widened by half a side, and on boxes of the same size elsewhere."""
    rng = np.random.default_rng(seed)
    known = [(sample, picture, sample.region) for sample, picture in rollouts if sample.region]
    true = [(sample, picture, _widened(region, picture)) for sample, picture, region in known]
    elsewhere = [(sample, picture, _elsewhere(rng, region, picture)) for sample, picture, region in known]
    wrong = [(sample, picture, box) for sample, picture, box in elsewhere if box]
    verdicts = verifier.answers([*true, *wrong])
    on_true = [v for v in verdicts[: len(true)] if isinstance(v, bool)]
    on_wrong = [v for v in verdicts[len(true) :] if isinstance(v, bool)]
    failed = len(verdicts) - len(on_true) - len(on_wrong)
    return VerifierErrors(_share(on_true), _share(on_wrong), failed)


def _share(verdicts: list[bool]) -> float:
    return sum(verdicts) / len(verdicts) if verdicts else float("nan")


def _widened(box: Box, picture: Picture) -> Box:
    wide, high = box.size.width // 2, box.size.height // 2
    grown = Box(box.left - wide, box.top - high, box.right + wide, box.bottom + high)
    return grown.clamped(picture.size) or box


def _elsewhere(rng: np.random.Generator, truth: Box, picture: Picture) -> Box | None:
    """A box as large as the widened true region that shows nothing of it; None where there is no room."""
    like = _widened(truth, picture)
    for _ in range(50):
        left = int(rng.integers(max(1, picture.size.width - like.size.width)))
        top = int(rng.integers(max(1, picture.size.height - like.size.height)))
        box = Box(left, top, left + like.size.width, top + like.size.height).clamped(picture.size)
        if box and box.intersection(truth) == 0:
            return box
    return None
