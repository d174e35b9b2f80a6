"""Rows -> figures. Every figure is defined here, once; docs/numbers.md says the same in words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from ergo.core.geometry import Box
from ergo.evals.rows import ResultRow, Run
from ergo.evals.statistics import share_interval
from ergo.grading import MATCHINGS, Matching

AREA_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
"""Shares of the picture between which regions are counted."""

HRBENCH = {"single": "FSP", "cross": "FCP"}
"""HR-Bench's categories in its file -> in its tables: fine-grained single-instance and cross-instance perception."""

Pair = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """A share of right answers. answers: evaluations, the denominator."""

    samples: int
    answers: int
    accuracy: float
    accuracy_interval: Pair
    interval_method: str

    @classmethod
    def of(cls, rows: Sequence[ResultRow], matching: Matching) -> Score:
        values = [float(row.verdict(matching).right) for row in rows]
        interval = share_interval(values, [row.evaluation.cluster for row in rows])
        return cls(
            samples=len({row.evaluation.sample for row in rows}),
            answers=len(rows),
            accuracy=_mean(values) or 0.0,
            accuracy_interval=(interval.low, interval.high),
            interval_method=interval.method,
        )


@dataclass(frozen=True)
class Regions:
    """Where the model looked. Evaluations without an answer are not in here; a fallback covers nothing.

    contains, coverage, iou: against the true region, over the evaluations that have one; None if none has.
    area: mean share of the picture looked at closely, 1 for a fallback. areas: evaluations by share, between
    AREA_EDGES. readings: how each region was read. fallbacks: second looks at the whole picture, by why.
    """

    answers: int
    contains: float | None
    coverage: float | None
    iou: float | None
    area: float | None
    areas: tuple[int, ...]
    readings: dict[str, int]
    fallbacks: dict[str, int]

    @classmethod
    def of(cls, rows: Sequence[ResultRow]) -> Regions | None:
        looked = [row for row in rows if row.record["region_reading"] is not None]
        if not looked:
            return None
        known = [(row.region, true) for row in looked if (true := row.true_region) is not None]
        shares = [_area_share(row) for row in looked]
        return cls(
            answers=len(looked),
            contains=_mean(float(_coverage(region, true) == 1) for region, true in known),
            coverage=_mean(_coverage(region, true) for region, true in known),
            iou=_mean(region.iou(true) if region else 0.0 for region, true in known),
            area=_mean(shares),
            areas=_histogram(shares),
            readings=_counts(row.record["region_reading"] for row in looked),
            fallbacks=_counts(row.record["region_reading"] for row in looked if row.record["fallback"]),
        )


def _coverage(region: Box | None, true: Box) -> float:
    return region.coverage_of(true) if region else 0.0


def _area_share(row: ResultRow) -> float:
    region, source = row.region, row.source
    return region.area / source.area if region and source else 1.0


def _histogram(shares: Sequence[float]) -> tuple[int, ...]:
    ends = AREA_EDGES[1:]
    counts = Counter(next(place for place, end in enumerate(ends) if share <= end) for share in shares)
    return tuple(counts[place] for place in range(len(ends)))


@dataclass(frozen=True)
class Consistency:
    """Over samples that were asked several times. all_right: every time. same: always the same answer."""

    samples: int
    all_right: float
    same: float

    @classmethod
    def of(cls, rows: Sequence[ResultRow], matching: Matching) -> Consistency | None:
        evaluated: dict[str, list[ResultRow]] = defaultdict(list)
        for row in rows:
            evaluated[row.evaluation.sample].append(row)
        several = [group for group in evaluated.values() if len(group) > 1]
        if not several:
            return None
        return cls(
            samples=len(several),
            all_right=fmean(all(row.verdict(matching).right for row in group) for group in several),
            same=fmean(len({row.meant for row in group}) == 1 for group in several),
        )


