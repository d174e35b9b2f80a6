"""Rewards: one equation, one pure function (paper section 3; `docs/rewards.md` says what each one pays for).

A reward reads Evidence, what is known of one finished rollout, and returns a score, or None where it
does not apply: the verifier did not answer, or no true region is known. None is left out of the sum
and counted; it is never a silent zero. Asking a model for evidence happens in `evidence.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar

from ergo.core.errors import UsageError
from ergo.core.geometry import Box, Size

GAMMA = 0.6  # paper eq. 2: most true regions of TreeVGR, Visual-CoT, V* and VGR cover less
ALPHA, BETA = 1.0, 0.5  # weights of region verification and box adjustment in r_TCE


@dataclass(frozen=True)
class Evidence:
    """What a reward may know of a rollout.

    picture: its size. region: what was looked at closely, SOURCE pixels; None for the whole picture
    again. right: the answer matches. verified: the frozen verifier answers rightly from the crop
    alone; None where it failed. well_formed: <think> and an exact <zoom> in the first reply, <answer>
    in the second. truth: the smallest true region, where known. vision_tokens: of both views.
    allowed_tokens: of both views, at most.
    """

    picture: Size
    region: Box | None
    right: bool
    verified: bool | None
    well_formed: bool
    truth: Box | None
    vision_tokens: int
    allowed_tokens: int

    @property
    def area(self) -> float:
        """Share of the picture looked at closely, 0..1."""
        return self.region.area / self.picture.area if self.region else 1.0


# ── the paper's ────────────────────────────────────────────────────────────────────────────────


def region_verification(evidence: Evidence) -> float | None:
    """r_region = 1[match(R(crop, q), answer)], R frozen, the crop alone (section 3, eq. 1); 0 without a readable region."""
    return None if evidence.verified is None else float(evidence.verified)


def box_adjustment(evidence: Evidence, gamma: float = GAMMA) -> float:
    """r_box = 1[area(crop) / area(picture) <= gamma] (eq. 2).

    >>> whole, half = Box(0, 0, 100, 100), Box(0, 0, 100, 50)
    >>> seen = partial(Evidence, Size(100, 100), right=True, verified=True, well_formed=True, truth=None,
    ...                vision_tokens=8, allowed_tokens=8)
    >>> box_adjustment(seen(region=half)), box_adjustment(seen(region=whole)), box_adjustment(seen(region=None))
    (1.0, 0.0, 0.0)
    """
    return float(evidence.area <= gamma)


def task_driven_contextual_exploration(region: float, box: float, alpha: float = ALPHA, beta: float = BETA) -> float:
    """r_TCE = alpha r_region + beta r_box, alpha 1, beta 0.5.

    >>> task_driven_contextual_exploration(1, 1), task_driven_contextual_exploration(0, 1)
    (1.5, 0.5)
    """
    return alpha * region + beta * box


def accuracy(evidence: Evidence) -> float:
    """r_acc = 1[match(answer, truth)]."""
    return float(evidence.right)


def well_formed(evidence: Evidence) -> float:
    """r_format: the tags of both turns are there; its scale is not published, 0/1 is our choice."""
    return float(evidence.well_formed)


def total(region: float, box: float, acc: float, form: float) -> float:
    """R = r_TCE + r_acc + r_format, one scalar for both turns.

    >>> total(1, 1, 1, 1), total(region=1, box=0, acc=1, form=1)
    (3.5, 3.0)
    """
    return task_driven_contextual_exploration(region, box) + acc + form


# ── what later work found better ───────────────────────────────────────────────────────────────


def smooth_box(evidence: Evidence, sharpness: float = 4.0) -> float:
    """exp(-sharpness area): smaller is always a little better, where r_box has one step (AdaptVision's area penalty).

    >>> tiny, whole = Box(0, 0, 1, 1), Box(0, 0, 100, 100)
    >>> seen = partial(Evidence, Size(100, 100), right=True, verified=True, well_formed=True, truth=None,
    ...                vision_tokens=8, allowed_tokens=8)
    >>> round(smooth_box(seen(region=tiny)), 3), round(smooth_box(seen(region=whole)), 3)
    (1.0, 0.018)
    """
    return math.exp(-sharpness * evidence.area)


def gated_box(evidence: Evidence, sharpness: float = 4.0) -> float:
    """`smooth_box`, paid only for right answers, so that no crop is shrunk past usefulness (FoveateR)."""
    return smooth_box(evidence, sharpness) if evidence.right else 0.0


def coverage(evidence: Evidence) -> float | None:
    """|region ∩ true| / |true|; an unreadable region covers nothing. None where no true region is known."""
    if evidence.truth is None:
        return None
    return evidence.region.coverage_of(evidence.truth) if evidence.region else 0.0


def iou(evidence: Evidence) -> float | None:
    """Intersection over union with the true region. None where none is known."""
    if evidence.truth is None:
        return None
    return evidence.region.iou(evidence.truth) if evidence.region else 0.0


def tokens_saved(evidence: Evidence) -> float:
    """1 - vision tokens spent / allowed: a charge for each vision token."""
    return 1 - evidence.vision_tokens / evidence.allowed_tokens


REWARDS: Mapping[str, Callable[..., float | None]] = MappingProxyType(
    {
        "region": region_verification,
        "box": box_adjustment,
        "accuracy": accuracy,
        "format": well_formed,
        "smooth_box": smooth_box,
        "gated_box": gated_box,
        "coverage": coverage,
        "iou": iou,
        "tokens": tokens_saved,
    }
)


@dataclass(frozen=True)
class Reward:
    """One line of a recipe: which reward, its weight in the sum, and its constants.

    name: a key of REWARDS, or `module:function` of your own, a function of Evidence. turn: the reply that it is paid to, 1 (where
    to look) or 2 (the answer); None for both. Where any reward names one, each reply has its own advantage (train/turns.py).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}  # read from a recipe

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    turn: int | None = None

    def __post_init__(self) -> None:
        if self.turn not in (None, 1, 2):
            raise UsageError(
                f"the reward {self.name} is paid to turn 1 (where to look) or 2 (the answer), not {self.turn!r}"
            )

    def scorer(self) -> partial[float | None]:
        """The function with its constants filled in."""
        return partial(_function(self.name), **self.options)


def _function(name: str) -> Callable[..., float | None]:
    if name in REWARDS:
        return REWARDS[name]
    module, separator, function = name.partition(":")
    if not separator:
        raise UsageError(f"no reward is called {name!r}; there are {', '.join(REWARDS)}, or your own module:function")
    try:
        found: Callable[..., float | None] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the reward {name} cannot be imported: {error}") from error
    return found
