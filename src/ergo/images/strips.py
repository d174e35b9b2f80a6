"""A box of a picture in strips, so that no more than one of them is converted at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from PIL import Image

from ergo.core.geometry import Box, Size

STRIP_PIXELS = 1 << 20
"""About how many pixels are cut, turned and converted at once."""


class PixelReader(Protocol):
    """Where the pixels of a picture come from: a decoded image, or a file read part by part."""

    @property
    def size(self) -> Size:
        """Of the upright picture."""
        ...

    def strips(self, box: Box) -> Iterator[Image.Image]:
        """The rows of `box` (upright SOURCE pixels) as RGB images of its width, from top to bottom."""
        ...

    def finished(self, part: Image.Image) -> Image.Image:
        """A part made of strips, at the size it is shown: now in sRGB, if the strips were not."""
        ...


def strips_of(box: Box) -> Iterator[Box]:
    """`box` in strips of about STRIP_PIXELS, from top to bottom."""
    rows = max(1, STRIP_PIXELS // box.size.width)
    for top in range(box.top, box.bottom, rows):
        yield Box(box.left, top, box.right, min(top + rows, box.bottom))
