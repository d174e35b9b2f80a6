"""Pictures in, views out. A Picture is upright 8-bit RGB; a View is what a model is shown of it.

The picture is decoded once and kept for the close look: coarse and close views of one picture share
the same pixels, so an 8K picture (100 MB) is never held twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image

from ergo.geometry import Box, Size, TokenBudget

PictureSource = "str | Path | bytes | Picture"


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture. name: for messages and reports."""

    pixels: Image.Image
    name: str = "picture"

    @property
    def size(self) -> Size:
        return Size(*self.pixels.size)


@dataclass(frozen=True, eq=False)
class View:
    """A part of a picture as a model is shown it.

    box: the part, SOURCE pixels. size: pixels shown, multiples of `patch`.
    """

    picture: Picture
    box: Box
    size: Size
    patch: int

    @classmethod
    def of(cls, picture: Picture, budget: TokenBudget, box: Box | None = None) -> View:
        """The view of `box` (default: everything) that fits the budget."""
        box = box or Box.whole(picture.size)
        return cls(picture, box, budget.fit(box.size), budget.patch)

    @property
    def tokens(self) -> int:
        return (self.size.width // self.patch) * (self.size.height // self.patch)

    @cached_property
    def pixels(self) -> Image.Image:
        part = self.picture.pixels
        if self.box != Box.whole(self.picture.size):
            part = part.crop(self.box.corners)
        return part.resize((self.size.width, self.size.height), Image.Resampling.BICUBIC)

    def to_source(self, x1: float, y1: float, x2: float, y2: float) -> Box | None:
        """A box in this view's pixels -> SOURCE pixels, cut to the view; None if nothing is left."""
        scale_x = self.box.size.width / self.size.width
        scale_y = self.box.size.height / self.size.height
        left, right = round(self.box.left + x1 * scale_x), round(self.box.left + x2 * scale_x)
        top, bottom = round(self.box.top + y1 * scale_y), round(self.box.top + y2 * scale_y)
        left, right = max(left, self.box.left), min(max(right, left + 1), self.box.right)
        top, bottom = max(top, self.box.top), min(max(bottom, top + 1), self.box.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None

    def from_source(self, box: Box) -> tuple[float, float, float, float]:
        """SOURCE pixels -> this view's pixels; inverse of `to_source` up to rounding."""
        scale_x = self.size.width / self.box.size.width
        scale_y = self.size.height / self.box.size.height
        return (
            (box.left - self.box.left) * scale_x,
            (box.top - self.box.top) * scale_y,
            (box.right - self.box.left) * scale_x,
            (box.bottom - self.box.top) * scale_y,
        )
