"""A part of a picture scaled while it arrives strip by strip: the same bits as if Pillow had held all of it.

Pillow scales along one side, rounds to whole levels, and scales along the other. Narrowing goes strip by strip by Pillow
itself. Where Pillow shortens first, each row that is shown gathers its source rows as they come: the same weights in
22 bits, and sums that are exact, so that their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, __version__

from ergo.core.geometry import Size

Edges = tuple[float, float, float, float]
"""Left, top, right and bottom of what is shown of a part, in its pixels."""
Resizer = Callable[[Image.Image, tuple[int, int]], Image.Image]

_WEIGHT_BITS = 22
_ROWS_AT_ONCE = 8  # rows shown that are gathered with one matrix product: fewer and more were slower
_SINCE_13 = int(__version__.split(".")[0]) >= 13


def shortens_first(part: Size, shown: Size) -> bool:
    """Whether Pillow, scaling `part` to `shown`, works on its height before its width (src/libImaging/Resample.c).

    >>> shortens_first(Size(100, 500), Size(50, 250)), shortens_first(Size(100, 100), Size(50, 50))
    (True, False)
    """
    if _SINCE_13:
        return part.height > shown.height and part.height - shown.height > 2 * (part.width - shown.width)
    return part.height > 100 * part.width and part.height > shown.height


def scaled(
    strips: Iterator[Image.Image],
    part: Size,
    shown: Size,
    edges: Edges | None = None,
    shorten_first: bool | None = None,
    fast: Resizer | None = None,
) -> Image.Image:
    """What lies within `edges` of a part, all of it by default, at the size `shown`.

    strips: the rows of the part as RGB images, from top to bottom. shorten_first: None for what Pillow does.
    fast: what scales whole strips instead of Pillow (shrink.py).
    """
    left, top, right, bottom = edges or (0, 0, part.width, part.height)

    def resized(image: Image.Image, width: int, height: int, edges: Edges) -> Image.Image:
        return fast(image, (width, height)) if fast else image.resize((width, height), Image.Resampling.BICUBIC, edges)

    if shortens_first(part, shown) if shorten_first is None else shorten_first:
        shortened = _shortened(strips, part, shown.height, top, bottom)
        return resized(shortened, shown.width, shown.height, (left, 0, right, shown.height))
    narrow, at = Image.new("RGB", (shown.width, part.height), None), 0  # None: not filled
    for strip in strips:
        narrow.paste(resized(strip, shown.width, strip.height, (left, 0, right, strip.height)), (0, at))
        at += strip.height
    return resized(narrow, shown.width, shown.height, (0, top, shown.width, bottom))


@dataclass(frozen=True, eq=False)
class _Weights:
    """Which source rows each row shown is made of: those from first to last, weighted by values[row, :last - first]."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def bicubic(cls, rows: int, shown: int, top: float, bottom: float) -> _Weights:
        """Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc`, operation for operation."""
        start = float(np.float32(top))
        scale = float(np.float32(bottom) - np.float32(top)) / shown
        stretch = max(scale, 1.0)
        centres = start + (np.arange(shown) + 0.5) * scale
        first = np.maximum((centres - 2.0 * stretch + 0.5).astype(np.int64), 0)
        last = np.minimum((centres + 2.0 * stretch + 0.5).astype(np.int64), rows)
        offsets = np.arange((last - first).max())
        x = np.abs((offsets + first[:, None] - centres[:, None] + 0.5) * (1.0 / stretch))
        near, far = (1.5 * x - 2.5) * x * x + 1, (((x - 5) * x + 8) * x - 4) * -0.5
        values = np.where(x < 1, near, np.where(x < 2, far, 0.0)) * (offsets < (last - first)[:, None])
        values /= np.cumsum(values, 1)[:, -1:]  # summed one after the other, as in C
        return cls(first, last, np.trunc(values * (1 << _WEIGHT_BITS) + np.copysign(0.5, values)))

    def matrix(self, shown: slice, start: int, end: int) -> NDArray[np.float64]:
        """The weights of the source rows from `start` to `end` for some rows shown."""
        offsets = np.arange(start, end) - self.first[shown, None]
        inside = (offsets >= 0) & (offsets < self.values.shape[1])
        return np.where(inside, np.take_along_axis(self.values[shown], np.where(inside, offsets, 0), 1), 0.0)


def _shortened(strips: Iterator[Image.Image], part: Size, rows: int, top: float, bottom: float) -> Image.Image:
    """The part at its full width, `rows` high. Holds one strip, and the rows that are begun."""
    weights = _Weights.bicubic(part.height, rows, top, bottom)
    found = np.empty((rows, part.width * 3), np.uint8)
    sums = np.empty((0, part.width * 3))  # of the rows begun, from `done` on
    done = at = 0
    for strip in strips:
        pixels = np.asarray(strip).reshape(strip.height, -1).astype(np.float64)
        end = at + strip.height
        begun, complete = int(np.searchsorted(weights.first, end)), int(np.searchsorted(weights.last, end, "right"))
        sums = np.concatenate([sums, np.zeros((begun - done - len(sums), part.width * 3))])
        for row in range(done, begun, _ROWS_AT_ONCE):
            some = slice(row, min(row + _ROWS_AT_ONCE, begun))
            first, last = max(int(weights.first[row]), at), min(int(weights.last[some.stop - 1]), end)
            if first < last:
                sums[some.start - done : some.stop - done] += (
                    weights.matrix(some, first, last) @ pixels[first - at : last - at]
                )
        levels = np.floor((sums[: complete - done] + (1 << _WEIGHT_BITS - 1)) / (1 << _WEIGHT_BITS))
        found[done:complete] = np.clip(levels, 0, 255, out=levels)
        sums, done, at = sums[complete - done :], complete, end
    return Image.fromarray(found.reshape(rows, part.width, 3))
