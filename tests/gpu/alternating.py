"""A reward that a random model earns every other time, so that a step of it has gradients."""

from __future__ import annotations

from itertools import cycle

from ergo.rl.rewards import Evidence

_SCORES = cycle((1.0, 0.0))


def every_other(evidence: Evidence) -> float:
    """1, 0, 1, 0, ..., whatever came of the rollout."""
    return next(_SCORES)
