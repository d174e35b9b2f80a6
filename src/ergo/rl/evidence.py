"""From rollouts to Evidence: the crop goes to the frozen verifier through the same flow as any other question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ergo.backends import Model
from ergo.core.errors import BackendError, PictureError
from ergo.core.flows import Flow, LookConfig, Question, crop_only
from ergo.core.geometry import Box
from ergo.core.messages import Request
from ergo.core.runner import Trace
from ergo.grading import Matching, Truth, grade
from ergo.images.picture import Picture
from ergo.rl.likelihood import likelihoods
from ergo.rl.rewards import Evidence
from ergo.samples.sample import Sample
from ergo.traces.answers import remark
from ergo.traces.run import run


@dataclass(frozen=True)
class Rollout:
    """One finished coarse-to-fine flow about a sample. picture: None where it could not be opened.

    budget: vision tokens that each of its looks was allowed. looks: how many it was allowed.
    """

    sample: Sample
    picture: Picture | None
    trace: Trace
    budget: int
    looks: int = 2


@dataclass(frozen=True)
class Failure:
    """In place of Evidence: something other than the policy's choice went wrong, so nothing is known of the rollout.

    part: what failed: `picture`, `policy` (no reply), or `verifier`.
    """

    part: str
    error: BackendError | PictureError

    @property
    def kind(self) -> str:
        """For counting: `verifier_timeout`, `picture_truncated`, ..."""
        return f"{self.part}_{self.error.kind}"


Verification = Literal["answer", "likelihood"]


@dataclass(frozen=True)
class Verifier:
    """The frozen model R; no model where no reward asks what it says. budget: vision tokens of the crop it is shown.

    matching: how its answers are graded. asked: whether rollouts are verified by an answer of R, by the `likelihood`
    that R gives to the truth (one pass, nothing sampled), or by both.
    """

    model: Model | None
    budget: int
    matching: Matching = "strict"
    asked: frozenset[Verification] = frozenset({"answer"})

    def answers(self, crops: Sequence[tuple[Sample, Picture, Box]]) -> list[bool | BackendError | PictureError]:
        """For each crop: whether R answers rightly from it alone, or how it failed. Crops alike are asked about once."""
        if self.model is None:
            return [False] * len(crops)
        config = self.model.look_config(self.budget)
        distinct = {(id(sample), box): (sample, picture, box) for sample, picture, box in crops}
        jobs = ((key, partial(_look, crop, config)) for key, crop in distinct.items())
        traces = {trace.tag: trace for trace in run(jobs, self.model.backend, concurrency=max(1, len(distinct)))}
        found = [(sample, traces[id(sample), box]) for sample, _, box in crops]
        return [trace.error or answered_right(sample, trace, self.matching) for sample, trace in found]

    def likelihoods(self, crops: Sequence[tuple[Sample, Picture, Box]]) -> list[float | BackendError | PictureError]:
        """For each crop: the probability of the truth, 0 to 1, as a geometric mean over its tokens; of several texts that
        are right (the option, its letter) that of the likeliest."""
        assert self.model
        config = self.model.look_config(self.budget)
        distinct = {(id(sample), box): (sample, picture, box) for sample, picture, box in crops}
        asked: list[tuple[Any, Request, str]] = []
        found: dict[Any, float | BackendError | PictureError] = {}
        for key, (sample, picture, box) in distinct.items():
            try:
                request = next(_look((sample, picture, box), config))
            except PictureError as error:
                found[key] = error
                continue
            truth = Truth.of(sample)
            asked += [(key, request, text) for text in dict.fromkeys((*truth.answers, truth.label))]
        scored = likelihoods(self.model.backend, [(request, text) for _, request, text in asked])
        for (key, _, _), score in zip(asked, scored, strict=True):
            before = found.get(key, 0.0)
            found[key] = (
                score if isinstance(score, BackendError) or not isinstance(before, float) else max(before, score)
            )
        return [found[id(sample), box] for sample, _, box in crops]


def _look(crop: tuple[Sample, Picture, Box], config: LookConfig) -> Flow:
    sample, picture, box = crop
    return crop_only(picture, Question(sample.question, sample.choices), config, box)


def answered_right(sample: Sample, trace: Trace, matching: Matching = "strict") -> bool:
    """match(answer, truth). Strict, unless a recipe says otherwise: no list, hedge or added letter earns a reward."""
    if trace.answer is None:
        return False
    return grade(matching, trace.turns[-1].text, trace.answer.text, Truth.of(sample)).right


def is_well_formed(trace: Trace) -> bool:
    """<think> ... </think> and an exact <zoom> first, <answer> ... </answer> last; a reply that was cut is not.

    Where the flow lets it answer at the first look, no <zoom> is wanted there.
    """
    if trace.answer is None:
        return False
    first = trace.turns[0].text
    thinks = "<think>" in first and "</think>" in first
    return thinks and trace.answer.region_reading in ("exact", None) and trace.answer.reading == "exact"


def gather(rollouts: Sequence[Rollout], verifier: Verifier) -> list[Evidence | Failure]:
    """What is known of each rollout, or how it failed.

    Where no region could be read there is no crop, and nothing is verified: the policy named none, so
    it has earned nothing (the paper does not say; our choice). That is no failure.
    """
    crops: list[tuple[Sample, Picture, Box]] = []
    for one in rollouts:
        if one.picture and one.trace.answer and one.trace.answer.region:
            crops.append((one.sample, one.picture, one.trace.answer.region))
    verdicts = verifier.answers(crops) if "answer" in verifier.asked else [False] * len(crops)
    graded = verifier.likelihoods(crops) if "likelihood" in verifier.asked else [None] * len(crops)
    found = iter(zip(verdicts, graded, strict=True))
    return [_known(one, found, verifier) for one in rollouts]


Failed = BackendError | PictureError


def _known(
    one: Rollout, found: Iterator[tuple[bool | Failed, float | Failed | None]], verifier: Verifier
) -> Evidence | Failure:
    """found: verdicts and likelihoods of the rollouts that have a crop, in their order."""
    if one.trace.error:
        return Failure("picture" if isinstance(one.trace.error, PictureError) else "policy", one.trace.error)
    assert one.picture  # as there was no error
    assert one.trace.answer
    region = one.trace.answer.region
    nothing = 0.0 if "likelihood" in verifier.asked else None
    verdict, graded = next(found) if region else (False, nothing)
    if isinstance(verdict, BackendError | PictureError):
        return Failure("verifier", verdict)
    if isinstance(graded, BackendError | PictureError):
        return Failure("verifier", graded)
    return Evidence(
        picture=one.picture.size,
        region=region,
        right=answered_right(one.sample, one.trace, verifier.matching),
        verified=verdict,
        well_formed=is_well_formed(one.trace),
        truth=one.sample.region,
        vision_tokens=one.trace.vision_tokens,
        allowed_tokens=one.looks * one.budget,
        looks=len(one.trace.turns),
        allowed_looks=one.looks,
        early=one.trace.answer.region_reading is None,
        abstains=remark(one.trace) == "cannot_tell",
        likelihood=graded,
    )


@dataclass(frozen=True)
class VerifierErrors:
    """A verifier that guesses rewards bad crops: shares of 1 it answers rightly from crops that do and do not show it.

    true, wrong: crops of each kind that it answered. failed: calls without an answer.
    """

    right_on_true: float
    right_on_wrong: float
    true: int
    wrong: int
    failed: int

    def fault(self, min_gap: float) -> str | None:
        """Why nobody should train on this verifier, in one line; None where all is well, or nothing could be measured."""
        tried = self.true + self.wrong + self.failed
        if tried and self.failed >= tried / 2:
            return f"the verifier failed on {self.failed} of {tried} crops: see that it runs and has room, then start again"
        if self.true and self.wrong and self.right_on_true - self.right_on_wrong < min_gap:
            return (
                f"the verifier cannot tell good crops from bad ones: right on {self.right_on_true:.0%} of {self.true} true "
                f"crops, on {self.right_on_wrong:.0%} of {self.wrong} wrong ones; take a stronger verifier or a larger "
                "budget, or lower min_verifier_gap"
            )
        return None


def error_rate(verifier: Verifier, samples: Sequence[tuple[Sample, Picture]], seed: int) -> VerifierErrors:
    """Measured on the true regions, widened by half a side, and on boxes of the same size elsewhere."""
    rng = np.random.default_rng(seed)
    known = [(sample, picture, sample.region) for sample, picture in samples if sample.region]
    true = [(sample, picture, true_crop(region, picture)) for sample, picture, region in known]
    elsewhere = [(sample, picture, wrong_crop(rng, region, picture)) for sample, picture, region in known]
    wrong = [(sample, picture, box) for sample, picture, box in elsewhere if box]
    verdicts = verifier.answers([*true, *wrong])
    on_true = [v for v in verdicts[: len(true)] if isinstance(v, bool)]
    on_wrong = [v for v in verdicts[len(true) :] if isinstance(v, bool)]
    failed = len(verdicts) - len(on_true) - len(on_wrong)
    return VerifierErrors(_share(on_true), _share(on_wrong), len(on_true), len(on_wrong), failed)


def _share(verdicts: list[bool]) -> float:
    return sum(verdicts) / len(verdicts) if verdicts else float("nan")


def true_crop(box: Box, picture: Picture) -> Box:
    """The true region, widened by half a side."""
    wide, high = box.size.width // 2, box.size.height // 2
    grown = Box(box.left - wide, box.top - high, box.right + wide, box.bottom + high)
    return grown.clamped(picture.size) or box


def wrong_crop(rng: np.random.Generator, truth: Box, picture: Picture) -> Box | None:
    """A box as large as the widened true region that shows nothing of it; None where there is no room."""
    like = true_crop(truth, picture)
    for _ in range(50):
        left = int(rng.integers(max(1, picture.size.width - like.size.width)))
        top = int(rng.integers(max(1, picture.size.height - like.size.height)))
        box = Box(left, top, left + like.size.width, top + like.size.height).clamped(picture.size)
        if box and box.intersection(truth) == 0:
            return box
    return None
