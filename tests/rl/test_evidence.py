"""What is known of a rollout: its crop is verified at the recipe's budget, and a failure is never a bad score."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from training import recipe, scripted_verifier

from ergo.backends import Model, open_backend
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.flows import Question, coarse_to_fine, crop_only
from ergo.core.geometry import Box, Size
from ergo.core.messages import Sampling
from ergo.core.runner import Trace
from ergo.families import ERGO_TINY
from ergo.images.address import open_picture
from ergo.images.picture import Picture
from ergo.rl.evidence import (
    Failure,
    Rollout,
    Verifier,
    VerifierErrors,
    answered_right,
    error_rate,
    gather,
    is_well_formed,
    true_crop,
    wrong_crop,
)
from ergo.rl.rewards import Evidence
from ergo.rl.source import source_of
from ergo.rl.step import roll_out
from ergo.rl.trainer import frozen_verifier
from ergo.samples.sample import Sample
from ergo.traces.answers import confidence
from ergo.traces.run import run

PICTURE = Picture(Image.new("RGB", (1000, 800), (90, 120, 60)))
SAMPLE = Sample("one", PICTURE, "Which?", "blue", ("red", "blue"), region=Box(100, 100, 200, 200))
LOOK = "<think>there</think><zoom>[0, 0, 500, 500]</zoom>"
ANSWER = "<answer>B</answer>"


def trace_of(*replies: str | BackendError) -> Trace:
    policy = Model(ScriptedBackend(list(replies)), ERGO_TINY, 28, "policy")
    flow = coarse_to_fine(PICTURE, Question(SAMPLE.question, SAMPLE.choices), policy.look_config(40))
    [trace] = run([(None, lambda: flow)], policy.backend)
    return trace


def rollout(*replies: str | BackendError, sample: Sample | None = None) -> Rollout:
    """About a sample of its own, unless one is given."""
    return Rollout(sample or replace(SAMPLE), PICTURE, trace_of(*replies), 40)


@pytest.mark.parametrize(
    ("first", "second", "well_formed"),
    [
        (LOOK, ANSWER, True),
        (LOOK, "B", False),  # no <answer>
        (LOOK, "<answer>B", False),
        ("<zoom>[0, 0, 500, 500]</zoom>", ANSWER, False),  # no <think>
        ("<think>there<zoom>[0, 0, 500, 500]</zoom>", ANSWER, False),
        ("there</think><zoom>[0, 0, 500, 500]</zoom>", ANSWER, False),
        ("<think>there</think>[0, 0, 500, 500]", ANSWER, False),  # no <zoom>
        ("<think>there</think>", ANSWER, False),
    ],
)
def test_the_format_needs_every_tag_of_both_replies(first: str, second: str, well_formed: bool) -> None:
    assert is_well_formed(trace_of(first, second)) is well_formed
    [known] = gather([rollout(first, second)], scripted_verifier([ANSWER]))
    assert isinstance(known, Evidence)
    assert known.well_formed is well_formed


def test_a_reply_that_ended_early_is_neither_right_nor_well_formed() -> None:
    trace = trace_of(LOOK, BackendError("no memory", "out_of_memory"))
    assert not is_well_formed(trace)
    assert not answered_right(SAMPLE, trace)


def test_what_is_known_is_what_happened() -> None:
    [known] = gather([rollout(LOOK, ANSWER)], scripted_verifier([ANSWER]))
    assert isinstance(known, Evidence)
    assert (known.picture, known.truth) == (Size(1000, 800), SAMPLE.region)
    assert known.region == Box(0, 0, 500, 400)
    assert known.right
    assert known.verified
    assert 40 < known.vision_tokens <= known.allowed_tokens == 80


def test_equal_crops_of_a_group_are_verified_once() -> None:
    """The script has two replies: a third call would have none."""
    elsewhere = "<think>there</think><zoom>[0, 0, 600, 600]</zoom>"
    rollouts = [rollout(look, ANSWER, sample=SAMPLE) for look in (LOOK, elsewhere, LOOK)]
    verifier = scripted_verifier([ANSWER, BackendError("gone", "refused")])
    assert [getattr(one, "verified", None) for one in gather(rollouts, verifier)] == [True, None, True]


def test_each_verdict_goes_to_its_own_rollout() -> None:
    """Rollouts without a region, and those that failed, have no crop to be verified."""
    rollouts = [
        rollout("nowhere", ANSWER),
        rollout(LOOK, "<answer>A</answer>"),
        rollout(BackendError("busy", "timeout")),
        rollout(LOOK, ANSWER),
        rollout(LOOK, ANSWER),
    ]
    verifier = scripted_verifier(["<answer>A</answer>", BackendError("gone", "refused"), ANSWER])
    nowhere, wrong, failed, unverified, verified = gather(rollouts, verifier)
    assert isinstance(nowhere, Evidence)
    assert (nowhere.region, nowhere.verified, nowhere.right) == (None, False, True)
    assert isinstance(wrong, Evidence)
    assert (wrong.verified, wrong.right) == (False, False)
    assert isinstance(failed, Failure)
    assert failed.kind == "policy_timeout"
    assert isinstance(unverified, Failure)
    assert unverified.kind == "verifier_refused"
    assert isinstance(verified, Evidence)
    assert verified.verified


def test_a_picture_that_cannot_be_opened_is_a_failure_of_the_picture() -> None:
    trace = Trace((), None, PictureError("cut off", "truncated"))
    [failed] = gather([Rollout(SAMPLE, None, trace, 40)], scripted_verifier([ANSWER]))
    assert isinstance(failed, Failure)
    assert failed.kind == "picture_truncated"


@pytest.mark.parametrize("budget", [20, 60])
def test_the_verifier_sees_the_crop_alone_at_its_budget(budget: int) -> None:
    verifier = scripted_verifier([ANSWER], budget)
    assert verifier.answers([(SAMPLE, PICTURE, Box(0, 0, 500, 400))]) == [True]
    backend = verifier.model.backend
    assert isinstance(backend, ScriptedBackend)
    [request] = backend.requests
    [view] = request.views
    assert view.box == Box(0, 0, 500, 400)
    assert budget / 2 < view.tokens <= budget
    assert request.sampling.temperature == 0


def test_the_verifier_is_the_recipe_s_and_has_its_budget() -> None:
    named = frozen_verifier(recipe("verifier='scripted:x'", "budget=70", "matching='published'"), "unused")
    assert (named.model.name, named.budget, named.matching) == ("scripted", 70, "published")


def test_the_verifiers_errors_are_measured_on_true_and_on_wrong_crops() -> None:
    """A verifier that always says B is right everywhere; one that fails is right nowhere, and counted."""
    samples = [(SAMPLE, PICTURE)] * 4
    errors = error_rate(scripted_verifier([ANSWER]), samples, 0)
    assert (errors.right_on_true, errors.right_on_wrong, errors.true, errors.wrong, errors.failed) == (1, 1, 4, 4, 0)
    dead = error_rate(scripted_verifier([BackendError("gone")]), samples, 0)
    assert dead.failed == 8
    assert dead.right_on_true != dead.right_on_true  # nan: nothing was measured


def test_wrong_crops_show_nothing_of_the_truth_and_true_ones_all_of_it() -> None:
    verifier = scripted_verifier([ANSWER])
    error_rate(verifier, [(replace(SAMPLE), PICTURE) for _ in range(6)], 0)
    assert verifier.model
    backend = verifier.model.backend
    assert isinstance(backend, ScriptedBackend)
    boxes = [request.views[0].box for request in backend.requests]
    assert SAMPLE.region is not None
    covered = sorted(box.coverage_of(SAMPLE.region) for box in boxes)
    assert covered == [0.0] * 6 + [1.0] * 6
    assert {box.size for box in boxes} == {Size(200, 200)}


def test_a_truth_that_fills_the_picture_has_no_wrong_crop() -> None:
    whole = Sample("all", PICTURE, "Which?", "blue", ("red", "blue"), region=Box(0, 0, 1000, 800))
    errors = error_rate(Verifier(scripted_verifier([ANSWER]).model, 40), [(whole, PICTURE)], 0)
    assert errors.right_on_true == 1
    assert errors.right_on_wrong != errors.right_on_wrong


@pytest.mark.parametrize(
    ("errors", "gap", "fault"),
    [
        (VerifierErrors(0.9, 0.3, 50, 50, 0), 0.1, None),
        (VerifierErrors(0.40, 0.30, 50, 50, 0), 0.1, None),
        (VerifierErrors(0.39, 0.30, 50, 50, 0), 0.1, r"right on 39% of 50 true crops, on 30% of 50 wrong ones"),
        (VerifierErrors(0.3, 0.9, 50, 50, 0), 0.1, "cannot tell good crops from bad ones"),
        (VerifierErrors(1.0, 0.0, 25, 24, 51), 0.1, "failed on 51 of 100 crops"),
        (VerifierErrors(1.0, 0.0, 26, 25, 49), 0.1, None),
        (VerifierErrors(float("nan"), float("nan"), 0, 0, 0), 0.1, None),
    ],
)
def test_a_verifier_that_cannot_tell_is_named(errors: VerifierErrors, gap: float, fault: str | None) -> None:
    found = errors.fault(gap)
    assert (found is None) == (fault is None)
    if fault:
        assert re.search(fault, str(found))


HACKS = (
    "red or blue", "A and B", "A, B", "it is red, or maybe blue", "yes and no", "(A) (B)", "AB", "A/B", "not red", "any of them", "all of the above",
    "none", "", "B or A", "either A or B", "red blue", "blue? red?", "one of red, blue", "A. blue", "B. red", "the answer is A or B", "A B",
    "option", "C", "[A, B]", "B and not B", "I cannot tell", "?", "...", "ABCD", "a b c d", "red, green, blue", "red/blue", "A;B", "B;A", "A|B",
    "blue red", "maybe blue", "red blue red blue", "A or none",
)  # fmt: skip


@pytest.mark.parametrize("answer", HACKS)
def test_no_list_hedge_or_contradiction_earns_a_reward(answer: str) -> None:
    [known] = gather([rollout(LOOK, f"<answer>{answer}</answer>")], scripted_verifier([f"<answer>{answer}</answer>"]))
    assert isinstance(known, Evidence)
    assert not known.right
    assert not known.verified


def test_a_recipe_may_grade_otherwise() -> None:
    """The released match reads letters wherever they stand."""
    hedged = "<answer>(B) I think</answer>"
    assert not answered_right(SAMPLE, trace_of(LOOK, hedged))
    assert answered_right(SAMPLE, trace_of(LOOK, "<answer>(B)</answer>"), "published")
    assert not answered_right(SAMPLE, trace_of(LOOK, "<answer>blue</answer>"), "published")
    assert answered_right(SAMPLE, trace_of(LOOK, "<answer>blue</answer>"))


def test_evidence_is_graded_as_the_recipe_says() -> None:
    """Of the policy's answer as of the verifier's: the released match takes the bare letter, not the option's text."""
    by_text = "<answer>blue</answer>"
    strict = scripted_verifier([by_text])
    released = replace(scripted_verifier([by_text]), matching="published")
    for verifier, right in ((strict, True), (released, False)):
        [known] = gather([rollout(LOOK, by_text)], verifier)
        assert isinstance(known, Evidence)
        assert (known.right, known.verified) == (right, right)


