"""Pictures in, views out. A Picture is upright 8-bit RGB; a View is what a model is shown of it.

A picture is decoded once and kept as it was stored: whatever its mode and however the camera was
held, it is turned, scaled and made RGB strip by strip, while a part of it is cut for a view. Coarse
and close views of one picture share the same pixels, so an 8K picture (130 MB in Pillow) is never
held twice. A large PNG or TIFF is not even held once where pyvips is installed
(`pip install 'ergo-vlm[vips]'`): its strips are read from the file, with the same result to the bit.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import io
import logging
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias
from urllib.parse import unquote

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from ergo.errors import PictureError
from ergo.geometry import Box, Size, TokenBudget

log = logging.getLogger(__name__)

MAX_PIXELS = 400_000_000
"""Pixels of the largest picture that is decoded: a limit against decompression bombs (1.6 GB of RGB
in Pillow). Judged by the header, before any pixel is decoded."""

MAX_STORED = 50_000_000_000
"""Pixels of the largest picture that stays on disk and is read part by part, which no size of it makes expensive to hold."""

_TILE_WIDTH = 322  # the TIFF tag of files that are stored as tiles

MAX_SIDE = 1_000_000
"""Pixels of the longest side: a sliver longer than this costs more to show than its area suggests."""

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")
"""What is tried on a file, by content and never by name. Not everything Pillow reads: kinds without
a signature take any text for a picture, and PostScript would run Ghostscript on a stranger's file."""

STRIP_PIXELS = 1 << 20
"""About how many pixels are cut, turned and converted at once."""

PAYS_FROM = 20_000_000
"""Pixels from which a PNG or TIFF is read part by part with pyvips, where it is installed: at 48 megapixels two looks
cost as much time and a quarter of the memory, at 12 little is won (docs/scale.md). JPEG is not: it
decodes fast, and a second pass for the close look costs more than keeping it."""


# ── a picture ──────────────────────────────────────────────────────────────────────────────────


class PixelReader(Protocol):
    """Where the pixels of a picture come from: a decoded image, or a file read part by part."""

    @property
    def size(self) -> Size:
        """Of the upright picture."""
        ...

    def strips(self, box: Box) -> Iterator[Image.Image]:
        """The rows of `box` (upright SOURCE pixels) as RGB images of its width, from top to bottom."""
        ...


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture.

    stored: a Pillow image, taken as upright, in any mode `load_image` takes; or a reader.
    name: for messages and reports.
    """

    stored: Image.Image | PixelReader
    name: str = "picture"

    def __post_init__(self) -> None:
        self._reader  # noqa: B018  a mode that cannot be shown is told here, not at the first look

    @cached_property
    def _reader(self) -> PixelReader:
        return DecodedPixels.of(self.stored, self.name) if isinstance(self.stored, Image.Image) else self.stored

    @property
    def size(self) -> Size:
        return self._reader.size

    @property
    def pixels(self) -> Image.Image:
        """All of it. Free for an RGB image in memory; otherwise a full copy, made at each call."""
        if isinstance(self.stored, Image.Image) and _is_plain(self.stored):
            return self.stored
        return self.part(Box.whole(self.size), self.size)

    def part(self, box: Box, size: Size) -> Image.Image:
        """The pixels of `box` shown at `size`: Pillow's `crop(box).resize(size, BICUBIC)` to the bit.

        Pillow narrows first and shortens then. So do we, narrowing strip by strip: neither the box nor
        the turned or converted picture ever exists at full size. What is widened, and so smaller than
        what is shown, is left to Pillow: it shortens such a part first.
        """
        if box.clamped(self.size) != box:
            raise ValueError(f"{box} is not inside {self.name}, {self.size}")
        narrow = Image.new("RGB", (min(size.width, box.size.width), box.size.height))
        top = 0
        for strip in self._reader.strips(box):
            narrow.paste(strip.resize((narrow.width, strip.height), Image.Resampling.BICUBIC), (0, top))
            top += strip.height
        if narrow.size == (size.width, size.height):
            return narrow
        return narrow.resize((size.width, size.height), Image.Resampling.BICUBIC)


PictureSource: TypeAlias = str | Path | bytes | Picture
"""What `load_image` takes: a path, a data URI, the bytes of a file, or a picture already loaded."""


# ── what a model is shown ──────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class View:
    """A part of a picture as a model is shown it.

    box: the part, SOURCE pixels. size: pixels shown, multiples of `patch`.

    A view keeps its own pixels (at most its budget) once they were asked for, and its picture for as
    long as it lives: whoever collects many views or Traces collects their pictures.
    """

    picture: Picture
    box: Box
    size: Size
    patch: int

    @classmethod
    def of(cls, picture: Picture, budget: TokenBudget, box: Box | None = None) -> View:
        """The view of `box` (default: everything) that fits the budget; what lies outside is cut off.

        A picture that stays on disk is read here, inside the flow: should the file be broken, that is
        a PictureError of this question, and not a surprise inside a backend.
        """
        whole = Box.whole(picture.size)
        inside = (box or whole).clamped(picture.size)
        if inside is None:
            raise PictureError(f"{box} lies outside {picture.name}, {picture.size}", "outside")
        view = cls(picture, inside, budget.fit(inside.size), budget.patch)
        if isinstance(picture.stored, PixelsOnDisk):
            view.pixels  # noqa: B018
        return view

    @property
    def tokens(self) -> int:
        return (self.size.width // self.patch) * (self.size.height // self.patch)

    @cached_property
    def pixels(self) -> Image.Image:
        """RGB, of `size`."""
        return self.picture.part(self.box, self.size)

    @cached_property
    def _encoded(self) -> dict[str, bytes]:
        """What `encode` made of these pixels, by format."""
        return {}

    def to_source(self, x1: float, y1: float, x2: float, y2: float) -> Box | None:
        """A box in this view's pixels -> SOURCE pixels, cut to the view; None if nothing is left.

        Any four numbers will do: reversed corners or NaN leave nothing, 1e300 is the view's edge. A
        box too thin for the source's grid becomes the one pixel its middle lies in.
        """
        across = _to_grid(x1, x2, self.size.width, self.box.left, self.box.right)
        down = _to_grid(y1, y2, self.size.height, self.box.top, self.box.bottom)
        return Box(across[0], down[0], across[1], down[1]) if across and down else None

    def from_source(self, box: Box) -> tuple[float, float, float, float]:
        """SOURCE pixels -> this view's pixels; inverse of `to_source` up to half a source pixel."""
        scale_x = self.size.width / self.box.size.width
        scale_y = self.size.height / self.box.size.height
        return (
            (box.left - self.box.left) * scale_x,
            (box.top - self.box.top) * scale_y,
            (box.right - self.box.left) * scale_x,
            (box.bottom - self.box.top) * scale_y,
        )


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


