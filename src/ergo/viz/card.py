"""What was looked at, for a person: one picture (`picture_of`) or one HTML page (`page_of`) per Trace.

Both tell the same Story: the question, the first look with the region drawn on it, the close look
beside it, the reasoning, the answer, and what the looking cost against the direct look at full size.
The views are shown as the model saw them, not as the picture could be shown: a blurred sign is the point.
"""

from __future__ import annotations

import html
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from ergo.core.flows import Question
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.families import QWEN2_5_VL
from ergo.images.encode import data_uri
from ergo.images.picture import Picture

FULL_SIZE_TOKENS = 16_384
"""Most vision tokens of one view in Qwen's own settings: what "full size" means for a large picture."""


def picture_of(trace: Trace, picture: Picture, question: Question) -> Image.Image:
    """The story as one RGB image, SHEET_WIDTH pixels wide and as high as its text needs."""
    return _sheet(Story.of(trace, picture, question))


def page_of(trace: Trace, picture: Picture, question: Question) -> str:
    """The story as one HTML page that needs nothing else: pictures are data URIs, every text is escaped."""
    return _page(Story.of(trace, picture, question))


# ── the story ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Look:
    """One view and what to say of it. marked: the region drawn on it, SOURCE pixels."""

    view: View
    title: str
    caption: str
    marked: Box | None = None


@dataclass(frozen=True)
class Story:
    """What both renderers tell.

    outcome: the answer, or what went wrong if `failed`. spent, direct: vision tokens. said: each reply
    as it came.
    """

    question: str
    choices: tuple[str, ...]
    looks: tuple[Look, ...]
    reasoning: tuple[str, ...]
    outcome: str
    remark: str
    failed: bool
    spent: int
    direct: int
    seconds: float
    source: str
    said: tuple[str, ...]

    @classmethod
    def of(cls, trace: Trace, picture: Picture, question: Question) -> Story:
        looks = _looks(trace, picture)
        full = TokenBudget(FULL_SIZE_TOKENS, patch=looks[0].view.patch)
        thoughts = (QWEN2_5_VL.read_thought(turn.text) for turn in trace.turns)  # every dialect writes them so
        answer = trace.answer
        return cls(
            question=question.text,
            choices=tuple(f"({chr(65 + number)}) {choice}" for number, choice in enumerate(question.choices)),
            looks=looks,
            reasoning=tuple(thought for thought in thoughts if thought),
            outcome=_outcome(answer.text, question) if answer else str(trace.error or "no answer"),
            remark=_remark(trace),
            failed=answer is None,
            spent=trace.vision_tokens,
            direct=full.cost(full.fit(picture.size)),
            seconds=trace.seconds,
            source=f"{picture.name}, {picture.size} pixels",
            said=tuple(turn.text for turn in trace.turns),
        )

    @property
    def cost(self) -> str:
        share = f"{self.spent / self.direct:.0%} of {self.direct:,} at full size"
        return f"{self.spent:,} vision tokens, {share}; {self.seconds:.1f} s"


def _looks(trace: Trace, picture: Picture) -> tuple[Look, ...]:
    """The views in the order they were shown; the picture itself where the model never saw it."""
    views = [view for turn in trace.turns for view in turn.views]
    if not views:
        return (Look(View.of(picture, TokenBudget(1280)), "The picture", "was not looked at"),)
    answer = trace.answer
    region = answer.region if answer else None
    first = Look(views[0], *_words(views[0], "First look", "everything"), region if len(views) > 1 else None)
    again = "everything, as the region was" if region else "everything again, for want of a region"
    return first, *(Look(view, *_words(view, "Second look", again)) for view in views[1:])


def _words(view: View, title: str, whole: str) -> tuple[str, str]:
    """Title and caption of a look; the ones given are for a look at the whole picture."""
    title, what = (title, whole) if view.box == Box.whole(view.picture.size) else ("Close look", f"region {view.box}")
    return title, f"{what}, shown at {view.size}, {view.tokens:,} tokens"


def _outcome(text: str, question: Question) -> str:
    """The answer; a bare letter together with the option it stands for."""
    letter = text.strip("(). ")
    number = ord(letter) - ord("A") if len(letter) == 1 else -1
    meant = f" ({question.choices[number]})" if 0 <= number < len(question.choices) else ""
    return f"Answer: {text or 'nothing'}{meant}"


def _remark(trace: Trace) -> str:
    """How region and answer were read, where that was not plain."""
    if trace.answer is None:
        return "failed after the first look" if trace.turns else "failed before the first look"
    remarks = []
    if trace.answer.region_reading not in (None, "exact"):
        remarks.append(f"region: {trace.answer.region_reading}")
    if trace.answer.reading != "exact":
        remarks.append(f"answer: {trace.answer.reading}")
    return "; ".join(remarks).replace("_", " ")


# ── as a picture ───────────────────────────────────────────────────────────────────────────────

Colour = tuple[int, int, int]

SHEET_WIDTH = 1600
MARGIN = 56
GAP = 48
LOOK_HEIGHT = 640
MOST_LINES = 40
MOST_LETTERS = 10_000