LATER = "<think>there</think><zoom>[500, 500, 900, 900]</zoom>"


@pytest.mark.parametrize(
    ("replies", "looks", "early", "well_formed", "abstains"),
    [
        (("<think>seen</think><answer>B</answer>",), 1, True, True, False),
        (("<answer>B</answer>",), 1, True, False, False),
        ((LOOK, ANSWER), 2, False, True, False),
        ((LOOK, LATER, "<answer>cannot tell</answer>"), 3, False, True, True),
        ((LOOK, LATER, LATER), 3, False, False, False),
    ],
)
def test_evidence_of_as_many_looks_as_were_needed(
    replies: tuple[str, ...], looks: int, early: bool, well_formed: bool, abstains: bool
) -> None:
    policy = Model(ScriptedBackend(list(replies)), ERGO_TINY, 28, "policy")
    [one] = roll_out(policy, [SAMPLE], [40], [Sampling(24)], "as_needed", 3)
    [known] = gather([one], Verifier(None, 40))
    assert isinstance(known, Evidence)
    assert (known.looks, known.early, known.well_formed, known.abstains) == (looks, early, well_formed, abstains)
    assert (known.allowed_looks, known.allowed_tokens) == (3, 120)
    assert known.vision_tokens == sum(view.tokens for turn in one.trace.turns for view in turn.views)
    assert (known.region is None) == early


