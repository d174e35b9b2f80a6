"""View: what a model is shown of a picture, and the only converter between a model's frame and SOURCE pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size, TokenBudget

if TYPE_CHECKING:
    from PIL import Image


class SourcePicture(Protocol):
    """An upright RGB picture of which any part can be shown (`ergo.images.Picture`).

    lazy: its pixels stay in a file. part: `box` at `size`. read_size: of the level of the file it is then read from.
    """

    @property
    def size(self) -> Size: ...
    @property
    def name(self) -> str: ...
    @property
    def lazy(self) -> bool: ...
    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image: ...
    def read_size(self, box: Box, size: Size) -> Size: ...


@dataclass(frozen=True, eq=False)
class View:
    """A part of a picture as a model is shown it.

    box: the part, SOURCE pixels. size: pixels shown, by the rule of `budget`. fast: a shrunk whole may be a level of 255 off.
    asked: the region that was asked for, where it was too thin to be shown and `box` is it widened or cut.
    encoded: its pixels as files, by format: filled by `ergo.images.encode`.
    It keeps its pixels once asked for, and its picture: whoever collects views or Traces collects pictures.
    """

    picture: SourcePicture
    box: Box
    size: Size
    budget: TokenBudget
    fast: bool = False
    asked: Box | None = None
    encoded: dict[str, bytes] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, picture: SourcePicture, budget: TokenBudget, box: Box | None = None, fast: bool = False) -> View:
        """The view of `box` (default: everything) that fits the budget; what lies outside is cut off."""
        inside = (box or Box.whole(picture.size)).clamped(picture.size)
        if inside is None:
            raise PictureError(f"{box} lies outside {picture.name}, {picture.size}", "outside")
        shown = inside if inside == (whole := Box.whole(picture.size)) else inside.within_aspect(whole)
        view = cls(picture, shown, budget.fit(shown.size), budget, fast, None if shown == inside else inside)
        if picture.lazy:  # a broken file is a PictureError of this question, not a surprise inside a backend
            view.pixels  # noqa: B018
        return view

    @property
    def tokens(self) -> int:
        return self.budget.cost(self.size)

    @property
    def patch(self) -> int:
        return self.budget.patch

    @property
    def pixels(self) -> Image.Image:
        """RGB, of `size`. (A `cached_property` has one lock for all views in Python 3.11: one decoded at a time.)"""
        made: Image.Image | None = self.__dict__.get("_made")
        if made is None:
            made = self.__dict__["_made"] = self.picture.part(self.box, self.size, self.fast)
        return made

    def to_source(self, x1: float, y1: float, x2: float, y2: float) -> Box | None:
        """A box in this view's pixels -> SOURCE pixels, cut to the view; None if nothing is left.

        Any four numbers will do: reversed corners or NaN leave nothing, 1e300 is the view's edge. A box too
        thin for the source's grid becomes the one pixel its middle lies in.
        """
        across = _to_grid(x1, x2, self.size.width, self.box.left, self.box.right)
        down = _to_grid(y1, y2, self.size.height, self.box.top, self.box.bottom)
        return Box(across[0], down[0], across[1], down[1]) if across and down else None

    def from_source(self, box: Box) -> tuple[float, float, float, float]:
        """SOURCE pixels -> this view's pixels; inverse of `to_source` up to half a source pixel."""
        scale_x, scale_y = self.size.width / self.box.size.width, self.size.height / self.box.size.height
        x1, x2 = ((side - self.box.left) * scale_x for side in (box.left, box.right))
        y1, y2 = ((side - self.box.top) * scale_y for side in (box.top, box.bottom))
        return x1, y1, x2, y2


def _to_grid(low: float, high: float, shown: int, start: int, end: int) -> tuple[int, int] | None:
    """One axis of `View.to_source`: low..high of `shown` pixels -> whole pixels of start..end."""
    low, high = max(low, 0.0), min(high, float(shown))
    if not low < high:  # NaN included
        return None
    scale = (end - start) / shown
    first, last = start + round(low * scale), start + round(high * scale)
    if first == last:
        first = min(start + int((low + high) / 2 * scale), end - 1)
        last = first + 1
    return first, last
