"""The conversation, and what drives it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from PIL import Image

from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.flows import Answer, Flow, LookConfig, Question, as_needed, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Completion, Request, Sampling, Seconds, Usage
from ergo.core.runner import Job, Trace, drive
from ergo.core.view import View
from ergo.families import FAMILIES, QWEN2_5_VL
from ergo.families.base import ModelFamily
from ergo.images.picture import Picture
from ergo.traces.flows import FLOWS, start_flow
from ergo.traces.run import run

LOOKING = LookConfig(QWEN2_5_VL, TokenBudget(64), TokenBudget(32), Sampling(max_tokens=77))
QUESTION = Question("Which colour?", ("red", "blue"))
ZOOM = "<think>left</think><zoom>[0, 0, 112, 112]</zoom>"
BOTH_WAYS = pytest.mark.parametrize("parallel", [True, False], ids=["threads", "batches"])


def picture(width: int = 1000, height: int = 800) -> Picture:
    return Picture(Image.new("RGB", (width, height)))


def script(request: Request) -> str:
    return ZOOM if request.expect == "region" else "<answer>B</answer>"


def two_looks(asked: str = "Which colour?") -> Callable[[], Flow]:
    return lambda: coarse_to_fine(picture(), Question(asked, QUESTION.choices), LOOKING)


def direct(asked: str = "Which colour?") -> Callable[[], Flow]:
    return lambda: one_look(picture(), Question(asked), LOOKING)


# ── the flows ──────────────────────────────────────────────────────────────────────────────────


def test_two_looks_as_the_paper_has_them() -> None:
    backend = ScriptedBackend(script)
    trace = drive(("tag", two_looks()), backend)
    first, second = backend.requests

    assert [message.role for message in first.chat] == ["system", "user"]
    assert (first.expect, first.previous, first.sampling) == ("region", None, LOOKING.sampling)
    [coarse] = first.views
    assert coarse.box == Box(0, 0, 1000, 800)
    assert coarse.tokens <= 64
    assert first.chat[1].parts[0] is coarse  # the picture, then the question
    assert "red" not in first.chat[1].text  # no options in the first look

    assert [message.role for message in second.chat] == ["system", "user", "assistant", "user"]
    assert second.chat[:2] == first.chat
    assert second.chat[2].parts == (ZOOM,)
    assert (second.expect, second.sampling) == ("text", LOOKING.sampling)
    assert second.previous is not None
    assert second.previous.text == ZOOM
    assert [len(message.views) for message in second.chat] == [0, 1, 0, 1]
    assert second.views[0] is coarse
    assert second.chat[3].parts[0] is second.views[1]
    assert second.chat[3].text.startswith("Which colour?\n(A) red\n(B) blue\n")

    assert trace.answer is not None
    assert (trace.answer.text, trace.answer.reading, trace.answer.thought, trace.tag) == ("B", "exact", "left", "tag")
    region = QWEN2_5_VL.read_region(ZOOM, coarse).box
    assert (trace.answer.region, trace.answer.region_reading, trace.answer.fallback) == (region, "exact", False)
    assert second.views[1].box == region
    assert second.views[1].tokens <= 32
    assert [turn.views for turn in trace.turns] == [first.views, second.views[1:]]
    assert [turn.text for turn in trace.turns] == [ZOOM, "<answer>B</answer>"]
    assert trace.vision_tokens == coarse.tokens + second.views[1].tokens  # each view once


@pytest.mark.parametrize("reply", ["no idea", "<zoom>[5000, 20, 6000, 100]</zoom>", "<zoom>[5, 5, 5, 9]</zoom>", ""])
def test_an_unreadable_region_shows_everything_again_within_the_same_budget(reply: str) -> None:
    trace = drive((None, two_looks()), ScriptedBackend([reply, "<answer>A</answer>"]))
    assert trace.answer is not None
    assert trace.answer.fallback
    assert trace.answer.region is None
    assert trace.answer.region_reading in ("none_given", "outside", "empty")
    close = trace.turns[1].views[0]
    assert close.box == Box(0, 0, 1000, 800)
    assert close.tokens <= 32


def test_the_direct_look_shows_the_options_and_has_no_region() -> None:
    backend = ScriptedBackend(["<answer>A</answer>"])
    trace = drive((None, lambda: one_look(picture(), QUESTION, LOOKING)), backend)
    [request] = backend.requests
    [message] = request.chat
    assert (message.role, request.expect, request.previous) == ("user", "text", None)
    assert message.views[0].box == Box(0, 0, 1000, 800)
    assert message.views[0].tokens <= 64
    assert message.text.startswith("Which colour?\n(A) red\n(B) blue\n")
    assert trace.answer is not None
    assert (trace.answer.text, trace.answer.region, trace.answer.region_reading) == ("A", None, None)
    assert not trace.answer.fallback


def test_the_verifier_sees_the_crop_and_nothing_else() -> None:
    backend = ScriptedBackend(["<answer>A</answer>"])
    trace = drive((None, lambda: crop_only(picture(), QUESTION, LOOKING, Box(10, 10, 200, 200))), backend)
    [request] = backend.requests
    [view] = request.views
    assert len(request.chat) == 1
    assert view.box == Box(10, 10, 200, 200)
    assert view.tokens <= 32
    assert trace.answer is not None
    assert trace.answer.region == Box(10, 10, 200, 200)


# ── failures are data ──────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
@pytest.mark.parametrize("turn", [0, 1])
def test_a_failed_turn_is_data(turn: int, parallel: bool) -> None:
    failure = BackendError("no answer", "timeout")
    backend = ScriptedBackend([*[ZOOM, "x"][:turn], failure], parallel=parallel)
    [trace] = run([("tag", two_looks())], backend)
    assert trace.answer is None
    assert trace.error is failure
    assert len(trace.turns) == len(trace.completions) == turn
    assert trace.tag == "tag"


@BOTH_WAYS
def test_a_failure_ends_only_its_own_flow(parallel: bool) -> None:
    def reply(request: Request) -> str | BackendError:
        return BackendError("no answer") if "lost" in request.chat[1].text else script(request)

    jobs: list[Job] = [(name, two_looks(name)) for name in ("one", "lost", "three")]
    traces = {trace.tag: trace for trace in run(jobs, ScriptedBackend(reply, parallel=parallel), 3)}
    assert {name: trace.error is None for name, trace in traces.items()} == {"one": True, "lost": False, "three": True}


@BOTH_WAYS
@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_a_picture_that_cannot_be_opened_ends_only_its_own_flow(parallel: bool, concurrency: int) -> None:
    def broken() -> Flow:
        raise PictureError("cut short", "truncated")

    jobs: list[Job] = [(0, broken), (1, broken), (2, direct()), (3, broken)]
    traces = {trace.tag: trace for trace in run(jobs, ScriptedBackend(["x"], parallel=parallel), concurrency)}
    assert [traces[n].error is not None for n in range(4)] == [True, True, False, True]
    assert traces[0].turns == ()


@BOTH_WAYS
def test_a_picture_that_breaks_off_under_the_second_look_keeps_the_first(parallel: bool) -> None:
    def breaking() -> Flow:
        flow = coarse_to_fine(picture(), QUESTION, LOOKING)
        flow.send((yield next(flow)))
        raise PictureError("the file broke off", "truncated")

    [trace] = run([(None, breaking)], ScriptedBackend(script, parallel=parallel))
    assert trace.answer is None
    assert isinstance(trace.error, PictureError)
    assert [turn.text for turn in trace.turns] == [ZOOM]


@BOTH_WAYS
def test_a_hundred_thousand_broken_pictures_are_no_recursion(parallel: bool) -> None:
    def broken() -> Flow:
        raise PictureError("cut short", "truncated")

    count = 2_000 if parallel else 100_000  # a thread each is slower
    traces = run(((number, broken) for number in range(count)), ScriptedBackend(["x"], parallel=parallel), 1)
    assert sum(trace.error is not None for trace in traces) == count


@BOTH_WAYS
def test_a_bug_is_not_data(parallel: bool) -> None:
    def wrong() -> Flow:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run([(None, wrong)], ScriptedBackend(["x"], parallel=parallel)))


# ── driving many ───────────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
@pytest.mark.parametrize("concurrency", [1, 3, 20])
def test_every_flow_gets_its_own_answer_and_tag(parallel: bool, concurrency: int) -> None:
    def reply(request: Request) -> str:
        return ZOOM if request.expect == "region" else f"<answer>{request.chat[-1].text.split()[0]}</answer>"

    jobs: list[Job] = [(number, two_looks(f"{number} ?")) for number in range(11)]
    traces = list(run(jobs, ScriptedBackend(reply, parallel=parallel), concurrency))
    assert {trace.tag for trace in traces} == set(range(11))
    assert len(traces) == 11
    assert all(trace.answer and trace.answer.text == str(trace.tag) for trace in traces)
    if concurrency == 1:
        assert [trace.tag for trace in traces] == list(range(11))


class Counting:
    """A model in this process that notes how many it was given at once."""

    parallel = False

    def __init__(self) -> None:
        self.given: list[int] = []

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        self.given.append(len(requests))
        return [Completion(script(request), Usage(), Seconds(), state=object()) for request in requests]


def test_requests_that_are_ready_together_are_given_together() -> None:
    backend = Counting()
    assert len(list(run([(number, two_looks()) for number in range(6)], backend, 4))) == 6
    assert backend.given == [4, 4, 2, 2]


def test_a_flow_that_ends_makes_room_for_another_at_once() -> None:
    backend = Counting()
    jobs = [("long", two_looks()), *(("short", direct()) for _ in range(4)), ("long", two_looks())]
    assert len(list(run(jobs, backend, 2))) == 6
    assert backend.given == [2, 2, 2, 1, 1] or backend.given == [2, 2, 2, 2]


@BOTH_WAYS
def test_no_more_pictures_than_the_window_are_alive(parallel: bool) -> None:
    """The caller drops each Trace before it asks for the next; then nothing else keeps a picture."""
    alive: list[weakref.ref[Picture]] = []
    lock = threading.Lock()
    most = 0

    def start() -> Flow:
        nonlocal most
        made = picture()
        with lock:
            alive.append(weakref.ref(made))
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))
        return coarse_to_fine(made, QUESTION, LOOKING)

    backend = ScriptedBackend(script, parallel=parallel)
    traces = run(((number, start) for number in range(12)), backend, 3)
    count = 0
    while next(traces, None):
        backend.requests.clear()
        count += 1
    assert count == 12
    assert most <= 3


@BOTH_WAYS
def test_jobs_are_taken_only_when_there_is_room(parallel: bool) -> None:
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for number in range(1_000_000):
            taken += 1
            yield number, direct()

    traces = run(jobs(), ScriptedBackend(["x"], parallel=parallel), 3)
    assert taken == 0  # nothing happens before the first Trace is wanted
    next(traces)
    assert taken == 3
    next(traces)
    assert taken <= 6


@BOTH_WAYS
def test_stopping_early_leaves_the_rest_unstarted(parallel: bool) -> None:
    started = 0

    def start() -> Flow:
        nonlocal started
        started += 1
        return one_look(picture(), QUESTION, LOOKING)

    traces = run(((number, start) for number in range(100)), ScriptedBackend(["x"], parallel=parallel), 2)
    next(traces)
    traces.close()  # type: ignore[attr-defined]
    assert started <= 2
    assert list(traces) == []


def test_a_slow_reply_delays_nobody_else() -> None:
    others_done = threading.Event()

    def reply(request: Request) -> str:
        if "slow" in request.chat[-1].text:
            assert others_done.wait(20)
        return "x"

    jobs: list[Job] = [(text, direct(text)) for text in ["slow", *"abcdef"]]
    order = []
    for trace in run(jobs, ScriptedBackend(reply), 2):
        order.append(trace.tag)
        if len(order) == 6:
            others_done.set()
    assert order == [*"abcdef", "slow"]


def test_two_at_a_time_are_truly_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=20)

    def reply(request: Request) -> str:
        meeting.wait()
        return "x"

    assert len(list(run([(number, direct()) for number in range(6)], ScriptedBackend(reply), 2))) == 6


@BOTH_WAYS
def test_nothing_to_do(parallel: bool) -> None:
    assert list(run([], ScriptedBackend(["x"], parallel=parallel), 4)) == []


@BOTH_WAYS
def test_a_window_for_nobody_is_a_mistake(parallel: bool) -> None:
    with pytest.raises(UsageError, match="concurrency is at least 1"):
        run([(None, direct())], ScriptedBackend(["x"], parallel=parallel), 0)


# ── what a trace keeps ─────────────────────────────────────────────────────────────────────────


def test_traces_hold_no_cache_of_the_backend() -> None:
    backend = Counting()
    [trace] = run([(None, two_looks())], backend)
    assert len(trace.completions) == len(trace.requests) == 2
    assert all(completion.state is None for completion in trace.completions)
    assert all(request.previous is None for request in trace.requests)


def test_the_second_request_carries_the_first_replys_cache() -> None:
    states = []

    def reply(request: Request) -> Completion:
        states.append(request.previous.state if request.previous else None)
        return Completion(script(request), state="a cache")

    drive((None, two_looks()), ScriptedBackend(reply))
    assert states == [None, "a cache"]


def test_the_cost_of_a_trace_is_the_sum_of_its_turns() -> None:
    def reply(request: Request) -> Completion:
        return Completion(script(request), Usage(generated_tokens=5), Seconds(0.25), "length")

    trace = drive((None, two_looks()), ScriptedBackend(reply))
    assert (trace.generated_tokens, trace.seconds) == (10, 0.5)
    assert [turn.finish for turn in trace.turns] == ["length", "length"]
    assert Trace((), None).vision_tokens == 0
    untold = drive((None, direct()), ScriptedBackend([Completion("x")]))
    assert untold.generated_tokens == 0  # the backend cannot tell


# ── as often as needed ─────────────────────────────────────────────────────────────────────────

NEAR, FAR = Box(0, 0, 500, 400), Box(500, 400, 1000, 800)  # of 1000 x 800, whose coarse view is 252 x 196


def zoom(*boxes: Box) -> str:
    coarse = View.of(picture(), LOOKING.coarse)
    return "".join(f"<zoom>{QWEN2_5_VL.write_region(box, coarse)}</zoom>" for box in boxes)


def looks(*replies: str, max_looks: int = 3, config: LookConfig = LOOKING) -> tuple[Trace, list[Request]]:
    backend = ScriptedBackend(list(replies))
    config = replace(config, max_looks=max_looks)
    return drive((None, lambda: as_needed(picture(), QUESTION, config)), backend), backend.requests


def test_a_model_that_answers_at_once_looks_once() -> None:
    trace, [first] = looks("<answer>B</answer>")
    assert trace.answer == Answer("B", "exact")
    assert not trace.answer.fallback
    assert trace.vision_tokens == first.views[0].tokens
    assert "(A) red\n(B) blue" in first.chat[-1].text  # it may answer, so it sees the options
    assert first.expect == "text"


@pytest.mark.parametrize("reply", ["B", "No zoom is needed: it is blue."])
def test_words_that_name_no_region_are_an_answer(reply: str) -> None:
    trace, requests = looks(reply)
    assert trace.answer is not None
    assert (trace.answer.text, trace.answer.reading, len(requests)) == (reply, "no_tag", 1)


def test_it_looks_again_elsewhere_and_closer_always_in_the_original_picture() -> None:
    trace, requests = looks(f"<think>near?</think>{zoom(NEAR)}", zoom(FAR), "<answer>A</answer>")
    assert [[view.box for view in turn.views] for turn in trace.turns] == [[Box(0, 0, 1000, 800)], [NEAR], [FAR]]
    assert trace.answer is not None
    assert (trace.answer.text, trace.answer.regions, trace.answer.region) == ("A", (FAR,), FAR)
    assert trace.answer.region_reading == "exact"
    assert trace.answer.thought == "near?"
    assert [message.role for message in requests[-1].chat] == ["system", "user", *["assistant", "user"] * 2]
    assert [request.previous is None for request in requests] == [True, False, False]
    assert "or name other or smaller regions of the FIRST image" in requests[1].chat[-1].text
    assert "Give the final answer now" in requests[2].chat[-1].text  # no look is left


def test_one_region_is_shown_with_the_whole_budget() -> None:
    trace, _ = looks(zoom(NEAR), "<answer>A</answer>")
    [close] = trace.turns[1].views
    assert close.size == View.of(picture(), LOOKING.close, NEAR).size
    assert close.tokens > LOOKING.close.max_tokens / 2


def test_several_regions_are_shown_together_within_one_budget() -> None:
    trace, requests = looks(zoom(NEAR, FAR), "<answer>A</answer>")
    assert trace.answer is not None
    assert trace.answer.regions == (NEAR, FAR)
    assert trace.answer.region_reading == "repaired_several"
    shown = trace.turns[1].views
    assert [view.box for view in shown] == [NEAR, FAR]
    assert sum(view.tokens for view in shown) <= LOOKING.close.max_tokens
    assert requests[1].chat[-1].parts[:2] == shown


def test_no_more_regions_are_shown_than_the_budget_has_room_for() -> None:
    config = replace(LOOKING, close=TokenBudget(9, min_tokens=4))
    trace, _ = looks(zoom(NEAR, FAR, Box(0, 400, 500, 800)), "<answer>A</answer>", config=config)
    assert trace.answer is not None
    assert trace.answer.regions == (NEAR, FAR)
    assert sum(view.tokens for view in trace.turns[1].views) <= 9


@pytest.mark.parametrize("most", [1, 2, 4])
def test_it_looks_no_more_often_than_it_may(most: int) -> None:
    trace, requests = looks(*[zoom(NEAR)] * 9, max_looks=most)
    assert len(requests) == len(trace.turns) == most


def test_a_region_that_cannot_be_read_shows_the_whole_picture_closely() -> None:
    trace, _ = looks("<zoom>[5000, 20, 6000, 100]</zoom>", "<answer>cannot tell</answer>")
    assert trace.answer is not None
    assert trace.answer.fallback
    assert (trace.answer.region_reading, trace.answer.text) == ("outside", "cannot tell")
    assert trace.turns[1].views[0].box == Box(0, 0, 1000, 800)
    assert trace.turns[1].views[0].tokens <= LOOKING.close.max_tokens


def test_nothing_said_is_no_answer_and_is_shown_everything_again() -> None:
    trace, requests = looks("", "", "")
    assert len(requests) == 3
    assert trace.answer is not None
    assert (trace.answer.text, trace.answer.reading, trace.answer.region_reading) == ("", "empty", "none_given")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_every_family_can_look_as_often_as_it_needs(family: ModelFamily) -> None:
    """Its own form, read back; and the words of each look."""
    budget = family.token_budget(family.budget)
    config = LookConfig(family, budget, budget)
    coarse = View.of(picture(), budget)
    backend = ScriptedBackend([f"<zoom>{family.write_region(NEAR, coarse)}</zoom>", "<answer>A</answer>"])
    trace = drive((None, lambda: as_needed(picture(), QUESTION, config)), backend)
    assert trace.answer is not None
    assert trace.answer.region is not None
    assert trace.answer.region.iou(NEAR) > 0.95
    assert "Which colour?" in backend.requests[1].chat[-1].text
    if family.name not in ("ergo_tiny", "ergo_photo"):  # they learnt the form, and are told nothing
        assert family.prompts.form in backend.requests[0].chat[-1].text
        assert family.prompts.space in backend.requests[0].chat[-1].text


# ── flows by name ──────────────────────────────────────────────────────────────────────────────


def test_flows_are_found_by_name() -> None:
    assert list(FLOWS) == ["coarse_to_fine", "one_look", "crop_only", "as_needed"]
    for name in FLOWS:
        flow = start_flow(name, picture(), QUESTION, LOOKING, NEAR)
        [view] = next(flow).views
        assert view.box == (NEAR if name == "crop_only" else Box(0, 0, 1000, 800))
    with pytest.raises(UsageError, match="no flow is called 'three_looks'; there are coarse_to_fine"):
        start_flow("three_looks", picture(), QUESTION, LOOKING, None)


@pytest.mark.parametrize("region", [None, Box(1000, 0, 1100, 50)])
def test_a_crop_needs_a_region_in_the_picture(region: Box | None) -> None:
    with pytest.raises(UsageError, match="crop_only needs a region inside the picture"):
        start_flow("crop_only", picture(), QUESTION, LOOKING, region)


def test_a_crop_is_cut_to_the_picture() -> None:
    trace = drive(
        (None, lambda: crop_only(picture(), QUESTION, LOOKING, Box(900, 0, 1100, 50))), ScriptedBackend(["A"])
    )
    assert trace.answer is not None
    assert trace.answer.regions == (Box(900, 0, 1000, 50),)