def test_a_region_that_cannot_be_read_is_no_early_answer() -> None:
    policy = Model(ScriptedBackend(["<think>there</think><zoom>[left, top]</zoom>", ANSWER]), ERGO_TINY, 28, "policy")
    [one] = roll_out(policy, [SAMPLE], [40], [Sampling(24)], "as_needed", 2)
    [known] = gather([one], Verifier(None, 40))
    assert isinstance(known, Evidence)
    assert (known.looks, known.region, known.early) == (2, None, False)


# ── graded verification ────────────────────────────────────────────────────────────────────────


def graded(model: Model) -> Verifier:
    return Verifier(model, 100, asked=frozenset({"likelihood"}))


def test_a_graded_verifier_gives_the_truth_more_where_the_crop_shows_it() -> None:
    source = source_of("world:validation", 10)
    verifier = graded(open_backend("ergo-tiny"))
    rng = np.random.default_rng(0)
    shown, hidden = [], []
    for sample in (source[number] for number in range(10)):
        picture = open_picture(sample.image)
        assert sample.region
        elsewhere = wrong_crop(rng, sample.region, picture)
        if sample.category != "coarse" and elsewhere:
            shown.append((sample, picture, true_crop(sample.region, picture)))
            hidden.append((sample, picture, elsewhere))
    scores = verifier.likelihoods([*shown, *hidden])
    assert all(isinstance(score, float) and 0 <= score <= 1 for score in scores)
    true, wrong = np.array(scores[: len(shown)]), np.array(scores[len(shown) :])
    assert true.mean() > wrong.mean() + 0.2