PAPER: Colour = (251, 250, 247)
INK: Colour = (28, 28, 32)
QUIET: Colour = (112, 112, 120)
FAINT: Colour = (224, 222, 216)
ACCENT: Colour = (222, 82, 20)
FAILURE: Colour = (180, 24, 36)


def _sheet(story: Story) -> Image.Image:
    blocks = [
        _text(story.question, 36, INK),
        _text("  ·  ".join(story.choices), 22, QUIET),
        _side_by_side(story.looks),
        *(_text(thought, 21, INK) for thought in story.reasoning),
        _text(story.outcome, 34, FAILURE if story.failed else ACCENT),
        _text(story.remark, 20, QUIET),
        _bars(story),
        _text(story.source, 18, QUIET),
    ]
    return _stacked([block for block in blocks if block.height > 1])


def _stacked(blocks: Sequence[Image.Image]) -> Image.Image:
    space = 26
    height = 2 * MARGIN + sum(block.height for block in blocks) + space * (len(blocks) - 1)
    sheet = Image.new("RGB", (SHEET_WIDTH, height), PAPER)
    top = MARGIN
    for block in blocks:
        sheet.paste(block, (MARGIN, top))
        top += block.height + space
    return sheet


def _inner_width() -> int:
    return SHEET_WIDTH - 2 * MARGIN


def _text(text: str, size: int, colour: Colour, width: int | None = None) -> Image.Image:
    """A wrapped paragraph; a block of one pixel's height if there is nothing to say."""
    width = width or _inner_width()
    font = ImageFont.load_default(size)
    lines = _wrapped(text, font, width)
    leading = round(size * 1.4)
    block = Image.new("RGB", (width, max(1, leading * len(lines))), PAPER)
    draw = ImageDraw.Draw(block)
    for number, line in enumerate(lines):
        draw.text((0, number * leading), line, fill=colour, font=font)
    return block


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels; words too long for a line are broken; long texts end in an ellipsis."""
    lines: list[str] = []
    for paragraph in text[:MOST_LETTERS].splitlines():
        line = ""
        for word in _words_that_fit(paragraph, font, width):
            longer = f"{line} {word}" if line else word
            if font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
            if len(lines) >= MOST_LINES:
                return [*lines[:MOST_LINES], "…"]
        if line:
            lines.append(line)
    return lines if len(lines) <= MOST_LINES else [*lines[:MOST_LINES], "…"]


def _words_that_fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> Iterable[str]:
    printable = "".join(char if char.isprintable() else " " for char in text)
    for word in printable.split():
        while font.getlength(word[:width]) > width:  # no letter is narrower than a pixel
            ends = range(1, width)
            fitting = bisect_right(ends, width, key=lambda end: math.ceil(font.getlength(word[:end])))
            end = max(1, fitting)
            yield word[:end]
            word = word[end:]
        yield word


def _side_by_side(looks: Sequence[Look]) -> Image.Image:
    """Every look in a column of its own, its words above it, and lines from the region to its close look."""
    columns = max(2, len(looks))
    column = (_inner_width() - GAP * (columns - 1)) // columns
    if len(looks) == 1:
        column = _inner_width()
    words = [_words_above(look, column) for look in looks]
    shown = [_shown(look, Size(column, LOOK_HEIGHT)) for look in looks]
    head = max(block.height for block in words) + 10
    block = Image.new("RGB", (_inner_width(), head + max(image.height for image in shown)), PAPER)
    for number in range(len(looks)):
        left = number * (column + GAP)
        block.paste(words[number], (left, head - 10 - words[number].height))
        block.paste(shown[number], (left, head))
    if len(looks) > 1 and looks[0].marked:
        _, top, right, bottom = _marked_on(looks[0], Size(*shown[0].size))
        pen, beside = ImageDraw.Draw(block), column + GAP
        pen.line([(right, head + top), (beside, head)], fill=ACCENT, width=2)
        pen.line([(right, head + bottom), (beside, head + shown[1].height - 1)], fill=ACCENT, width=2)
    return block


def _words_above(look: Look, width: int) -> Image.Image:
    title, caption = _text(look.title, 24, INK, width), _text(look.caption, 19, QUIET, width)
    block = Image.new("RGB", (width, title.height + caption.height), PAPER)
    block.paste(title, (0, 0))
    block.paste(caption, (0, title.height))
    return block


def _shown(look: Look, room: Size) -> Image.Image:
    """The view as large as `room` allows, with the region marked."""
    view = look.view
    scale = min(room.width / view.size.width, room.height / view.size.height)
    size = Size(max(1, round(view.size.width * scale)), max(1, round(view.size.height * scale)))
    image = view.pixels.resize((size.width, size.height), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    if look.marked:
        box = _marked_on(look, size)
        pen.rectangle(_grown(box, 2), outline=PAPER, width=8)  # seen on any ground
        pen.rectangle(box, outline=ACCENT, width=4)
    elif view.box != Box.whole(view.picture.size):
        pen.rectangle((0, 0, size.width - 1, size.height - 1), outline=ACCENT, width=4)
    return image


def _marked_on(look: Look, size: Size) -> tuple[int, int, int, int]:
    """Where the marked region lies on the view drawn at `size`; never too small to be seen."""
    assert look.marked is not None
    view = look.view
    x1, y1, x2, y2 = view.from_source(look.marked)
    across, down = size.width / view.size.width, size.height / view.size.height
    left, right = _visible(x1 * across, x2 * across, size.width)
    top, bottom = _visible(y1 * down, y2 * down, size.height)
    return left, top, right, bottom


def _visible(low: float, high: float, end: int, least: int = 10) -> tuple[int, int]:
    """low..high in whole pixels of 0..end, widened to `least` pixels where there is room."""
    spare = max(0.0, least - (high - low)) / 2
    return max(0, round(low - spare)), min(end - 1, max(round(high + spare), round(low - spare) + 1))


def _grown(box: tuple[int, int, int, int], by: int) -> tuple[int, int, int, int]:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def _bars(story: Story) -> Image.Image:
    """Tokens spent, on the length of what the direct look at full size would have cost."""
    words = _text(story.cost, 22, INK)
    block = Image.new("RGB", (_inner_width(), words.height + 26), PAPER)
    block.paste(words, (0, 0))
    pen = ImageDraw.Draw(block)
    most = max(story.spent, story.direct)
    for tokens, colour in ((story.direct, FAINT), (story.spent, ACCENT)):
        if tokens:
            length = max(12, round((_inner_width() - 1) * tokens / most))
            pen.rounded_rectangle((0, words.height + 6, length, words.height + 22), radius=6, fill=colour)
    return block


# ── as a page ──────────────────────────────────────────────────────────────────────────────────

_STYLE = """
body { margin: 0 auto; max-width: 1400px; padding: 2.5rem; background: #fbfaf7; color: #1c1c20;
  font: 17px/1.55 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem }
.quiet { color: #707078 } .choices span { margin-right: 1.4em }
.looks { display: flex; flex-wrap: wrap; gap: 2rem; margin: 1.8rem 0 }
figure { margin: 0; flex: 1 1 420px } figcaption { margin-bottom: .5rem }
.view { position: relative; display: inline-block; line-height: 0 }
.view img { width: 100%; min-width: 280px; max-height: 75vh; object-fit: fill } .close img { outline: 4px solid #de5214 }
.region { position: absolute; box-sizing: border-box; border: 4px solid #de5214; box-shadow: 0 0 0 2px #fbfaf7;
  min-width: 12px; min-height: 12px }
.reason { white-space: pre-line; border-left: 3px solid #e0ded8; padding-left: 1rem; max-width: 60rem }
.outcome { font-size: 1.6rem; font-weight: 600; color: #de5214; margin: 1.4rem 0 0 } .failed { color: #b41824 }
.bar { height: 14px; border-radius: 7px; background: #e0ded8; margin: .5rem 0 1.5rem; overflow: hidden }
.bar div { height: 100%; background: #de5214 } pre { white-space: pre-wrap; background: #f1efe9; padding: 1rem }
"""


def _page(story: Story) -> str:
    say = html.escape
    choices = "".join(f"<span>{say(choice)}</span>" for choice in story.choices)
    reasons = "".join(f'<p class="reason">{say(thought)}</p>' for thought in story.reasoning)
    replies = "".join(f"<pre>{say(text)}</pre>" for text in story.said)
    share = 100 * story.spent / max(story.spent, story.direct)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{say(story.question)}</title>
<style>{_STYLE}</style>
<h1>{say(story.question)}</h1>
<p class="quiet choices">{choices}</p>
<div class="looks">{"".join(_figure(look) for look in story.looks)}</div>
{reasons}
<p class="outcome{" failed" if story.failed else ""}">{say(story.outcome)}</p>
<p class="quiet">{say(story.remark)}</p>
<p>{say(story.cost)}</p>
<div class="bar"><div style="width: {share:.2f}%"></div></div>
<details><summary>The replies as they came</summary>{replies}</details>
<p class="quiet">{say(story.source)}</p>
</html>
"""


def _figure(look: Look) -> str:
    view = look.view
    close = view.box != Box.whole(view.picture.size)
    return f"""
<figure>
<figcaption><b>{html.escape(look.title)}</b><br><span class="quiet">{html.escape(look.caption)}</span></figcaption>
<div class="view{" close" if close else ""}"><img src="{data_uri(view)}" alt="{html.escape(look.title)}">{_overlay(look)}</div>
</figure>"""


def _overlay(look: Look) -> str:
    """The region as a frame over the view, in percent of its sides."""
    if look.marked is None:
        return ""
    x1, y1, x2, y2 = look.view.from_source(look.marked)
    across, down = 100 / look.view.size.width, 100 / look.view.size.height
    place = {"left": x1 * across, "top": y1 * down, "width": (x2 - x1) * across, "height": (y2 - y1) * down}
    style = "; ".join(f"{name}: {percent:.3f}%" for name, percent in place.items())
    return f'<div class="region" style="{style}"></div>'
