"""What the released code shows a model, faults included (nota-github/ERGO src/ergo/utils.py and eval.py @ c6d6742).

Only `--released-pixels` uses it, to check a published figure: sizes past the budget for about half of all pictures, the
first <zoom> read or none, corners cut to whole pixels, LANCZOS for the crop, the whole picture at full size where no
region is read. Everywhere else the budget is never exceeded, and a region is read as `families` reads it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.flows import Answer, Flow, LookConfig, Question
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.messages import Request
from ergo.core.view import SourcePicture, View


class Released(TokenBudget):
    """Sides are rounded to patches where Qwen's own processor floors them.

    >>> budget = Released(640, 4, 28)
    >>> budget.cost(budget.fit(Size(3840, 2160)))
    646
    """

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        patch = self.patch
        columns, rows = (max(1, round(side / patch)) for side in (size.width, size.height))
        if columns * rows > self.max_tokens:
            shrink = math.sqrt(size.height * size.width / (self.max_tokens * patch * patch))
            columns, rows = (max(1, round(side / shrink / patch)) for side in (size.width, size.height))
        elif columns * rows < self.min_tokens:
            grow = math.sqrt(self.min_tokens * patch * patch / (size.height * size.width))
            columns, rows = (math.ceil(side * grow / patch) for side in (size.width, size.height))
        return Size(columns * patch, rows * patch)


class Unscaled(TokenBudget):
    """Pictures are sent as they are; a server's own processor then makes `cost` of them."""

    __slots__ = ()

    def fit(self, size: Size) -> Size:
        return size

    def cost(self, size: Size) -> int:
        return super().cost(super().fit(size))


@dataclass(frozen=True, eq=False)
class Scaled:
    """A picture whose parts Pillow cuts first and scales then, by `filter`."""

    picture: SourcePicture
    filter: Image.Resampling

    @property
    def size(self) -> Size:
        return self.picture.size

    @property
    def name(self) -> str:
        return self.picture.name

    @property
    def lazy(self) -> bool:
        return self.picture.lazy

    def read_size(self, box: Box, size: Size) -> Size:
        return self.picture.read_size(box, box.size)

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        return self.picture.part(box, box.size).resize((size.width, size.height), self.filter)


_ZOOM = re.compile(r"<zoom>(.*?)</zoom>", re.DOTALL)
_BOX = re.compile(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]")


def released_region(reply: str, coarse: View) -> Box | None:
    """The one list of four whole numbers in the first <zoom>, SOURCE pixels, cut and not rounded; None for no or several.

    A region that is empty or upside down ends the sample, as it does there.
    """
    zoom = _ZOOM.search(reply)
    boxes = _BOX.findall(zoom[1]) if zoom else []
    if len(boxes) != 1:
        return None
    x1, y1, x2, y2 = (int(number) for number in boxes[0])
    source, shown = coarse.picture.size, coarse.size
    across, down = source.width / shown.width, source.height / shown.height
    left, right = (int(min(max(x * across, 0), source.width)) for x in (x1, x2))
    top, bottom = (int(min(max(y * down, 0), source.height)) for y in (y1, y2))
    if left >= right or top >= bottom:
        raise PictureError(f"[{x1}, {y1}, {x2}, {y2}] holds nothing of {coarse.picture.name}, {source}", "empty_region")
    return Box(left, top, right, bottom)


def released_coarse_to_fine(picture: SourcePicture, question: Question, config: LookConfig) -> Flow:
    """`core.flows.coarse_to_fine` with the released code's own region and crop."""
    family, budget = config.family, config.close
    coarse = View.of(Scaled(picture, Image.Resampling.BICUBIC), config.coarse)
    chat = family.ask_region(coarse, question.text)
    first = yield Request(chat, config.sampling, expect="region")

    region = released_region(first.text, coarse)
    if region:
        close = View.of(Scaled(picture, Image.Resampling.LANCZOS), budget, region)
    else:
        close = View.of(picture, Unscaled(budget.limit, budget.min_tokens, budget.patch, budget.limit))
    chat += family.ask_answer(first.text, close, question.text, question.choices)
    second = yield Request(chat, config.sampling, previous=first)

    answer = Answer("", "empty", (region,) if region else (), "exact" if region else "none_given")
    read = family.read(second.text, close)
    return replace(answer, text=read.answer, reading=read.answer_reading, thought=read.thought)