def test_the_likelihood_is_that_of_the_reply_it_would_sample() -> None:
    """A greedy reply's own log-probabilities, token by token, are those of scoring the same text."""
    sample = source_of("world:validation", 1)[0]
    picture = open_picture(sample.image)
    assert sample.region
    crop = true_crop(sample.region, picture)
    model = open_backend("ergo-tiny")
    flow = crop_only(picture, Question(sample.question, sample.choices), model.look_config(100), crop)
    [trace] = run([(None, lambda: flow)], model.backend)
    assert trace.answer
    answered = replace(sample, answer=trace.answer.text)
    [score] = graded(model).likelihoods([(answered, picture, crop)])
    assert score == pytest.approx(confidence(trace), abs=1e-4)


def test_a_rollout_without_a_region_has_no_crop_and_earns_nothing() -> None:
    lost, found = gather([rollout("no idea", ANSWER), rollout(LOOK, ANSWER)], graded(open_backend("ergo-tiny")))
    assert isinstance(lost, Evidence)
    assert isinstance(found, Evidence)
    assert lost.likelihood == 0
    assert found.likelihood
    assert (lost.verified, found.verified) == (False, False), "nobody sampled an answer"


def test_a_recipe_says_how_rollouts_are_verified() -> None:
    def asked(*names: str) -> frozenset[str]:
        rewards = ", ".join(f"{{name='{name}'}}" for name in names)
        return frozen_verifier(recipe(f"reward=[{rewards}]"), "ergo-tiny").asked

    assert asked("accuracy") == asked("region") == {"answer"}
    assert asked("likelihood") == {"likelihood"}
    assert asked("region", "likelihood") == {"answer", "likelihood"}


def test_a_server_cannot_grade() -> None:
    with pytest.raises(UsageError, match="the reward likelihood needs a verifier in this process"):
        frozen_verifier(recipe("reward=[{name='likelihood'}]", "verifier='scripted:x'"), "ergo-tiny")
