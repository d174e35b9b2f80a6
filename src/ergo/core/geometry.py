"""Sizes, boxes and token budgets. Boxes are in SOURCE pixels, always; other frames exist in `view` and `families` only."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height in pixels, both at least 1."""

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a size needs both sides >= 1, not {self.width}x{self.height}")

    @property
    def area(self) -> int:
        return self.width * self.height

    def within(self, aspect: int) -> Size:
        """The longer side cut to at most `aspect` times the shorter."""
        return Size(min(self.width, self.height * aspect), min(self.height, self.width * aspect))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Box:
    """Half-open rectangle [left, right) x [top, bottom) in SOURCE pixels, never empty."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if self.right <= self.left or self.bottom <= self.top:
            raise ValueError(f"a box needs left < right and top < bottom, not {self}")

    @classmethod
    def whole(cls, size: Size) -> Box:
        return cls(0, 0, size.width, size.height)

    @property
    def size(self) -> Size:
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def area(self) -> int:
        return (self.right - self.left) * (self.bottom - self.top)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom), the order Pillow's `crop` takes."""
        return self.left, self.top, self.right, self.bottom

    def intersection(self, other: Box) -> int:
        """Shared area in pixels."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def coverage_of(self, target: Box) -> float:
        """Share of `target` that lies inside this box, 0..1."""
        return self.intersection(target) / target.area

    def iou(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        shared = self.intersection(other)
        return shared / (self.area + other.area - shared)

    def union(self, other: Box) -> Box:
        """The smallest box that holds both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        return Box(left, top, max(self.right, other.right), max(self.bottom, other.bottom))

    def clamped(self, size: Size) -> Box | None:
        """The part inside a picture of `size`; None if there is none."""
        left, top = max(self.left, 0), max(self.top, 0)
        right, bottom = min(self.right, size.width), min(self.bottom, size.height)
        return Box(left, top, right, bottom) if left < right and top < bottom else None

    def within_aspect(self, room: Box) -> Box:
        """Within MAX_ASPECT: widened about its middle, as far as `room` goes, and else cut to its middle."""
        width, height = self.size.width, self.size.height
        least = math.ceil(max(width, height) / MAX_ASPECT)
        grown = Size(min(max(width, least), room.size.width), min(max(height, least), room.size.height))
        wide = grown.within(MAX_ASPECT)
        left = min(max(self.left + (width - wide.width) // 2, room.left), room.right - wide.width)
        top = min(max(self.top + (height - wide.height) // 2, room.top), room.bottom - wide.height)
        return Box(left, top, left + wide.width, top + wide.height)

    def __str__(self) -> str:
        return f"[{self.left}, {self.top}, {self.right}, {self.bottom}]"


MAX_ASPECT = 200  # longer side to shorter: beyond it Qwen's own processor raises
FULL = 16384  # vision tokens of a direct look at full size: Qwen2.5-VL's own limit, and the paper's baseline


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """How many vision tokens one view may cost.

    max_tokens: never exceeded by `fit` (the reference rounds, and overshoots 1,280 for 47 % of sizes).
    min_tokens: small pictures are enlarged to about this many: the family's own minimum.
    patch: side in pixels of what one token sees. limit: what a direct look at full size may cost.
    """

    max_tokens: int
    min_tokens: int = 4
    patch: int = 28
    limit: int = FULL

    def __post_init__(self) -> None:
        if not 1 <= self.min_tokens <= self.max_tokens:
            raise ValueError(f"a budget needs 1 <= min_tokens <= max_tokens, not {self.min_tokens}, {self.max_tokens}")
        if self.patch < 1:
            raise ValueError(f"a patch has a side of at least 1 pixel, not {self.patch}")

    def fit(self, size: Size) -> Size:
        """The size at which a picture of `size` is shown: multiples of `patch`, within the budget.

        It is what Qwen2-VL's own processor resizes to, wherever that stays within its own limits; of slivers,
        where it overshoots or raises (beyond MAX_ASPECT), the long side is squeezed.

        >>> TokenBudget(1280).fit(Size(3840, 2160))
        Size(width=1316, height=728)
        >>> TokenBudget(640).fit(Size(1, 100_000)).area <= 640 * 28 * 28
        True
        """
        patch = self.patch
        columns, rows = round(size.width / patch), round(size.height / patch)
        if columns * rows > self.max_tokens:
            shrink = math.sqrt(size.area / (self.max_tokens * patch * patch))
            columns, rows = (max(1, math.floor(side / shrink / patch)) for side in (size.width, size.height))
        elif columns * rows < self.min_tokens:
            grow = math.sqrt(self.min_tokens * patch * patch / size.area)
            columns, rows = (math.ceil(side * grow / patch) for side in (size.width, size.height))
        if columns >= rows:  # rounding may go past the cap: then the long side yields
            return Size(min(columns, self.max_tokens // rows, MAX_ASPECT * rows) * patch, rows * patch)
        return Size(columns * patch, min(rows, self.max_tokens // columns, MAX_ASPECT * columns) * patch)

    def cost(self, size: Size) -> int:
        """Vision tokens of a view shown at `size` (a result of `fit`; families with other rules override both)."""
        return (size.width // self.patch) * (size.height // self.patch)

    def direct_cost(self, size: Size) -> int:
        """Vision tokens of one look at a picture of `size` in full."""
        return self.cost(replace(self, max_tokens=self.limit).fit(size))