@dataclass(frozen=True)
class Figures:
    """One condition. Shares are of 1; tokens and seconds are means over the evaluations that were answered.

    subtotals: over the groups of categories that the benchmark reports (`subtotal_of`).
    tokens: vision (of the views shown, each once), prompt, cached, generated (as the backend tells;
    None where it does not). seconds_by_turn: of each look. failures: evaluations without an answer, by
    kind; they are wrong and in the denominator. cut_off: answered evaluations of which a reply hit the token
    limit. answers_read: how answers were read from replies. verdicts: how they were graded.
    as_reference_prints: the accuracy if failures were dropped, as the released code does.
    throughput: answers per wall second of the whole run, of sessions that came to their end.
    """

    condition: str
    samples: int
    answers: int
    failed: int
    accuracy: float
    accuracy_interval: Pair
    interval_method: str
    vision_tokens: float | None
    seconds: float | None
    region: Regions | None
    by_category: dict[str, Score]
    subtotals: dict[str, Score]
    region_by_category: dict[str, Regions | None]
    accuracy_by_matching: dict[str, float]
    as_reference_prints: float | None
    failures: dict[str, int]
    cut_off: int
    answers_read: dict[str, int]
    verdicts: dict[str, int]
    consistency: Consistency | None
    tokens: dict[str, float | None]
    seconds_by_turn: tuple[float, ...]
    throughput: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def parts(self) -> Iterator[tuple[str, Score]]:
        """Scores as the benchmark's own table has them: subtotals, then categories."""
        for group, score in self.subtotals.items():
            yield group if group in HRBENCH.values() else f"{group}, all", score
        yield from ((name, score) for name, score in self.by_category.items() if name not in HRBENCH)


def summarise(run: Run, condition: str) -> Figures:
    """The figures of one condition of a run."""
    rows = run.under(condition)
    categories = _grouped(rows, str)
    matching: Matching = run.config["preset"]
    score = Score.of(rows, matching)
    answered = [row for row in rows if row.error is None]
    return Figures(
        condition=condition,
        **asdict(score),
        failed=len(rows) - len(answered),
        vision_tokens=_mean(row.record["vision_tokens"] for row in answered),
        seconds=_mean(row.record["seconds"] for row in answered),
        region=Regions.of(rows),
        by_category={name: Score.of(group, matching) for name, group in categories.items()},
        subtotals={name: Score.of(group, matching) for name, group in _grouped(rows, subtotal_of).items() if name},
        region_by_category={name: Regions.of(group) for name, group in categories.items()},
        accuracy_by_matching={name: Score.of(rows, name).accuracy for name in MATCHINGS},
        as_reference_prints=_mean(float(row.verdict("published").right) for row in answered),
        failures=_counts(row.error for row in rows if row.error),
        cut_off=sum(any(turn["finish"] == "length" for turn in row.turns) for row in answered),
        answers_read=_counts(row.record["answer_reading"] for row in answered),
        verdicts=_counts(row.verdict(matching).reason for row in rows),
        consistency=Consistency.of(rows, matching),
        tokens={"vision": _mean(row.record["vision_tokens"] for row in answered)}
        | {name: _mean(row.used(f"{name}_tokens") for row in answered) for name in ("prompt", "cached", "generated")},
        seconds_by_turn=_seconds_by_turn(answered),
        throughput=_throughput(run, condition),
    )


def subtotal_of(category: str) -> str:
    """The group that a benchmark reports a category under, over its samples; "" for none.

    >>> subtotal_of("Perception/OCR with Complex Context"), subtotal_of("cross"), subtotal_of("direct_attributes")
    ('Perception', 'FCP', '')
    """
    group, slash, _ = category.partition("/")
    return group if slash else HRBENCH.get(category, "")


def _grouped(rows: Sequence[ResultRow], name_of: Callable[[str], str]) -> dict[str, list[ResultRow]]:
    groups: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        groups[name_of(row.evaluation.category)].append(row)
    return dict(sorted(groups.items()))


def _seconds_by_turn(answered: Sequence[ResultRow]) -> tuple[float, ...]:
    most = max((len(row.turns) for row in answered), default=0)
    return tuple(
        fmean(row.turns[turn]["seconds"]["total"] for row in answered if len(row.turns) > turn) for turn in range(most)
    )


def _throughput(run: Run, condition: str) -> float | None:
    sessions = [session for session in run.sessions if session["condition"] == condition and session["answers"]]
    seconds = sum(session["seconds"] for session in sessions)
    return sum(session["answers"] for session in sessions) / seconds if seconds else None


def _counts(names: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(str(name) for name in names).most_common())


def _mean(values: Iterable[float | None]) -> float | None:
    """None where there is nothing, or where one value is not known."""
    known = list(values)
    if not known or any(value is None for value in known):
        return None
    return fmean(value for value in known if value is not None)
