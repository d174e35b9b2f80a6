"""Pictures stored at several sizes: each part is read from the smallest level that has twice the pixels shown."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from ergo.core.geometry import Box, Size
from ergo.images.passes import scaled, shortens_first
from ergo.images.profile import in_srgb
from ergo.images.strips import strips_of
from ergo.images.turn import TURN, stored_box

MARGIN = 2.0
"""How many pixels of a level there must be, along each side, for one that is shown. Levels are averages of the pixels
below; scaled down by two once more, what is shown differs little from the same made of the full size."""


class Level(Protocol):
    """A picture at one of the sizes that its file holds."""

    @property
    def size(self) -> Size:
        """As stored, before it is turned upright."""
        ...

    def bands(self, box: Box) -> Iterator[Image.Image]:
        """The rows of `box` as RGB images of its width, from top to bottom."""
        ...


@dataclass(frozen=True, eq=False)
class Pyramid:
    """A picture read from the file part by part, from the level that suits.

    levels: largest first; one is enough. mode: Pillow's word for what is stored. orientation: EXIF, 1..8.
    """

    levels: tuple[Level, ...]
    mode: str = "RGB"
    profile: bytes = b""
    orientation: int = 1

    @property
    def size(self) -> Size:
        width, height = self.levels[0].size.width, self.levels[0].size.height
        return Size(height, width) if self.orientation >= 5 else Size(width, height)

    def level_for(self, box: Box, size: Size) -> Level:
        """The smallest level in which `box` (stored pixels) has MARGIN times `size`; the largest where none has."""
        whole = self.levels[0].size
        for level in reversed(self.levels[1:]):
            across = box.size.width * level.size.width / whole.width
            down = box.size.height * level.size.height / whole.height
            if across >= MARGIN * size.width and down >= MARGIN * size.height:
                return level
        return self.levels[0]

    def read_size(self, box: Box, size: Size) -> Size:
        """How large the whole picture is in the level from which this part is read."""
        level = self.level_for(*self._stored(box, size)).size
        return Size(level.height, level.width) if self.orientation >= 5 else level

    def part(self, box: Box, size: Size) -> Image.Image:
        """The pixels of `box` shown at `size`. Of the largest level: Pillow's `crop(box).resize(size, BICUBIC)` to the
        bit, though it is scaled as it is stored, and turned then."""
        inside, shown = self._stored(box, size)
        level, whole = self.level_for(inside, shown), self.levels[0].size
        x, y = level.size.width / whole.width, level.size.height / whole.height
        left, top, right, bottom = inside.left * x, inside.top * y, inside.right * x, inside.bottom * y
        outer = Box(math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)).clamped(level.size)
        assert outer is not None
        edges = (left - outer.left, top - outer.top,
                 min(right - outer.left, outer.size.width), min(bottom - outer.top, outer.size.height))  # fmt: skip
        sideways = self.orientation >= 5
        seen = Size(outer.size.height, outer.size.width) if sideways else outer.size
        part = scaled(level.bands(outer), outer.size, shown, edges, shortens_first(seen, size) != sideways)
        return self.finished(part.transpose(TURN[self.orientation]) if self.orientation in TURN else part)

    def strips(self, box: Box) -> Iterator[Image.Image]:
        for strip in strips_of(box):
            yield self.part(strip, strip.size)

    def finished(self, part: Image.Image) -> Image.Image:
        return in_srgb(part, self.profile, self.mode)

    def _stored(self, box: Box, size: Size) -> tuple[Box, Size]:
        shown = Size(size.height, size.width) if self.orientation >= 5 else size
        return stored_box(box, self.levels[0].size, self.orientation), shown
