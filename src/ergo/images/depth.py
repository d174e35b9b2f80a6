"""Stored values of more than 8 bits, of either sign, or floating: which of them are black and white.

The rule, by kind of value:
    unsigned integers   0 is black. White is what the file says is its largest value; where it does not say, in a TIFF
                        of 16 bits the smallest of 255, 1023, 4095, 16383, 65535 that no value exceeds (cameras and
                        microscopes store 10 and 12 bits so), elsewhere the largest that the type holds
    floats              0 is black and 1 white, or 255, where all values lie in there
    all else            signed, beyond 65535, floats of any range: black and white are the 0.1th and the 99.9th percentile
NaN and what the file declares as no data are left out of this, and shown white, as what is transparent is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[Any]

_STEPS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
_SAMPLED = 1 << 16  # values of each part from which percentiles are taken
_OUTSIDE = 0.1  # per cent


@dataclass(frozen=True)
class Stretch:
    """black, white: the stored values shown as 0 and 255. nodata: the value that stands for none."""

    black: float = 0.0
    white: float = 255.0
    nodata: float | None = None

    def shown(self, values: Values) -> NDArray[np.uint8]:
        """Stored values as 8 bits."""
        floats: Values = values.astype(np.float64 if values.dtype.itemsize > 2 else np.float32)
        missing = _missing(values, self.nodata)
        with np.errstate(invalid="ignore"):
            levels: Values = np.rint((floats - self.black) * (255.0 / max(self.white - self.black, 1e-30)))
        if missing is not None:
            levels[missing] = 255
        eight: NDArray[np.uint8] = np.clip(levels, 0, 255, out=levels).astype(np.uint8)
        return eight


def stretch_of(parts: Iterable[Values], nodata: float | None = None, largest: float | None = None) -> Stretch:
    """By the rule above. parts: all values, or a smaller level of them. largest: what the file says white is."""
    low, high, kind, samples = np.inf, -np.inf, "u", []
    for part in parts:
        missing = _missing(part, nodata)
        valid = part[~missing] if missing is not None else part.reshape(-1)
        kind = part.dtype.kind
        valid = valid[np.isfinite(valid)] if kind == "f" else valid
        if valid.size:
            low, high = min(low, float(valid.min())), max(high, float(valid.max()))
            samples.append(valid[:: -(-valid.size // _SAMPLED)])
    if not samples:
        return Stretch(nodata=nodata)
    if largest is not None and low >= 0 and high <= largest:
        return Stretch(0.0, largest, nodata)
    for white in (1.0, 255.0) if kind == "f" else _STEPS:
        if low >= 0 and high <= white:
            return Stretch(0.0, white, nodata)
    black, white = np.percentile(np.concatenate(samples), (_OUTSIDE, 100 - _OUTSIDE))
    if not white > black:
        black, white = low, high if high > low else low + 1
    return Stretch(float(black), float(white), nodata)


def _missing(values: Values, nodata: float | None) -> NDArray[np.bool_] | None:
    """Which values stand for none; None where none can."""
    absent = None if nodata is None or nodata != nodata else values == nodata
    if values.dtype.kind == "f":
        unknown = np.isnan(values)
        absent = unknown if absent is None else absent | unknown
    return absent
