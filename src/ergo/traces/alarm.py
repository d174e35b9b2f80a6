"""Says once, early in a run, that regions are being read in the wrong frame: one is a slip, most are a setting."""

from __future__ import annotations

import logging

from ergo.core.runner import Trace

log = logging.getLogger(__name__)

AFTER = 20
OUT_OF_FRAME = frozenset({"outside", "other_frame", "repaired_frame"})
"""In the right frame nearly none is read so; of thousandths read as pixels, every other one."""


class FrameAlarm:
    """Counts how regions were read. It speaks after the first twenty, if most lay outside or had to be cut.

    >>> alarm = FrameAlarm()
    >>> [str(alarm.due(reading))[:26] for reading in ["exact"] + ["outside"] * 20][-2:]
    ['19 of the first 20 regions', 'None']
    """

    def __init__(self) -> None:
        self.regions = self.out_of_frame = 0

    def heard(self, trace: Trace) -> None:
        """Log the warning once it is due."""
        if trace.answer and (warning := self.due(trace.answer.region_reading)):
            log.warning(warning)

    def due(self, region_reading: str | None) -> str | None:
        """The warning that is due after this reading. None: no region was asked for."""
        if region_reading is None or self.regions >= AFTER:
            return None
        self.regions += 1
        self.out_of_frame += region_reading in OUT_OF_FRAME
        if self.regions < AFTER or 2 * self.out_of_frame <= AFTER:
            return None
        return (
            f"{self.out_of_frame} of the first {AFTER} regions lie outside the picture or had to be cut: the model seems to "
            "count its coordinates in another frame than its family's; `ergo probe` says in which, --family sets it"
        )
