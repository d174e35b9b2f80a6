"""Intervals and tests, each one equation. All are at 95 %, and all shares are of 1.

V* has 191 questions: at 80 % its interval is +-5.7 points. A ranking by two points on it is noise,
and these functions are here to say so.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""

DRAWS = 4000
"""Bootstrap draws: the ends of an interval are then good to about a fiftieth of its width."""


@dataclass(frozen=True)
class Interval:
    """low..high around an estimate. method: wilson, cluster bootstrap, or wilson over clusters."""

    low: float
    high: float
    method: str


def wilson(right: float, count: int) -> tuple[float, float]:
    """Wilson's interval (1927) for a share, which neither leaves 0..1 nor shrinks to nothing at its ends.

        centre = (p + z^2/2n) / (1 + z^2/n);  half = z / (1 + z^2/n) * sqrt(p(1-p)/n + z^2/4n^2)

    >>> tuple(round(end, 3) for end in wilson(160, 191))
    (0.779, 0.883)
    >>> round(wilson(10, 10)[1], 12)
    1.0
    """
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, Z * Z / count
    centre = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def share_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> Interval:
    """Interval of the mean of values in 0..1. Where a cluster holds several, clusters are what is drawn.

    Where all clusters agree the bootstrap has nothing to draw from and would claim certainty: then it
    is Wilson's interval with one observation per cluster.
    """
    sums, counts = _by_cluster(values, clusters)
    if len(sums) == len(values):
        return Interval(*wilson(sum(values), len(values)), "wilson")
    means = sums / counts
    if np.ptp(means) == 0:
        return Interval(*wilson(float(means[0]) * len(means), len(means)), "wilson over clusters")
    low, high = np.quantile(_drawn_means(sums, counts), (0.025, 0.975))
    return Interval(float(low), float(high), "cluster bootstrap")


def mean_interval(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[float, float]:
    """Bootstrap interval of a mean, drawn by cluster. For paired differences."""
    if not values:
        return math.nan, math.nan
    low, high = np.quantile(_drawn_means(*_by_cluster(values, clusters)), (0.025, 0.975))
    return float(low), float(high)


def ratio_interval(
    above: Sequence[float], below: Sequence[float], clusters: Sequence[Hashable]
) -> tuple[float, float, float]:
    """mean(above) / mean(below) of paired figures, with its bootstrap interval, drawn by cluster."""
    tops, _ = _by_cluster(above, clusters)
    bottoms, _ = _by_cluster(below, clusters)
    if not len(tops) or bottoms.sum() == 0:
        return math.nan, math.nan, math.nan
    drawn = _drawn_means(tops, bottoms)
    low, high = np.quantile(drawn[np.isfinite(drawn)], (0.025, 0.975))
    return float(tops.sum() / bottoms.sum()), float(low), float(high)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided McNemar test: the p-value of the pairs that disagree under a fair coin.

        p = min(1, 2 * sum_{i <= min(b, c)} C(b + c, i) / 2^(b + c))

    >>> mcnemar(1, 9)
    0.021484375
    >>> mcnemar(0, 0)
    1.0
    """
    total, least = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(total, count) for count in range(least + 1))
    return min(1.0, float(2 * tail / 2**total))


def _by_cluster(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and count of each cluster."""
    places = {cluster: place for place, cluster in enumerate(dict.fromkeys(clusters))}
    index = np.array([places[cluster] for cluster in clusters], dtype=np.int64)
    sums = np.bincount(index, np.asarray(values, dtype=np.float64), len(places))
    return sums, np.bincount(index, minlength=len(places)).astype(np.float64)


def _drawn_means(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """DRAWS times: as many clusters as there are, drawn with replacement, sum of one over sum of the other."""
    rng = np.random.default_rng(0)
    means = np.empty(DRAWS)
    step = max(1, 2_000_000 // max(1, len(above)))  # draws at once, 16 MB of places
    for start in range(0, DRAWS, step):
        count = min(step, DRAWS - start)
        places = rng.integers(len(above), size=(count, len(above)))
        with np.errstate(divide="ignore", invalid="ignore"):
            means[start : start + count] = above[places].sum(1) / below[places].sum(1)
    return means
