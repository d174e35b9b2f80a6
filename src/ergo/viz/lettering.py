"""Text in any script, as far as this system has fonts for it: measured and drawn piece by piece, a font a piece.

Latin letters are in the font that Pillow brings; for the rest the usual fonts of Linux, macOS and Windows are looked
for by name. Right-to-left scripts, and those whose letters change shape beside each other, need Pillow's Raqm layout.
What cannot be drawn is named in one line for a whole picture (`report_missing`), with the way out: a page (.html), which
a browser draws with fonts of its own.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont, features

from ergo.viz.palette import Rgb

log = logging.getLogger(__name__)

FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial Unicode.ttf",
    "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "wqy-microhei.ttc",
    "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "msyh.ttc", "malgun.ttf", "YuGothM.ttc", "PingFang.ttc",
    "Hiragino Sans GB.ttc", "AppleSDGothicNeo.ttc",
    "NotoSansArabic-Regular.ttf", "GeezaPro.ttc", "NotoSansHebrew-Regular.ttf", "SFHebrew.ttf",
    "NotoSansDevanagari-Regular.ttf", "Nirmala.ttf", "Nirmala.ttc", "Kohinoor.ttc", "NotoSansThai-Regular.ttf",
    "LeelawUI.ttf", "Thonburi.ttc", "segoeui.ttf", "seguisym.ttf",
    "NotoColorEmoji.ttf", "seguiemj.ttf", "Apple Color Emoji.ttc",
)  # fmt: skip
"""File names as their makers ship them; of two that have a letter the first is taken."""

_BITMAP_SIZES = (109, 160)
"""Pixels of the one size that Noto's and Apple's emoji come in."""

_NO_CHARACTER = "\U0010ffff"


class Face:
    """A font at a size; emoji, which come in one size only, are drawn in that and scaled."""

    def __init__(self, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, size: int, drawn_size: int) -> None:
        self.font, self.size, self.scale = font, size, size / drawn_size
        self._missing = self._shape(_NO_CHARACTER)
        self._known: dict[str, bool] = {}

    def has(self, letter: str) -> bool:
        """Pillow does not say which letters a font has: one without shows the box that it shows for none."""
        if letter not in self._known:
            self._known[letter] = self._shape(letter) != self._missing
        return self._known[letter]

    def length(self, text: str) -> float:
        return self.font.getlength(text) * self.scale

    def drawn(self, text: str) -> Image.Image:
        """Emoji, of the height of the text beside them."""
        width, height = max(1, round(self.font.getlength(text))), round(self.size / self.scale * 1.2)
        tile = Image.new("RGBA", (width, height))
        ImageDraw.Draw(tile).text((0, 0), text, font=self.font, embedded_color=True)
        return tile.resize((max(1, round(width * self.scale)), round(height * self.scale)), Image.Resampling.BICUBIC)

    def _shape(self, letter: str) -> tuple[object, bytes]:
        mask = self.font.getmask(letter)
        return mask.size, bytes(mask)


@cache
def _faces(size: int) -> tuple[Face, ...]:
    """The fonts of this system at `size`, Pillow's own first."""
    faces = [Face(ImageFont.load_default(size), size, size)]
    for name in FONTS:
        for drawn_size in (size, *_BITMAP_SIZES):
            try:
                faces.append(Face(ImageFont.truetype(name, drawn_size), size, drawn_size))
            except OSError:  # there is no such file, or not in this size
                continue
            break
    return tuple(faces)


@lru_cache(maxsize=20_000)
def _face_of(letter: str, size: int) -> Face | None:
    return next((face for face in _faces(size) if face.has(letter)), None)


@cache
def can_shape() -> bool:
    """Whether Pillow lays text out by its rules: Raqm, with the system's FriBiDi."""
    return bool(features.check_feature("raqm") and features.check_feature("fribidi"))


def is_rtl(text: str) -> bool:
    """Whether a line is read from right to left: by its first letter that has a direction."""
    directions = (unicodedata.bidirectional(letter) for letter in text)
    return next((way in ("R", "AL") for way in directions if way in ("L", "R", "AL")), False)


def _is_shaped(letter: str) -> bool:
    """Whether it is read from right to left, or changes the letters beside it."""
    return unicodedata.bidirectional(letter) in ("R", "AL") or unicodedata.category(letter) == "Mn"


def runs_of(text: str, size: int, shaping: bool | None = None) -> Iterator[tuple[str, Face]]:
    """`text` in pieces of one font. Spaces and marks go with what they follow. shaping: None for `can_shape`."""
    shaping = can_shape() if shaping is None else shaping
    run, face, rtl = "", _faces(size)[0], is_rtl(text)
    for letter in text:
        follows = _follows(letter)
        latin = letter.isascii() and letter.isalpha() and not rtl  # back to the first font; else a line is of one font
        found = face if run and (follows or (face.has(letter) and not latin)) else _face_of(letter, size)
        if found is None or (_is_shaped(letter) and not shaping):
            found = face
        if found is not face and run:
            yield run, face
            run = ""
        run, face = run + letter, found
    if run:
        yield run, face


def _follows(letter: str) -> bool:
    """Whether it is drawn in the font of what stands before it."""
    return letter.isspace() or unicodedata.category(letter) in ("Mn", "Mc", "Cf")


def report_missing(text: str, shaping: bool | None = None) -> None:
    """One line for all letters of `text` that cannot be drawn here; none if there are none."""
    shaping = can_shape() if shaping is None else shaping
    letters = {letter for letter in text if unicodedata.category(letter) != "Cc" and not _follows(letter)}
    missing = sorted(one for one in letters if _face_of(one, 20) is None or (_is_shaped(one) and not shaping))
    if missing:
        shown = "".join(missing[:20]) + ("…" if len(missing) > 20 else "")
        log.warning(
            "there is no font here to draw %s with: save the look as .html, which a browser draws with its own", shown
        )


def length(text: str, size: int) -> float:
    """Pixels across."""
    return sum(face.length(run) for run, face in runs_of(text, size))


def draw(paper: Image.Image, place: tuple[int, int], text: str, size: int, colour: Rgb) -> None:
    """One line: to the left of `paper`, or to its right if it is read from there."""
    left, top = place
    rtl = is_rtl(text)
    runs = list(runs_of(text, size))
    x = float(left) if not rtl else paper.width - sum(face.length(run) for run, face in runs)
    pen = ImageDraw.Draw(paper)
    usual = _faces(size)[0].font
    base = top + (usual.getmetrics()[0] if isinstance(usual, ImageFont.FreeTypeFont) else size)
    for run, face in reversed(runs) if rtl else runs:
        if face.scale != 1:
            tile = face.drawn(run)
            paper.paste(tile, (round(x), top), tile)
        else:
            shaped = getattr(face.font, "layout_engine", None) == ImageFont.Layout.RAQM
            direction = ("rtl" if rtl else "ltr") if shaped else None
            pen.text((x, base), run, fill=colour, font=face.font, anchor="ls", direction=direction)
        x += face.length(run)
