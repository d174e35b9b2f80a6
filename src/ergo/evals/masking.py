"""The masking test (paper Figure 5): the target is covered by a black box before the first look.

A policy that looks where the target *must be* still names that place; one that needs to see the
target does not. The score of one sample is |region named ∩ true region| / |true region|; a reply
without a readable region scores 0, although its second look would have shown everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from ergo.core.geometry import Box, Size
from ergo.images.picture import Picture
from ergo.images.strips import STRIP_PIXELS


@dataclass(frozen=True, eq=False)
class MaskedPixels:
    """A picture with `box` (SOURCE pixels) painted black, strip by strip: it is never copied whole."""

    picture: Picture
    box: Box

    @property
    def size(self) -> Size:
        return self.picture.size

    def finished(self, part: Image.Image) -> Image.Image:
        return part  # `picture.part` gave sRGB

    def strips(self, box: Box) -> Iterator[Image.Image]:
        rows = max(1, STRIP_PIXELS // box.size.width)
        for top in range(box.top, box.bottom, rows):
            strip = Box(box.left, top, box.right, min(top + rows, box.bottom))
            pixels = self.picture.part(strip, strip.size)
            left, high, right, low = self.box.corners
            black = Box(left - strip.left, high - strip.top, right - strip.left, low - strip.top).clamped(strip.size)
            if black:
                pixels.paste((0, 0, 0), black.corners)
            yield pixels


def masked(picture: Picture, box: Box) -> Picture:
    """The picture with `box` covered."""
    return Picture(MaskedPixels(picture, box), f"{picture.name}, masked")
