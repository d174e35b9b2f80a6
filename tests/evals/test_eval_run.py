"""Running: what is asked and how, what is kept, and that nothing is lost or asked twice."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from evaluating import (
    COLOURS,
    ONE_LOOK,
    PIXELS,
    TWO_LOOKS,
    knowing,
    model,
    number_of,
    picture,
    reported,
    run_folder,
    samples,
)

from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, DataError, UsageError
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.messages import Request
from ergo.evals.benchmarks import hrbench
from ergo.evals.conditions import POSTFIX, Condition, Protocol, conditions, conditions_listed, evaluations
from ergo.evals.masking import masked
from ergo.evals.released import Released
from ergo.families.prompts import PUBLISHED
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.samples.sample import Sample
from ergo.traces.folder import read_rows


def test_conditions_are_every_flow_with_every_budget() -> None:
    assert [one.name for one in conditions("one_look,coarse_to_fine", "64,full,64")] == [
        "one_look@64",
        "one_look@full",
        "coarse_to_fine@64",
        "coarse_to_fine@full",
    ]
    assert conditions("one_look", "full")[0].tokens == 16384
    for flows, budgets in (
        ("two_looks", "64"),
        ("one_look", "0"),
        ("one_look", "-5"),
        ("one_look", "many"),
        ("", "64"),
    ):
        with pytest.raises(UsageError):
            conditions(flows, budgets)


def test_flows_may_have_budgets_of_their_own() -> None:
    listed = conditions_listed(["one_look@64,full", "coarse_to_fine@64", "one_look@full"])
    assert [one.name for one in listed] == ["one_look@64", "one_look@full", "coarse_to_fine@64"]
    for spec in ("one_look", "@64", "one_look@", "two_looks@64"):
        with pytest.raises(UsageError):
            conditions_listed([spec])
    with pytest.raises(UsageError, match="spaces"):
        conditions_listed(["one_look@64,coarse_to_fine@64"])


def test_the_published_protocol_is_put_as_the_released_code_puts_it(tmp_path: Path) -> None:
    opened = model()
    run_folder(tmp_path, lambda: samples(1), opened, protocol=Protocol("published"))
    backend = opened.backend
    assert isinstance(backend, ScriptedBackend)
    first, second = backend.requests
    system, user = first.chat
    assert system.text == PUBLISHED.system
    assert user.text == PUBLISHED.region.format(question="colour 0?")  # stage 1 without the options
    told = f"colour 0?\n(A) red\n(B) blue\n(C) green\n(D) black\n{POSTFIX}"
    assert second.chat[-1].text == PUBLISHED.answer.format(question=told)  # stage 2 with them
    assert first.sampling == second.sampling
    assert (first.sampling.temperature, first.sampling.max_tokens, first.sampling.seed) == (0.0, 1024, 42)


def published_prompts(read: Iterator[Sample], tmp_path: Path, protocol: Protocol) -> list[tuple[str, str]]:
    """The texts of both looks, as a backend receives them."""
    opened = model()
    run_folder(tmp_path / "run", lambda: read, opened, [TWO_LOOKS], protocol)
    backend = opened.backend
    assert isinstance(backend, ScriptedBackend)
    return [
        (first.chat[-1].text, second.chat[-1].text)
        for first, second in zip(backend.requests[::2], backend.requests[1::2], strict=True)
    ]


def test_published_prompts_hold_the_benchmarks_own_rows_to_the_byte(tmp_path: Path) -> None:
    """Odd spaces, braces and brackets included: nothing between the row and the prompt tidies them."""
    encoded = base64.b64encode(PIXELS).decode()
    texts = [" red", "{blue}", "green  ", "(D) black"]
    row = {"index": 0, "image": encoded, "question": "What {colour}? ", **dict(zip("ABCD", texts, strict=True)),
           "answer": "B", "category": "single", "cycle_category": "0"}  # fmt: skip
    pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra `eval`")
    pytest.importorskip("pyarrow.parquet").write_table(
        pyarrow.Table.from_pylist([row]), tmp_path / "hr_bench_4k.parquet"
    )
    [(first, second)] = published_prompts(hrbench.read_4k(tmp_path), tmp_path, Protocol("published"))
    behind = "\n".join(["What {colour}? ", "A: red", "B:{blue}", "C:green  ", "D:(D) black", f" {POSTFIX}"])
    assert first == PUBLISHED.region.replace("{question}", "What {colour}? ")
    assert second == PUBLISHED.answer.replace("{question}", behind)

    [sample] = hrbench.read_4k(tmp_path)
    _, turned = next(iter(posed_turned(sample)))
    assert "\nA:{blue}\nB:green" in turned  # turned, in the benchmark's own form


def posed_turned(sample: Sample) -> Iterator[tuple[str, str]]:
    """What both looks are told under circular options, but for the first turn."""
    for evaluation, _ in islice(evaluations([sample], TWO_LOOKS, Protocol("published", order="circular")), 1, None):
        put, question = Protocol("published", order="circular").posed(model(), evaluation, sample)
        yield question.text, put.family.prompts.answer.format(question=question.text)


def test_released_pixels_overshoot_as_the_released_code_does_and_only_when_wanted(tmp_path: Path) -> None:
    """Sizes that its own smart_resize gives."""
    for tokens, size, cost in (
        (640, Size(3840, 2160), 646),
        (1280, Size(2246, 1582), 1290),
        (16384, Size(7680, 4320), 16416),
    ):
        assert Released(tokens).cost(Released(tokens).fit(size)) == cost
        assert TokenBudget(tokens).cost(TokenBudget(tokens).fit(size)) <= tokens
    with pytest.raises(UsageError, match="--released-pixels belongs to --preset published"):
        Protocol(released_pixels=True)
    opened = model()
    large = replace(next(samples(1)), image=picture(1000, 700), region=None)
    run_folder(
        tmp_path,
        lambda: iter([large]),
        opened,
        [Condition("one_look", 64)],
        Protocol("published", released_pixels=True),
    )
    backend = opened.backend
    assert isinstance(backend, ScriptedBackend)
    [view] = backend.requests[0].views
    assert view.tokens == Released(64).cost(Released(64).fit(Size(1000, 700))) == 70


def test_circular_options_are_turned_through_all_positions() -> None:
    turned = [evaluation.choices for evaluation, _ in evaluations(samples(1), TWO_LOOKS, Protocol(order="circular"))]
    assert [options.index("red") for options in turned] == [0, 3, 2, 1]
    assert {frozenset(options) for options in turned} == {frozenset(COLOURS)}


def test_shuffled_options_are_shuffled_the_same_way_each_time_and_by_seed() -> None:
    def orders() -> list[tuple[str, ...]]:
        return [
            evaluation.choices
            for evaluation, _ in evaluations(samples(40), ONE_LOOK, Protocol(order="shuffled", seeds=2))
        ]

    assert orders() == orders()
    first = [options.index(COLOURS[(place // 2) % 4]) for place, options in enumerate(orders())]
    assert set(first) == {0, 1, 2, 3}
    assert any(orders()[place] != orders()[place + 1] for place in range(0, 80, 2))


def test_one_id_twice_is_refused_for_it_would_shrink_the_denominator(tmp_path: Path) -> None:
    twice = [*samples(3), *samples(1)]
    with pytest.raises(DataError, match="'0'"):
        run_folder(tmp_path, lambda: twice, model())


def test_crop_only_and_the_masking_test_want_the_true_region(tmp_path: Path) -> None:
    bare = [replace(sample, region=None) for sample in samples(2)]
    with pytest.raises(UsageError, match="crop_only"):
        run_folder(tmp_path / "a", lambda: bare, model(), [Condition("crop_only", 64)])
    with pytest.raises(UsageError, match="--mask"):
        run_folder(tmp_path / "b", lambda: bare, model(), protocol=Protocol(mask=True))


def test_crop_only_shows_the_true_region_and_nothing_else(tmp_path: Path) -> None:
    opened = model()
    run_folder(tmp_path, lambda: samples(1), opened, [Condition("crop_only", 64)])
    [request] = opened.backend.requests  # type: ignore[attr-defined]
    assert [view.box for view in request.views] == [Box(0, 0, 56, 42)]


def test_a_broken_picture_is_a_failed_question_and_not_the_end_of_the_run(tmp_path: Path) -> None:
    mixed = [*samples(3), Sample("broken", b"not a picture", "colour 3?", "black", COLOURS)]
    report = reported(tmp_path, lambda: mixed, model())
    assert report.figures[0].answers == 4
    assert report.figures[0].failures == {"not_a_picture": 1}
    assert report.figures[0].accuracy == 3 / 4


def test_only_failures_are_asked_again(tmp_path: Path) -> None:
    evaluated: list[int] = []

    def failing_at_first(request: Request) -> str | BackendError:
        evaluated.append(number_of(request))
        return (
            BackendError("gone", "timeout") if number_of(request) == 2 and evaluated.count(2) == 1 else knowing(request)
        )

    run_folder(tmp_path, lambda: samples(4), model(failing_at_first), [ONE_LOOK])
    assert sorted(evaluated) == [0, 1, 2, 3]
    run_folder(tmp_path, lambda: samples(4), model(failing_at_first), [ONE_LOOK])
    assert sorted(evaluated) == [0, 1, 2, 2, 3]
    run_folder(tmp_path, lambda: samples(4), model(failing_at_first), [ONE_LOOK])
    assert sorted(evaluated) == [0, 1, 2, 2, 3]


def test_a_finished_condition_is_not_even_read_again(tmp_path: Path) -> None:
    read: list[int] = []

    def counted():  # type: ignore[no-untyped-def]
        read.append(1)
        return samples(3)

    for _ in range(2):
        run_folder(tmp_path, counted, model(), [ONE_LOOK, TWO_LOOKS])
    assert len(read) == 2


def test_at_most_a_window_of_samples_is_drawn_from_the_data_set(tmp_path: Path) -> None:
    drawn, finished, most = 0, 0, 0
    lock = threading.Lock()

    def counted():  # type: ignore[no-untyped-def]
        nonlocal drawn, most
        for sample in samples(40):
            drawn += 1
            most = max(most, drawn - finished)
            yield sample

    def answering(request: Request) -> str:
        nonlocal finished
        with lock:
            finished += 1
        return knowing(request)

    run_folder(tmp_path, counted, model(answering, 0.001), [ONE_LOOK], concurrency=3)
    assert drawn == 40
    assert most <= 3 + 1


def test_one_slow_reply_delays_nobody_else(tmp_path: Path) -> None:
    def slow_first(request: Request) -> str:
        if number_of(request) == 0:
            time.sleep(1.0)
        return knowing(request)

    progress = run_folder(tmp_path, lambda: samples(60), model(slow_first), [ONE_LOOK], concurrency=4)
    before = [now for now in progress if now.seconds < 0.9]
    assert len(before) == 59


def test_rows_hold_everything_a_score_needs_and_no_pixels(tmp_path: Path) -> None:
    run_folder(tmp_path, lambda: samples(1), model())
    [row] = read_rows(tmp_path / "traces.jsonl").values()
    assert row["evaluation"]["choices"] == list(COLOURS)
    assert row["evaluation"]["answer"] == "red"
    assert row["evaluation"]["region"] == [0, 0, 56, 42]
    assert [len(turn["views"]) for turn in row["turns"]] == [1, 1]
    assert "base64" not in str(row)


def test_masking_blackens_the_target_and_nothing_else() -> None:
    picture = load_image(PIXELS)
    covered = masked(picture, Box(10, 20, 50, 60))
    pixels = covered.pixels
    assert pixels.size == (112, 84)
    black = [
        place
        for place in ((9, 20), (10, 20), (49, 59), (50, 59), (10, 19), (49, 60))
        if pixels.getpixel(place) == (0, 0, 0)
    ]
    assert black == [(10, 20), (49, 59)]
    part = covered.part(Box(40, 50, 60, 70), Box(40, 50, 60, 70).size)
    assert part.getpixel((0, 0)) == (0, 0, 0)
    assert part.getpixel((10, 10)) == (255, 255, 255)


def test_a_tall_picture_is_masked_strip_by_strip() -> None:
    tall = load_image(picture(3000, 1200))
    pixels = masked(Picture(tall.stored), Box(100, 300, 200, 1100)).pixels
    assert pixels.crop((100, 300, 200, 1100)).getextrema() == ((0, 0),) * 3
    assert pixels.crop((200, 0, 3000, 1200)).getextrema() == ((255, 255),) * 3


def test_the_masking_test_shows_the_first_look_a_covered_target(tmp_path: Path) -> None:
    opened = model()
    report = reported(tmp_path, lambda: samples(2), opened, protocol=Protocol(mask=True))
    first = opened.backend.requests[0]  # type: ignore[attr-defined]
    assert first.views[0].pixels.getpixel((5, 5)) == (0, 0, 0)
    assert report.figures[0].region is not None
    assert report.figures[0].region.coverage == 1.0
