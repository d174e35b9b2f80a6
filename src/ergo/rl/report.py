"""What a run says of itself: measurements of each step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ergo.rl.evidence import Failure, Rollout
from ergo.rl.rewards import Evidence

NAN = float("nan")


class Timed:
    """Wall seconds of the parts of a step, as `seconds/PART`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[f"seconds/{part}"] = time.perf_counter() - began


def measurements(
    rollouts: Sequence[Rollout], evidence: Sequence[Evidence | Failure], left_out: Sequence[bool]
) -> dict[str, float]:
    """What TRL does not log by itself, by name; nan where there is nothing to measure. Shares are of all rollouts.

    region/*: of the rollouts whose evidence is known, but for answers at the first look. left_out: rollouts that nothing is learnt from, failed or not
    enough of their group remaining. verifier, policy, picture/failed: by what failed. replies/cut: share of replies that
    ended at max_completion_length.
    """
    known = [one for one in evidence if not isinstance(one, Failure)]
    failed = [one.part for one in evidence if isinstance(one, Failure)]
    looked = [one for one in known if not one.early]
    areas = [one.area for one in looked]
    p10, p50, p90 = np.quantile(areas, (0.1, 0.5, 0.9)).tolist() if areas else (NAN, NAN, NAN)
    return {
        "region/area": _mean(areas),
        "region/area_p10": p10,
        "region/area_p50": p50,
        "region/area_p90": p90,
        "region/unreadable": _mean([one.region is None for one in looked]),
        "region/coverage": _mean(
            [one.region.coverage_of(one.truth) if one.region else 0.0 for one in looked if one.truth]
        ),
        "looks": _mean([one.looks for one in known]),
        "tokens/vision": _mean([one.vision_tokens for one in known]),
        "tokens/generated": _mean([one.trace.generated_tokens for one in rollouts]),
        "replies/cut": _mean([turn.finish == "length" for one in rollouts for turn in one.trace.turns]),
        "left_out": _mean(left_out),
        **{f"{part}/failed": failed.count(part) / len(rollouts) for part in ("verifier", "policy", "picture")},
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else NAN
