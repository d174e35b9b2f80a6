"""Rewards: one equation, one pure function (paper section 3; `docs/rewards.md` says what each one is for).

A reward reads Evidence, what is known of one finished rollout, and returns a score, or None where it
does not apply (no true region is known). Where it applies to some rollouts of a group only, the others
are left out of the group: None is never a silent zero. Evidence itself is gathered in `evidence.py`; a
rollout without it (a dead verifier, a broken picture) is a Failure there and is never scored.
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


@dataclass(frozen=True)
class Evidence:
    """What a reward may know of a rollout.

    picture: its size. region: what was looked at closely, SOURCE pixels; None for the whole picture
    again. right: the answer matches. verified: the frozen verifier answers rightly from the crop
    alone; False without a readable region, for then there is no crop. well_formed: <think> and an exact <zoom> in the first reply, <answer>
    in the last. truth: the smallest true region, where known. vision_tokens: of all views.
    allowed_tokens: of all views, at most. looks: views it was shown, of allowed_looks. early: answered at the
    first look, where the flow lets it. abstains: says that the picture does not show it. likelihood: probability, 0 to 1,
    that the frozen verifier gives to the truth from the crop alone; None where nobody asked.
    """

    picture: Size
    region: Box | None
    right: bool
    verified: bool
    well_formed: bool
    truth: Box | None
    vision_tokens: int
    allowed_tokens: int
    looks: int = 2
    allowed_looks: int = 2
    early: bool = False
    abstains: bool = False
    likelihood: float | None = None

    @property
    def area(self) -> float:
        """Share of the picture looked at closely, 0..1."""
        return self.region.area / self.picture.area if self.region else 1.0


# ── the paper's: R = r_TCE + r_acc + r_format, r_TCE = r_region + 0.5 r_box (weights: in the recipe) ──────────


def region_verification(evidence: Evidence) -> float:
    """r_region = 1[match(R(crop, q), answer)], R frozen, the crop alone (section 3, eq. 1)."""
    return float(evidence.verified)


def box_adjustment(evidence: Evidence, gamma: float = GAMMA) -> float:
    """r_box = 1[area(crop) / area(picture) <= gamma] (eq. 2).

    >>> whole, half = Box(0, 0, 100, 100), Box(0, 0, 100, 50)
    >>> seen = partial(Evidence, Size(100, 100), right=True, verified=True, well_formed=True, truth=None,
    ...                vision_tokens=8, allowed_tokens=8)
    >>> box_adjustment(seen(region=half)), box_adjustment(seen(region=whole)), box_adjustment(seen(region=None))
    (1.0, 0.0, 0.0)
    """
    return float(evidence.area <= gamma)


def accuracy(evidence: Evidence) -> float:
    """r_acc = 1[match(answer, truth)]."""
    return float(evidence.right)


def well_formed(evidence: Evidence) -> float:
    """r_format: the tags of both turns are there; its scale is not published, 0/1 is our choice."""
    return float(evidence.well_formed)


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
    """`smooth_box` for right answers only, so that no crop is shrunk past usefulness (FoveateR)."""
    return smooth_box(evidence, sharpness) if evidence.right else 0.0


def coverage(evidence: Evidence) -> float | None:
    """|region ∩ true| / |true|; an unreadable region covers nothing. None where no true region is known."""
    if evidence.truth is None:
        return None
    return evidence.region.coverage_of(evidence.truth) if evidence.region else 0.0


def oracle(evidence: Evidence, budget: int = 0, needed: float = 2.0) -> float | None:
    """What a verifier without faults would say: 1 if the region holds more than 99 % of the truth, and shows it large enough.

    budget: vision tokens of the verifier, spread over the region; the truth must get `needed` of them to be read. 0: so
    many that any region will do. So R costs nothing and has no errors, and whether growing pays is a matter of `budget`
    alone (tools/oracle_ablation.py).

    >>> truth, region = Box(0, 0, 10, 10), Box(0, 0, 50, 50)
    >>> seen = partial(Evidence, Size(100, 100), right=True, verified=True, well_formed=True, truth=truth,
    ...                vision_tokens=8, allowed_tokens=8)
    >>> oracle(seen(region=region)), oracle(seen(region=region), 100), oracle(seen(region=region), 49)
    (1.0, 1.0, 0.0)
    """
    if evidence.truth is None:
        return None
    region = evidence.region
    if region is None or region.coverage_of(evidence.truth) <= 0.99:
        return 0.0
    return float(not budget or budget * evidence.truth.area / region.area >= needed)


def iou(evidence: Evidence) -> float | None:
    """Intersection over union with the true region. None where none is known."""
    if evidence.truth is None:
        return None
    return evidence.region.iou(evidence.truth) if evidence.region else 0.0


def tokens_saved(evidence: Evidence) -> float:
    """1 - vision tokens spent / allowed: a charge for each vision token."""
    return 1 - evidence.vision_tokens / evidence.allowed_tokens


# ── for flows that look as often as needed ─────────────────────────────────────────────────────


def looks_saved(evidence: Evidence) -> float:
    """1 - looks taken / allowed: a charge for each look, whatever it shows."""
    return 1 - evidence.looks / evidence.allowed_looks


def early(evidence: Evidence) -> float:
    """1 for a right answer at the first look."""
    return float(evidence.right and evidence.early)


def abstention(evidence: Evidence) -> float:
    """1 for "cannot tell": with a weight below that of `accuracy`, better than a wrong answer and worse than a right one."""
    return float(evidence.abstains and not evidence.right)


# ── graded verification ────────────────────────────────────────────────────────────────────────


def likelihood(evidence: Evidence, log: bool = False, least: float = 1e-4) -> float | None:
    """How probable the truth is to R from the crop and the question alone (CropVLM): r_region without its threshold.

    The geometric mean over the truth's tokens; log: its logarithm, of no less than `least`. 0 without a region, for then
    there is no crop. None where the verifier was not asked.

    >>> seen = partial(Evidence, Size(9, 9), right=True, verified=True, well_formed=True, truth=None, vision_tokens=8,
    ...                allowed_tokens=8, likelihood=0.5)
    >>> likelihood(seen(region=Box(0, 0, 3, 3))), round(likelihood(seen(region=Box(0, 0, 3, 3)), log=True), 3)
    (0.5, -0.693)
    """
    if evidence.likelihood is None:
        return None
    return math.log(max(evidence.likelihood, least)) if log else evidence.likelihood


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
        "oracle": oracle,
        "tokens": tokens_saved,
        "looks": looks_saved,
        "early": early,
        "abstain": abstention,
        "likelihood": likelihood,
    }
)


@dataclass(frozen=True)
class Reward:
    """One line of a recipe: which reward, its weight in the sum, and its constants.

    name: a key of REWARDS, or `module:function` of your own, a function of Evidence. turn: the reply that it is assigned to,
    1 (where to look) or 2 (the answer); None for both. Where any reward names one, each reply has its own advantage
    (advantages.py).
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}  # read from a recipe

    name: str
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    turn: int | None = None

    def __post_init__(self) -> None:
        if self.turn not in (None, 1, 2):
            raise UsageError(
                f"the reward {self.name} is assigned to turn 1 (where to look) or 2 (the answer), not {self.turn!r}"
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
