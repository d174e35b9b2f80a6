"""How families whose processors do not follow Qwen's rule size a picture (Qwen's is `TokenBudget` itself).

Each `fit` ends where the family's own processor leaves the picture as it is, or costs exactly `cost`:
tests/families/test_sizing.py compares both with the processors of transformers.
"""

from __future__ import annotations

import itertools
import math

from ergo.core.errors import UsageError
from ergo.core.geometry import MAX_ASPECT, Size, TokenBudget

MAX_SIDE_TOKENS = 256
TILE = 448
TILE_TOKENS = 256
MAX_TILES = 12
FILLED_TOKENS = (70, 140, 280, 560, 1120)


class Held(TokenBudget):
    """Qwen and GLM: never so few tokens, either, that the processor would enlarge what it is shown past the budget."""

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        shown = TokenBudget.fit(self, size)
        if self.cost(shown) >= self.min_tokens:
            return shown
        shape, grids = size.width / size.height, []
        for rows in range(1, self.max_tokens + 1):
            least, most = math.ceil(self.min_tokens / rows), self.max_tokens // rows
            if least <= most:
                columns = min(max(round(rows * shape), least), most)
                thin = max(columns, rows) > MAX_ASPECT * min(columns, rows)
                grids.append((thin, abs(math.log(columns / rows / shape)), columns, rows))
        *_, columns, rows = min(grids)
        return Size(columns * self.patch, rows * self.patch)


class SideLimited(TokenBudget):
    """Kimi: no side longer than 512 patches of 14 pixels."""

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        fitted, longest = TokenBudget.fit(self, size), MAX_SIDE_TOKENS * self.patch
        return Size(min(fitted.width, longest), min(fitted.height, longest))


class Filled(TokenBudget):
    """Gemma 4: every picture is scaled to fill one of five budgets, whichever the server is set to."""

    __slots__ = ()

    def __post_init__(self) -> None:
        if self.max_tokens < FILLED_TOKENS[0]:
            raise UsageError(f"this family shows every picture in one of {FILLED_TOKENS} vision tokens")
        object.__setattr__(self, "min_tokens", max(count for count in FILLED_TOKENS if count <= self.max_tokens))

    def fit(self, size: Size) -> Size:
        fitted = self._filled(size)
        while (again := self._filled(fitted)) != fitted:  # what is sent is filled once more by the server
            fitted = again
        return self._less_thin(fitted)

    def _less_thin(self, fitted: Size) -> Size:
        """A grid of more rows where there would be too few, for this one, too, is filled as it is."""
        if fitted == fitted.within(MAX_ASPECT):
            return fitted
        short = next(n for n in itertools.count(1) if self.min_tokens // n <= MAX_ASPECT * n)
        long = self.min_tokens // short
        columns, rows = (long, short) if fitted.width > fitted.height else (short, long)
        return Size(columns * self.patch, rows * self.patch)

    def _filled(self, size: Size) -> Size:
        tokens = self.min_tokens
        scale = math.sqrt(tokens * self.patch**2 / size.area)
        columns, rows = (math.floor(side * scale / self.patch) for side in (size.width, size.height))
        if rows == 0:
            columns, rows = min(size.width // size.height, tokens), 1
        elif columns == 0:
            columns, rows = 1, min(size.height // size.width, tokens)
        return Size(columns * self.patch, rows * self.patch)


class Tiled(TokenBudget):
    """InternVL: tiles of 448 pixels and 256 tokens in the grid nearest in shape, and an overview beside several."""

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        most = max(1, min(MAX_TILES, self.max_tokens // TILE_TOKENS - 1))
        columns, rows = _nearest_grid(size, most)
        return Size(columns * TILE, rows * TILE)

    def cost(self, size: Size) -> int:
        columns, rows = _nearest_grid(size, MAX_TILES)
        tiles = columns * rows
        return TILE_TOKENS * (tiles + 1 if tiles > 1 else 1)


def _nearest_grid(size: Size, most: int) -> tuple[int, int]:
    """(columns, rows) of at most `most` tiles; of equal shapes the larger, while it is not twice the picture."""
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if c * r <= most]
    best, best_difference = (1, 1), math.inf
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        difference = abs(size.width / size.height - columns / rows)
        equal = difference == best_difference and size.area > 0.5 * TILE * TILE * columns * rows
        if difference < best_difference or equal:
            best, best_difference = (columns, rows), difference
    return best


SLICE, SLICE_TOKEN, MAX_SLICES = 448, 56, 9


class Sliced(TokenBudget):
    """MiniCPM-V: an overview and up to nine slices, each of about 448 x 448 pixels and 64 tokens, of its own shape."""

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        for slices in range(MAX_SLICES, 0, -1):
            scale = min(1.0, math.sqrt(slices * SLICE * SLICE / size.area))
            shown = Size(max(1, math.floor(size.width * scale)), max(1, math.floor(size.height * scale)))
            shown = shown.within(MAX_ASPECT)
            if self.cost(shown) <= self.max_tokens:
                return shown
        while self.cost(shown) > self.max_tokens:  # a sliver: the long side yields
            long, short = max(shown.width, shown.height), min(shown.width, shown.height)
            shorter = max(short, math.floor(long * 0.9))
            shown = Size(shorter, short) if shown.width > shown.height else Size(short, shorter)
        return shown

    def cost(self, size: Size) -> int:
        columns, rows = _slice_grid(size)
        overview = _slice_tokens(size.width, size.height, columns * rows == 1)
        if columns * rows == 1:
            return overview
        width, height = _rounded(size.width, columns) / columns, _rounded(size.height, rows) / rows
        return overview + columns * rows * _slice_tokens(width, height, True)


def _slice_grid(size: Size) -> tuple[int, int]:
    """(columns, rows) of slices, nearest to the picture's shape; (1, 1) where it is not sliced."""
    wanted = min(math.ceil(size.area / (SLICE * SLICE)), MAX_SLICES)
    if wanted <= 1:
        return 1, 1
    shape, best, least = math.log(size.width / size.height), (1, 1), math.inf
    for count in (wanted - 1, wanted, wanted + 1):
        if count == 1 or count > MAX_SLICES:
            continue
        for rows in (rows for rows in range(1, count + 1) if count % rows == 0):
            columns = count // rows
            error = abs(shape - math.log(columns / rows))
            if error < least or (error == least and rows > best[1]):
                best, least = (columns, rows), error
    return best


def _slice_tokens(width: float, height: float, enlarge: bool) -> int:
    if width * height > SLICE * SLICE or enlarge:
        shape = width / height
        height = int(SLICE / math.sqrt(shape))
        width = int(height * shape)
    return (_rounded(width, SLICE_TOKEN) // SLICE_TOKEN) * (_rounded(height, SLICE_TOKEN) // SLICE_TOKEN)


def _rounded(length: float, divisor: int) -> int:
    return max(round(length / divisor) * divisor, divisor)
