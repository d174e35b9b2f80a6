"""What the report says of a run, and what it must never leave out."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path

import pytest
from evaluating import COLOURS, ONE_LOOK, TWO_LOOKS, knowing, model, number_of, reported, run_folder, samples

from ergo.core.errors import BackendError, DataError, UsageError
from ergo.core.messages import Completion, Request, Seconds, Usage
from ergo.evals.compare import between
from ergo.evals.conditions import Condition, Protocol
from ergo.evals.files import write_report
from ergo.evals.page import page
from ergo.evals.render import as_text
from ergo.evals.report import Report
from ergo.evals.rows import read_run
from ergo.grading import Truth, grade_published
from ergo.samples.sample import Sample


def test_report_json_has_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    run_folder(tmp_path, lambda: samples(6), model())
    write_report(tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert {
        "samples", "failed", "accuracy", "accuracy_interval", "vision_tokens", "seconds", "region", "by_category",
        "config", "commit",
    } <= set(told)  # fmt: skip
    assert (told["samples"], told["failed"], told["accuracy"]) == (6, 0, 1.0)
    assert told["accuracy_interval"] == pytest.approx([0.6097, 1.0], abs=1e-4)
    assert told["vision_tokens"] == 12 + 4  # 112x84 pixels, then 56x42 (2 x 2 patches)
    assert told["region"]["coverage"] == told["region"]["contains"] == told["region"]["iou"] == 1.0
    assert told["region"]["area"] == 0.25
    assert set(told["by_category"]) == set(told["region_by_category"]) == {"even", "odd"}
    assert told["region_by_category"]["odd"]["area"] == 0.25
    assert told["complete"] is True


# ── fault three of the reference: failures that leave the denominator ──────────────────────────


def failing_often(request: Request) -> str | BackendError:
    kind = {3: "timeout", 7: "http_500"}.get(number_of(request) % 10)
    return BackendError("no", kind) if kind else knowing(request)


def test_failures_are_wrong_counted_and_named(tmp_path: Path) -> None:
    report = reported(tmp_path, lambda: samples(40), model(failing_often), protocol=Protocol("published"))
    [figures] = report.figures
    assert (figures.samples, figures.answers, figures.failed) == (40, 40, 8)
    assert figures.accuracy == 32 / 40
    assert figures.failures == {"timeout": 4, "http_500": 4}
    assert figures.as_reference_prints == 1.0  # what the released code would have printed
    assert "4 timeout" in as_text(report)
    assert "would drop the failures and print 100.0%" in as_text(report)


def test_faults_on_a_tenth_of_all_calls_leave_the_denominator_whole(tmp_path: Path) -> None:
    rng, lock = random.Random(0), threading.Lock()

    def unreliable(request: Request) -> str | BackendError:
        with lock:
            fault = rng.random() < 0.1
        return BackendError("no", rng.choice(["refused", "cut_stream", "http_429"])) if fault else knowing(request)

    [figures] = reported(tmp_path, lambda: samples(200), model(unreliable)).figures
    assert figures.answers == 200
    assert 20 < figures.failed < 60  # two calls each
    assert sum(figures.failures.values()) == figures.failed
    assert figures.accuracy == (200 - figures.failed) / 200


def test_a_run_that_was_stopped_says_so(tmp_path: Path) -> None:
    def stop_at_five(request: Request) -> str:
        if number_of(request) == 5:
            raise UsageError("stopped")
        return knowing(request)

    with pytest.raises(UsageError):
        run_folder(tmp_path, lambda: samples(20), model(stop_at_five), [ONE_LOOK], concurrency=1)
    report = Report.of(tmp_path)
    assert not report.complete
    assert "NOT COMPLETE" in as_text(report)
    assert "NOT COMPLETE" in page(report)


def test_a_run_without_answers_has_no_report(tmp_path: Path) -> None:
    run_folder(tmp_path, lambda: [], model())
    with pytest.raises(DataError, match="no answers"):
        Report.of(tmp_path)
    with pytest.raises(UsageError, match="not a run folder"):
        Report.of(tmp_path / "nowhere")


# ── regions ────────────────────────────────────────────────────────────────────────────────────


def test_a_look_at_everything_covers_nothing_and_is_counted_by_reason(tmp_path: Path) -> None:
    def saying(request: Request) -> str:
        if request.expect != "region":
            return knowing(request)
        return ("no idea", "<zoom>[a, b]</zoom>", knowing(request), "<zoom>[0, 0, 112, 84]</zoom>")[
            number_of(request) % 4
        ]

    [figures] = reported(tmp_path, lambda: samples(8), model(saying)).figures
    region = figures.region
    assert region is not None
    assert region.fallbacks == {"none_given": 2, "not_numbers": 2}
    assert region.contains == 0.5  # fallbacks do not count as containing, named regions do
    assert region.coverage == 0.5
    assert region.iou == pytest.approx((1.0 + 0.25) / 4)
    assert region.area == pytest.approx((1 + 1 + 0.25 + 1) / 4)
    assert sum(region.areas) == 8


def test_flows_without_a_region_report_none(tmp_path: Path) -> None:
    report = reported(tmp_path, lambda: samples(2), model(), [ONE_LOOK])
    assert report.figures[0].region is None
    assert json.loads(json.dumps(report.to_json()))["region"] is None


# ── repeated questions ─────────────────────────────────────────────────────────────────────────


def test_a_model_that_always_says_a_is_found_out_by_turning_the_options(tmp_path: Path) -> None:
    def always_first(request: Request) -> str:
        return "<answer>A</answer>"

    first = [sample for sample in samples(40) if sample.answer == COLOURS[0]]  # the right one stands first
    as_is = reported(tmp_path / "a", lambda: first, model(always_first), [ONE_LOOK])
    turned = reported(tmp_path / "b", lambda: first, model(always_first), [ONE_LOOK], Protocol(order="circular"))
    assert as_is.figures[0].accuracy == 1.0
    [figures] = turned.figures
    assert (figures.samples, figures.answers, figures.accuracy) == (10, 40, 0.25)
    assert figures.consistency is not None
    assert (figures.consistency.all_right, figures.consistency.same) == (0.0, 0.0)
    knows = (
        reported(tmp_path / "c", lambda: first, model(), [ONE_LOOK], Protocol(order="circular")).figures[0].consistency
    )
    assert knows is not None
    assert (knows.all_right, knows.same) == (1.0, 1.0)


def test_seeds_repeat_samples_and_intervals_are_over_samples(tmp_path: Path) -> None:
    def by_sample(request: Request) -> str:
        return knowing(request) if number_of(request) % 2 else "<answer>none</answer>"

    [figures] = reported(tmp_path, lambda: samples(20), model(by_sample), [ONE_LOOK], Protocol(seeds=3)).figures
    assert (figures.samples, figures.answers, figures.accuracy) == (20, 60, 0.5)
    assert figures.interval_method == "wilson by cluster"
    assert figures.accuracy_interval[1] - figures.accuracy_interval[0] > 0.35


# ── replies ────────────────────────────────────────────────────────────────────────────────────


def test_repaired_unread_and_cut_off_replies_are_counted(tmp_path: Path) -> None:
    replies = ["<answer>A</answer>", "<answer>B", "I would say (C)", "<answer></answer>", "<think>so long"]

    def saying(request: Request) -> Completion:
        text = replies[number_of(request)]
        return Completion(text, Usage(), Seconds(0.5), "length" if text == replies[4] else "stop")

    [figures] = reported(tmp_path, lambda: samples(5), model(saying), [ONE_LOOK]).figures
    assert figures.answers_read == {"empty": 2, "exact": 1, "repaired_tag": 1, "no_tag": 1}
    assert figures.cut_off == 1
    assert figures.verdicts == {"letter": 3, "empty": 1, "unread": 1}
    assert figures.accuracy == 3 / 5
    assert figures.accuracy_by_matching == {"published": 2 / 5, "ours": 3 / 5, "strict": 3 / 5}
    assert figures.tokens["prompt"] is None  # the backend could not tell, and no figure is made up
    assert figures.seconds == 0.5


def test_both_presets_are_always_in_the_report(tmp_path: Path) -> None:
    def repeating_the_option(request: Request) -> str:
        return "<answer>A: red</answer>" if number_of(request) == 0 else knowing(request)

    run_folder(tmp_path, lambda: samples(4), model(repeating_the_option), [ONE_LOOK], Protocol("published"))
    [figures] = Report.of(tmp_path).figures
    assert figures.accuracy == 0.75
    assert figures.accuracy_by_matching == {"published": 0.75, "ours": 1.0, "strict": 1.0}
    assert not grade_published("<answer>A: red</answer>", Truth(("red",), COLOURS)).right


# ── comparing ──────────────────────────────────────────────────────────────────────────────────


def half_blind(request: Request) -> Completion | str:
    right = knowing(request) if number_of(request) % 2 or request.views[0].tokens > 8 else "<answer>none</answer>"
    return Completion(right, Usage(vision_tokens=sum(view.tokens for view in request.views)), Seconds(0.2))


def test_conditions_of_a_run_are_compared_in_pairs_with_the_largest_direct_look(tmp_path: Path) -> None:
    conditions = [Condition("one_look", 4), Condition("one_look", None)]
    report = reported(tmp_path, lambda: samples(40), model(half_blind), conditions)
    [comparison] = report.comparisons
    assert (comparison.first, comparison.second) == ("one_look@full", "one_look@4")
    assert comparison.pairs == 40
    assert comparison.difference == -0.5
    assert comparison.interval[1] < -0.3
    assert (comparison.only_first, comparison.only_second) == (20, 0)
    assert comparison.mcnemar == pytest.approx(2 / 2**20)
    assert comparison.token_ratio is not None
    assert comparison.token_ratio[0] == pytest.approx(4 / 12)  # 2 x 2 patches, the family's least, and 4 x 3
    assert comparison.seconds_ratio is not None
    assert comparison.seconds_ratio[0] == pytest.approx(1.0)
    assert "speed-up" not in as_text(report)


def test_runs_are_compared_sample_by_sample(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", lambda: samples(20), model(), [ONE_LOOK])
    run_folder(tmp_path / "b", lambda: samples(12), model(lambda request: "<answer>A</answer>"), [ONE_LOOK])
    [comparison] = between(read_run(tmp_path / "a"), read_run(tmp_path / "b"))
    assert (comparison.pairs, comparison.unpaired) == (12, 8)
    assert comparison.difference == pytest.approx(-9 / 12)


def test_runs_of_different_questions_are_not_compared(tmp_path: Path) -> None:
    run_folder(tmp_path / "a", lambda: samples(2), model())
    run_folder(tmp_path / "b", lambda: samples(2), model())
    config = tmp_path / "b" / "config.json"
    config.write_text(config.read_text().replace("colours", "shapes"))
    with pytest.raises(UsageError, match="different questions"):
        between(read_run(tmp_path / "a"), read_run(tmp_path / "b"))


# ── the page ───────────────────────────────────────────────────────────────────────────────────


def test_the_page_is_one_file_without_anything_to_fetch_and_nothing_to_run(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script><img src=http://x/y>"

    def saying(request: Request) -> str:
        return f"{knowing(request)} {nasty}" if request.expect == "region" else f"<answer>{nasty}</answer>"

    evaluated = [Sample(f"0{nasty}", b"broken", nasty, "red", category=nasty), *samples(3)]
    report = reported(tmp_path, lambda: evaluated, model(saying), [TWO_LOOKS, ONE_LOOK])
    text = page(report)
    assert "<script" not in text
    assert "<img src=http" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src 'none'" in text
    assert text.count("<svg") == 1
    assert text.count("data:image/jpeg;base64,") >= 6  # both looks of each wrong answer
    assert text.count("<article>") >= 3


def test_worst_answers_are_shown_with_both_looks_and_the_replies(tmp_path: Path) -> None:
    def missing(request: Request) -> str:
        return (
            "<think>over there</think><zoom>[60, 50, 100, 80]</zoom>"
            if request.expect == "region"
            else "<answer>Z</answer>"
        )

    text = page(reported(tmp_path, lambda: samples(2), model(missing)))
    assert text.count("<img") == 4
    assert "over there" in text
    assert 'answered <b class="wrong">Z</b>, true <b class="right">red</b>' in text
