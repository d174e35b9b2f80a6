"""How far a run is: what eval and batch report while they work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Counts of this session, for one part of a run.

    part: its name; "" where a run has only one. done: answered or failed. total: there are to do, None while
    unknown. right: of those done, where there is a truth to compare with. cost: at the price that was given.
    """

    part: str
    done: int
    failed: int
    seconds: float
    total: int | None = None
    right: int | None = None
    vision_tokens: int | None = None
    cost: float | None = None

    @property
    def rate(self) -> float:
        """Done per second."""
        return self.done / max(self.seconds, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds to go."""
        return (self.total - self.done) / self.rate if self.total is not None and self.done else None