def give_freed_memory_back() -> None:
    """Have the C library return large freed blocks to the system at once, for the life of this process.

    Pillow keeps a picture in blocks of 16 MB. Once one was freed, glibc takes such blocks from its heaps, one for
    each thread, and keeps what is freed: with 16 pictures of 48 megapixels in turn, 5.2 GB instead of 2.8. Smaller blocks
    stay with the C library: a small model's activations, asked for anew from the system at each layer, cost a
    third of its time. The command line calls this; a library should not. Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

Format = Literal["png", "webp", "bmp"]


def encode(view: View, format: Format = "png") -> bytes:
    """The view as a file, without loss and without metadata; made once per view and kept.

    1148x840 noisy pixels: png 123 ms and 2.7 MB, webp 37 ms and 2.9 MB, bmp 1 ms and 3.9 MB. bmp suits
    a server on this machine, png any server.
    """
    if format not in view._encoded:
        how: dict[str, Any] = {"png": {"compress_level": 1}, "webp": {"lossless": True, "method": 0}}.get(format, {})
        out = io.BytesIO()
        view.pixels.save(out, format, **how)
        view._encoded[format] = out.getvalue()
    return view._encoded[format]


def data_uri(view: View, format: Format = "png") -> str:
    """The view as a data URI, the same to the byte each time: a server's prefix cache depends on it."""
    return f"data:image/{format};base64,{base64.b64encode(encode(view, format)).decode('ascii')}"


# ── from a file to a picture ───────────────────────────────────────────────────────────────────


def load_image(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from a path, the bytes of a file, a base64 data URI, or itself.

    The first frame, turned upright by its EXIF orientation; transparent parts lie on white; 16-bit and
    float grey keeps its whole range. max_pixels: more than this is refused before it is decoded.

    PictureError.kind is one of: missing, a_folder, not_a_file, unreadable, a_url, bad_data_uri, empty,
    not_a_picture, too_large, truncated, broken, unsupported_mode.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes):
        return _load(io.BytesIO(source), "picture", max_pixels)
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _load(io.BytesIO(_data_of_uri(source)), "data URI", max_pixels)
    if isinstance(source, str) and _URL.match(source):
        raise PictureError(f"{source[:200]}: only files and data URIs are read; download it first", "a_url")
    path = Path(source)
    with _opened(path) as file:
        return _load(file, str(path), max_pixels, path)


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DATA_URI = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


