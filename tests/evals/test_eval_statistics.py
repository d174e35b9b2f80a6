"""Intervals hold what they promise, checked by simulation and against published figures."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest

from ergo.evals import benchmarks
from ergo.evals.conditions import Condition, Protocol, evaluations
from ergo.evals.statistics import Interval, mcnemar, mean_interval, ratio_interval, share_interval, wilson


def test_wilson_against_the_literature() -> None:
    """Newcombe 1998, table I, method 3."""
    for right, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, count) == pytest.approx((low, high), abs=1e-4)


def test_no_answers_tell_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert share_interval([], []).low == 0.0


def test_perfect_scores_are_not_certain() -> None:
    assert share_interval([1.0] * 20, range(20)).low == pytest.approx(0.8389, abs=1e-4)
    several = share_interval([1.0] * 80, [number // 4 for number in range(80)])
    assert several.method == "wilson by cluster"
    assert 0.8 < several.low < 0.8389  # wider than for 20 questions known to be all there is
    assert share_interval([1.0] * 20, [0] * 20) == Interval(0.0, 1.0, "wilson by cluster")  # one picture says nothing


def test_repeated_questions_widen_the_interval() -> None:
    values = [float(number % 2) for number in range(200)]
    alone = share_interval([value for value in values for _ in range(4)], range(800))
    repeated = share_interval([value for value in values for _ in range(4)], [number // 4 for number in range(800)])
    assert (alone.method, repeated.method) == ("wilson", "wilson by cluster")
    assert repeated.high - repeated.low == pytest.approx(2 * (alone.high - alone.low), rel=0.1)


def test_the_cluster_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Questions of differing hardness, each asked 4 times: a plain interval would cover far less than 95 %."""
    rng = np.random.default_rng(0)
    covered = plain = 0
    trials = 150
    for _ in range(trials):
        hard = rng.choice([0.05, 0.95], 120)
        values = [float(value) for value in (rng.random((120, 4)) < hard[:, None]).reshape(-1)]
        interval = share_interval(values, [number // 4 for number in range(480)])
        covered += interval.low <= 0.5 <= interval.high
        low, high = wilson(sum(values), len(values))
        plain += low <= 0.5 <= high
    assert covered / trials >= 0.9
    assert plain / trials < 0.8


TRIALS = 1000
SHARES = [(share, alike) for share in (0.5, 0.8) for alike in (0.1, 0.4)]


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_questions_about_one_picture_are_one_cluster_in_any_table_and_intervals_cover_95_percent(
    kind: str, tmp_path: Path
) -> None:
    """60 pictures with 1 to 7 questions each, right together more often than by chance; 1,000 simulated runs of each kind."""
    sizes = np.random.default_rng(2).integers(1, 8, 60)
    rows = [
        {"image": f"{place}.png", "question": f"q{number}", "answer": "x"}
        for place, size in enumerate(sizes)
        for number in range(size)
    ]
    path = tmp_path / f"questions.{kind}"
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="parquet needs the extra `eval`")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        separator = {"csv": ",", "tsv": "\t"}[kind]
        path.write_text(
            "\n".join(separator.join(row) for row in [list(rows[0]), *(list(row.values()) for row in rows)])
        )
    found = evaluations(benchmarks.find(str(path)).samples(), Condition("one_look", 64), Protocol())
    clusters = [evaluation.cluster for evaluation, _ in found]
    assert [len(list(group)) for _, group in groupby(clusters)] == sizes.tolist()

    rng = np.random.default_rng(3)
    picture = np.repeat(np.arange(60), sizes)
    for share, alike in SHARES:
        covered = 0
        for _ in range(TRIALS):
            ease = rng.beta(share * (1 / alike - 1), (1 - share) * (1 / alike - 1), 60)
            interval = share_interval((rng.random(len(picture)) < ease[picture]).astype(float).tolist(), clusters)
            covered += interval.low <= share <= interval.high
        assert 0.93 <= covered / TRIALS <= 0.97, (share, alike, covered / TRIALS)


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0
    assert mcnemar(0, 6) == pytest.approx(2 / 64)
    assert mcnemar(10, 30) == pytest.approx(0.0022, abs=1e-4)
    assert 0 < mcnemar(300, 700) < 1e-30


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(1)
    first = rng.random(400) < 0.7
    second = first ^ (rng.random(400) < 0.05)
    differences = [float(b) - float(a) for a, b in zip(first, second, strict=True)]
    low, high = mean_interval(differences, range(400))
    assert high - low < 0.06


def test_ratios_are_of_means() -> None:
    ratio, low, high = ratio_interval([1.0, 3.0] * 50, [4.0, 4.0] * 50, range(100))
    assert ratio == 0.5
    assert low < 0.5 < high
    assert math.isnan(ratio_interval([], [], [])[0])
