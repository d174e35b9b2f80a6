"""Two conditions, asked the same: what the difference is, and whether it is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from ergo.core.errors import UsageError
from ergo.evals.rows import ResultRow, Run
from ergo.evals.statistics import mcnemar, mean_interval, ratio_interval
from ergo.grading import Matching

Ratio = tuple[float, float, float]
"""A ratio and the ends of its interval."""


@dataclass(frozen=True)
class Comparison:
    """`second` against `first`, over the evaluations that both have.

    difference: of accuracy, second minus first, with its paired bootstrap interval. only_first,
    only_second: evaluations that one alone got right; mcnemar: the p-value of these, None where questions
    repeat (the test wants independent pairs). unpaired: evaluations that one of them lacks.
    token_ratio, seconds_ratio: vision tokens and seconds of second over first, over the evaluations that both
    answered. Seconds are as the backend reports them during these runs, under their load: not a latency,
    for which there is `ergo bench`.
    """

    first: str
    second: str
    pairs: int
    unpaired: int
    difference: float
    interval: tuple[float, float]
    only_first: int
    only_second: int
    mcnemar: float | None
    token_ratio: Ratio | None
    seconds_ratio: Ratio | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    first: Sequence[ResultRow], second: Sequence[ResultRow], names: tuple[str, str], matching: Matching
) -> Comparison:
    """Compare two conditions, or one condition in two runs, by sample, seed and turn of the options."""
    others = {row.evaluation.variant: row for row in second}
    pairs = [(row, others[row.evaluation.variant]) for row in first if row.evaluation.variant in others]
    if not pairs:
        raise UsageError(f"{names[0]} and {names[1]} have no sample in common")
    clusters = [one.evaluation.cluster for one, _ in pairs]
    right = [(one.verdict(matching).right, other.verdict(matching).right) for one, other in pairs]
    differences = [float(b) - float(a) for a, b in right]
    only_first, only_second = right.count((True, False)), right.count((False, True))
    return Comparison(
        *names,
        pairs=len(pairs),
        unpaired=len(first) + len(second) - 2 * len(pairs),
        difference=fmean(differences),
        interval=mean_interval(differences, clusters),
        only_first=only_first,
        only_second=only_second,
        mcnemar=mcnemar(only_first, only_second) if len(set(clusters)) == len(clusters) else None,
        token_ratio=_ratio(pairs, "vision_tokens"),
        seconds_ratio=_ratio(pairs, "seconds"),
    )


def _ratio(pairs: Sequence[tuple[ResultRow, ResultRow]], figure: str) -> Ratio | None:
    """Mean of the second over mean of the first; None where nothing was measured."""
    answered = [(a, b) for a, b in pairs if a.error is None and b.error is None]
    above = [float(b.record[figure]) for _, b in answered]
    below = [float(a.record[figure]) for a, _ in answered]
    if not sum(above) or not sum(below):
        return None
    return ratio_interval(above, below, [a.evaluation.cluster for a, _ in answered])


def within(run: Run, baseline: str | None = None) -> list[Comparison]:
    """Every condition of a run against one of them: by default one_look at the largest budget, or the first."""
    if len(run.conditions) < 2:
        return []
    against = baseline or _baseline(run)
    if against not in run.conditions:
        raise UsageError(f"{run.path} has no condition {against!r}; it has {', '.join(run.conditions)}")
    return [
        compare(run.under(against), run.under(name), (against, name), run.config["preset"])
        for name in run.conditions
        if name != against and run.under(name) and run.under(against)
    ]


def _baseline(run: Run) -> str:
    direct = [row.evaluation.condition for row in run.rows if row.evaluation.condition.flow == "one_look"]
    return max(direct, key=lambda condition: condition.tokens).name if direct else run.conditions[0]


def between(first: Run, second: Run) -> list[Comparison]:
    """Conditions that two runs share; or, where each has but one, these two. Scored by the first run's preset."""
    for key in ("benchmark", "split"):
        if first.config.get(key) != second.config.get(key):
            raise UsageError(
                f"{first.path} and {second.path} asked different questions: "
                f"{key} {first.config.get(key)!r} and {second.config.get(key)!r}"
            )
    shared = [(name, name) for name in first.conditions if name in second.conditions]
    if not shared and len(first.conditions) == len(second.conditions) == 1:
        shared = [(first.conditions[0], second.conditions[0])]
    if not shared:
        raise UsageError(f"{first.path} and {second.path} share no condition")
    return [
        compare(
            first.under(a),
            second.under(b),
            (f"{first.path.name}:{a}", f"{second.path.name}:{b}"),
            first.config["preset"],
        )
        for a, b in shared
    ]