def _data_of_uri(uri: str) -> bytes:
    head = _DATA_URI.match(uri[:1000])
    if head is None:
        raise PictureError("a data URI must begin with data:image/...;base64,", "bad_data_uri")
    body = uri[head.end() :]
    try:
        return base64.b64decode("".join((unquote(body) if "%" in body else body).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"the data URI is not base64: {error}", "bad_data_uri") from None


def _opened(path: Path) -> IO[bytes]:
    """The file, if it is one: a pipe or a device might never end."""
    try:
        if path.is_dir():
            raise PictureError(f"{path} is a folder, not a picture", "a_folder")
        if path.exists() and not path.is_file():
            raise PictureError(f"{path} is not a regular file", "not_a_file")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PictureError(f"there is no file {path}", "missing") from None
    except (OSError, ValueError) as error:  # no permission, a name too long or with a zero byte
        raise PictureError(f"{str(path)[:200]!r} cannot be opened: {error}", "unreadable") from None


def _load(file: IO[bytes], name: str, max_pixels: int, path: Path | None = None) -> Picture:
    """The one boundary to Pillow's decoders: whatever they raise on a broken file ends here, named."""
    try:
        image = _header(file, name)
        size = Size(*image.size)
        on_disk = bool(path and _pays_on_disk(image, file))
        limit = max(max_pixels, MAX_STORED) if on_disk else max_pixels
        if size.area > limit or max(size.width, size.height) > MAX_SIDE:
            raise PictureError(
                f"{name} is {size} pixels, more than the limit of {limit:,} (or a side of {MAX_SIDE:,})",
                "too_large",
            )
        if path and on_disk:
            return Picture(PixelsOnDisk(path, size, _TILE_WIDTH in getattr(image, "tag_v2", ())), name)
        _decode(image)
        return Picture(DecodedPixels.of(image, name, _orientation(image)), name)
    except PictureError:
        raise
    except (MemoryError, Image.DecompressionBombError) as error:
        raise PictureError(f"{name} is too large to be decoded: {error}", "too_large") from error
    except Exception as error:  # decoders raise a dozen types, and more with each format
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower()
        raise PictureError(
            f"{name} is cut off: {error}" if cut else f"{name} is broken: {error}", "truncated" if cut else "broken"
        ) from error


def _header(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """The image, not yet decoded.

    Pillow's own `open` would warn and raise by a limit that is one number for the whole process, and
    neither that number nor the warning filters can be changed for one thread. So the formats are
    tried here as `open` tries them, and our limit is the only one.
    """
    start = file.read(16)
    if not start:
        raise PictureError(f"{name} is empty", "empty")
    Image.init()
    recognised = ""
    for kind in KINDS:
        factory, accepts = Image.OPEN.get(kind, (None, None))  # AVIF and others are missing in some builds
        if factory is None or (accepts and accepts(start) is not True):
            continue
        recognised = recognised or kind
        file.seek(0)
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            return factory(file, "")
    if recognised:
        raise PictureError(f"{name} begins like a {recognised} file and does not go on like one", "broken")
    raise PictureError(f"{name} is not a picture of a kind read here: {', '.join(KINDS)}", "not_a_picture")


def _decode(image: ImageFile.ImageFile) -> None:
    """`load`, but for TIFF with its pixels allocated before: there Pillow would ask its own limit again."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im
    image.load()


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or where it makes no sense."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception as error:  # a picture with broken EXIF is still a picture
        log.info("EXIF of a picture is broken: %r", error)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


# ── pixels in memory ───────────────────────────────────────────────────────────────────────────

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the stored pixels upright."""


@dataclass(frozen=True, eq=False)
class DecodedPixels:
    """A decoded image as it was stored.

    orientation: EXIF, 1..8; of a turned TIFF 1, for Pillow turns those itself while it decodes (the one
    case in which a picture is held twice for a moment). white: the stored value that is shown as 255, for grey deeper than 8 bits.
    """

    image: Image.Image
    orientation: int = 1
    white: float = 255.0

    @classmethod
    def of(cls, image: Image.Image, name: str, orientation: int = 1) -> DecodedPixels:
        """Checked by showing one pixel: a mode that cannot be made RGB is told now."""
        pixels = cls(image, orientation, _white(image, name))
        try:
            next(pixels.strips(Box(0, 0, 1, 1)))
        except ValueError as error:
            raise PictureError(f"{name} has pixels of mode {image.mode}: {error}", "unsupported_mode") from error
        return pixels

    @property
    def size(self) -> Size:
        width, height = self.image.size
        return Size(height, width) if self.orientation >= 5 else Size(width, height)

    def strips(self, box: Box) -> Iterator[Image.Image]:
        for strip in _cut(box):
            stored = self.image.crop(self._stored(strip).corners)
            upright = stored.transpose(_TURN[self.orientation]) if self.orientation in _TURN else stored
            yield _rgb(upright, self.white)

    def _stored(self, box: Box) -> Box:
        """Where `box` of the upright picture lies among the stored pixels."""
        left, top, right, bottom = box.corners
        width, height = self.image.size
        if self.orientation >= 5:
            left, top, right, bottom = top, left, bottom, right
        if self.orientation in (2, 3, 7, 8):
            left, right = width - right, width - left
        if self.orientation in (3, 4, 6, 7):
            top, bottom = height - bottom, height - top
        return Box(left, top, right, bottom)


def _cut(box: Box) -> Iterator[Box]:
    """`box` in strips of about STRIP_PIXELS, from top to bottom."""
    rows = max(1, STRIP_PIXELS // box.size.width)
    for top in range(box.top, box.bottom, rows):
        yield Box(box.left, top, box.right, min(top + rows, box.bottom))


def _is_plain(image: Image.Image) -> bool:
    return image.mode == "RGB" and not image.has_transparency_data


def _rgb(image: Image.Image, white: float) -> Image.Image:
    """8-bit RGB: transparent parts on white, as vLLM shows them; deep grey scaled, where Pillow's
    `convert` would cut it off at 255."""
    if _is_plain(image):
        return image
    if _is_deep(image):
        levels = np.rint(np.asarray(image, dtype=np.float64) * (255.0 / white))
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paint = image.convert("RGBA")
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(paint, mask=paint.getchannel("A"))
    return paper


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _white(image: Image.Image, name: str) -> float:
    """The stored value shown as 255. 32-bit and float files do not say: it is told by their range."""
    if image.mode.startswith("I;16"):
        return 65535.0
    if not _is_deep(image):
        return 255.0
    strips = (np.asarray(image.crop(strip.corners)) for strip in _cut(Box.whole(Size(*image.size))))
    lows, highs = zip(*((strip.min(), strip.max()) for strip in strips), strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))  # NaN, if any, comes through
    whites = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    for white in whites:
        if low >= 0 and high <= white:
            return white
    raise PictureError(
        f"{name} holds values from {low:g} to {high:g}; shown are 0..{whites[0]:g} and 0..{whites[1]:g}",
        "unsupported_mode",
    )


# ── pixels on disk ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False)
class PixelsOnDisk:
    """A file of which only the rows asked for are read, by pyvips. 8-bit RGB or grey, stored upright.

    Each call opens the file anew, so threads do not meet. PNG and TIFF are exact, and scaling is ours:
    views equal those of a full decode by Pillow.
    """

    path: Path
    size: Size
    tiled: bool

    def strips(self, box: Box) -> Iterator[Image.Image]:
        import pyvips

        access = "random" if self.tiled else "sequential"  # tiles are read where they lie, rows from the top

        try:
            # from a Source, for in a plain file name pyvips takes [..] for options
            stored = pyvips.Image.new_from_source(
                pyvips.Source.new_from_file(str(self.path)), "", access=access, fail_on="error"
            )
            region = pyvips.Region.new(stored)
            mode = "RGB" if stored.bands == 3 else "L"
            for strip in _cut(box):
                data = region.fetch(strip.left, strip.top, strip.size.width, strip.size.height)
                yield Image.frombytes(mode, (strip.size.width, strip.size.height), data).convert("RGB")
        except (pyvips.Error, ValueError) as error:
            reason = " ".join(str(error).split())
            raise PictureError(f"{self.path} broke off while it was read: {reason}", "truncated") from error


def _pays_on_disk(image: ImageFile.ImageFile, file: IO[bytes]) -> bool:
    """Whether pyvips is there and reads this very file as Pillow would, at less cost."""
    if image.width * image.height < PAYS_FROM or image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    if image.format == "PNG":
        simple = not image.info.get("interlace") and not _png_may_turn(file)
    else:
        simple = image.format == "TIFF" and _orientation(image) == 1
    return simple and _pyvips_agrees(file, image)


def _pyvips_agrees(file: IO[bytes], image: ImageFile.ImageFile) -> bool:
    try:
        import pyvips
    except (ImportError, OSError):  # the extra, or its library, is not installed
        return False
    try:
        stored = pyvips.Image.new_from_source(pyvips.Source.new_from_file(file.name), "", access="sequential")
    except pyvips.Error:
        return False
    bands = {"RGB": 3, "L": 1}[image.mode]
    return bool(stored.format == "uchar" and stored.bands == bands and (stored.width, stored.height) == image.size)


def _png_may_turn(file: IO[bytes]) -> bool:
    """Whether a PNG has chunks that could hold an orientation or a transparent colour.

    They may come after the pixels, where Pillow finds them and pyvips does not.
    """
    at = file.tell()
    try:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind in (b"eXIf", b"iTXt", b"zTXt", b"tRNS"):
                return True
            if kind == b"tEXt" and file.read(min(length, 11)) == b"Raw profile":
                return True
            file.seek(length + 4 - (min(length, 11) if kind == b"tEXt" else 0), io.SEEK_CUR)
        return False
    finally:
        file.seek(at)
