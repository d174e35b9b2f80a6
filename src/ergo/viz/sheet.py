"""The Story of a Trace as one RGB picture."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from PIL import Image, ImageDraw

from ergo.core.geometry import Box, Size
from ergo.core.view import View
from ergo.viz.lettering import draw, length, report_missing
from ergo.viz.palette import LIGHT, Rgb, rgb
from ergo.viz.story import Look, Story

SHEET_WIDTH = 1600
MARGIN = 56
INNER_WIDTH = SHEET_WIDTH - 2 * MARGIN
MAX_COLUMNS = 3
GAP = 48
LOOK_HEIGHT = 640
MAX_LINES = 40
MAX_CHARACTERS = 10_000

PAPER, INK, QUIET, FAINT, ACCENT, FAILURE = (
    rgb(colour) for colour in (LIGHT.paper, LIGHT.ink, LIGHT.quiet, LIGHT.line, LIGHT.accent, LIGHT.failure)
)


def sheet(story: Story) -> Image.Image:
    """SHEET_WIDTH pixels wide and as high as its text needs."""
    said = (story.question, *story.choices, *story.reasoning, story.outcome, story.remark, story.source)
    report_missing("".join((*said, *(look.title + look.caption for look in story.looks))))
    blocks = [
        _text(story.question, 36, INK),
        _text("  ·  ".join(story.choices), 22, QUIET),
        _grid(story.looks),
        *(_text(thought, 21, INK) for thought in story.reasoning),
        _text(story.outcome, 34, FAILURE if story.failed else ACCENT),
        _text(story.remark, 20, QUIET),
        _bars(story),
        _text(story.source, 18, QUIET),
    ]
    blocks = [block for block in blocks if block.height > 1]
    space = 26
    height = 2 * MARGIN + sum(block.height for block in blocks) + space * (len(blocks) - 1)
    paper = Image.new("RGB", (SHEET_WIDTH, height), PAPER)
    top = MARGIN
    for block in blocks:
        paper.paste(block, (MARGIN, top))
        top += block.height + space
    return paper


def _text(text: str, size: int, colour: Rgb, width: int | None = None) -> Image.Image:
    """A wrapped paragraph; a block of one pixel's height if there is nothing to say."""
    width = width or INNER_WIDTH
    lines = _wrapped(text, size, width)
    leading = round(size * 1.4)
    block = Image.new("RGB", (width, max(1, leading * len(lines))), PAPER)
    for number, line in enumerate(lines):
        draw(block, (0, number * leading), line, size, colour)
    return block


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """Lines no wider than `width` pixels; words too long for a line are broken; long texts end in an ellipsis."""
    lines: list[str] = []
    for paragraph in text[:MAX_CHARACTERS].splitlines():
        line = ""
        for word in _words_that_fit(paragraph, size, width):
            longer = f"{line} {word}" if line else word
            if length(longer, size) > width:
                lines.append(line)
                longer = word
            line = longer
            if len(lines) >= MAX_LINES:
                return [*lines[:MAX_LINES], "…"]
        if line:
            lines.append(line)
    return lines if len(lines) <= MAX_LINES else [*lines[:MAX_LINES], "…"]


def _words_that_fit(text: str, size: int, width: int) -> Iterable[str]:
    printable = "".join(char if char.isprintable() else " " for char in text)
    for word in printable.split():
        while length(word[:width], size) > width:  # no letter is narrower than a pixel
            ends = range(1, width)
            fitting = bisect_right(ends, width, key=lambda end: math.ceil(length(word[:end], size)))
            end = max(1, fitting)
            yield word[:end]
            word = word[end:]
        yield word


def _grid(looks: Sequence[Look]) -> Image.Image:
    """Up to MAX_COLUMNS looks a row, words above each, and lines from a region to its close look beside it."""
    columns = min(len(looks), MAX_COLUMNS)
    width = (INNER_WIDTH - GAP * (columns - 1)) // columns
    cells = [(_words_above(look, width), _drawn(look, Size(width, LOOK_HEIGHT))) for look in looks]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [(max(words.height for words, _ in row) + 10, max(shown.height for _, shown in row)) for row in rows]
    block = Image.new("RGB", (INNER_WIDTH, sum(map(sum, heights)) + GAP * (len(rows) - 1)), PAPER)
    top = 0
    for row, (head, body) in zip(rows, heights, strict=True):
        for number, (words, shown) in enumerate(row):
            left = number * (width + GAP)
            block.paste(words, (left, top + head - 10 - words.height))
            block.paste(shown, (left, top + head))
        top += head + body + GAP
    if len(looks) > 1 and looks[0].marked == (looks[1].view.box,):
        _, upper, right, lower = _place(looks[0].marked[0], looks[0].view, Size(*cells[0][1].size))
        pen, head, beside = ImageDraw.Draw(block), heights[0][0], width + GAP
        pen.line([(right, head + upper), (beside, head)], fill=ACCENT, width=2)
        pen.line([(right, head + lower), (beside, head + cells[1][1].height - 1)], fill=ACCENT, width=2)
    return block


def _words_above(look: Look, width: int) -> Image.Image:
    title, caption = _text(look.title, 24, INK, width), _text(look.caption, 19, QUIET, width)
    block = Image.new("RGB", (width, title.height + caption.height), PAPER)
    block.paste(title, (0, 0))
    block.paste(caption, (0, title.height))
    return block


def _drawn(look: Look, room: Size) -> Image.Image:
    """The view as large as `room` allows, with its regions marked."""
    view = look.view
    scale = min(room.width / view.size.width, room.height / view.size.height)
    size = Size(max(1, round(view.size.width * scale)), max(1, round(view.size.height * scale)))
    image = view.pixels.resize((size.width, size.height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for box in look.marked:
        left, top, right, bottom = _place(box, view, size)
        pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=PAPER, width=8)  # seen on any ground
        pen.rectangle((left, top, right, bottom), outline=ACCENT, width=4)
    if look.is_part and not look.marked:
        pen.rectangle((0, 0, size.width - 1, size.height - 1), outline=ACCENT, width=4)
    return image


def _place(box: Box, view: View, size: Size) -> tuple[int, int, int, int]:
    """Where a region lies on the view drawn at `size`; never too small to be seen."""
    x1, y1, x2, y2 = view.from_source(box)
    across, down = size.width / view.size.width, size.height / view.size.height
    left, right = _visible(x1 * across, x2 * across, size.width)
    top, bottom = _visible(y1 * down, y2 * down, size.height)
    return left, top, right, bottom


def _visible(low: float, high: float, end: int, least: int = 10) -> tuple[int, int]:
    """low..high in whole pixels of 0..end, widened to `least` pixels where there is room."""
    spare = max(0.0, least - (high - low)) / 2
    return max(0, round(low - spare)), min(end - 1, max(round(high + spare), round(low - spare) + 1))


def _bars(story: Story) -> Image.Image:
    """Tokens spent, on the length of what the direct look at full size would have cost."""
    words = _text(story.cost, 22, INK)
    block = Image.new("RGB", (INNER_WIDTH, words.height + 26), PAPER)
    block.paste(words, (0, 0))
    pen = ImageDraw.Draw(block)
    most = max(story.spent, story.direct)
    for tokens, colour in ((story.direct, FAINT), (story.spent, ACCENT)):
        if tokens:
            length = max(12, round((INNER_WIDTH - 1) * tokens / most))
            pen.rounded_rectangle((0, words.height + 6, length, words.height + 22), radius=6, fill=colour)
    return block
