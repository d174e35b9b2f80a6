"""TIFF through tifffile (the extra `tiff`): pyramids, tiles, and depths that Pillow does not know.

Which levels a file has (pages or SubIFDs; COG, BigTIFF, what slide scanners write) and how a tile is decoded is
tifffile's knowledge. Ours: which tiles a part touches, and what its values look like. The file is read in ranges, so
that one at an address costs the bytes of those tiles and of its headers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.colour import on_white
from ergo.images.depth import Stretch, Values, stretch_of
from ergo.images.formats import is_camera_raw
from ergo.images.libraries import LibraryFailed, library_errors
from ergo.images.profile import convert, srgb_transform
from ergo.images.pyramid import Pyramid
from ergo.images.ranges import RangeFile, Ranges, read_parts
from ergo.images.strips import strips_of

log = logging.getLogger(__name__)

AT_ONCE = 16 << 20
"""Encoded bytes of tiles that are read with one request."""
MAX_SEGMENT = 1 << 27
"""Bytes of the largest tile or strip, decoded: a picture stored in one strip cannot be read part by part."""


@dataclass(frozen=True)
class Meaning:
    """What stored values mean. space: of Pillow's words, L, RGB or CMYK. channels: how many of the stored are colour.
    alpha: the index of the stored one that says how opaque a pixel is; multiplied: its colours are less by as much.
    inverted: 0 is white."""

    space: str
    channels: int
    alpha: int | None = None
    multiplied: bool = False
    inverted: bool = False
    palette: Values | None = None
    transform: ImageCms.ImageCmsTransform | None = None


@dataclass(frozen=True, eq=False)
class TiffLevel:
    """One page of a TIFF, read tile by tile (a strip is a tile as wide as the picture).

    decode: of tifffile, encoded bytes and the tile's number -> its values. separate: each channel has tiles of its own.
    nodata: the value that stands for none. largest: what the file says is its largest.
    """

    ranges: Ranges
    size: Size
    tile: Size
    offsets: Values
    counts: Values
    decode: Callable[..., Any]
    tables: dict[str, bytes]
    dtype: np.dtype[Any]
    samples: int
    separate: bool
    meaning: Meaning
    nodata: float | None = None
    largest: float | None = None
    stretch: Stretch = field(default_factory=Stretch)

    def bands(self, box: Box) -> Iterator[Image.Image]:
        for values in self.values(box):
            whole = Size(values.shape[1], values.shape[0])
            for strip in strips_of(Box.whole(whole)):  # Pillow's copy of a pixel is larger than ours
                yield _shown(values[strip.top : strip.bottom], self.meaning, self.stretch)

    def values(self, box: Box) -> Iterator[Values]:
        """The stored values of `box` [rows, columns, channels], a row of tiles at a time."""
        across = range(box.left // self.tile.width, (box.right - 1) // self.tile.width + 1)
        down = range(box.top // self.tile.height, (box.bottom - 1) // self.tile.height + 1)
        for rows in self._fetched(across, down):
            for row, tiles in rows:
                top, bottom = max(box.top, row * self.tile.height), min(box.bottom, (row + 1) * self.tile.height)
                yield self._joined(Box(box.left, top, box.right, bottom), tiles)

    def _fetched(self, across: range, down: range) -> Iterator[list[tuple[int, dict[int, bytes | None]]]]:
        """Rows of tiles, encoded, as many at once as AT_ONCE allows."""
        wide, high = (-(-self.size.width // self.tile.width), -(-self.size.height // self.tile.height))
        planes = self.samples if self.separate else 1
        waiting: list[tuple[int, list[int]]] = []
        known = 0
        for row in down:
            tiles = [(plane * high + row) * wide + column for plane in range(planes) for column in across]
            cost = int(self.counts[tiles].sum())
            if waiting and known + cost > AT_ONCE:
                yield self._read(waiting)
                waiting, known = [], 0
            waiting.append((row, tiles))
            known += cost
        yield self._read(waiting)

    def _read(self, rows: list[tuple[int, list[int]]]) -> list[tuple[int, dict[int, bytes | None]]]:
        numbers = [number for _, tiles in rows for number in tiles if self.counts[number] > 0]
        spans = [(int(self.offsets[number]), int(self.offsets[number] + self.counts[number])) for number in numbers]
        parts = dict(zip(numbers, read_parts(self.ranges, spans), strict=True))
        for number, (start, end) in zip(numbers, spans, strict=True):
            if len(parts[number]) < end - start:
                raise PictureError(f"{self.ranges.name} is cut off: a tile of it is missing", "truncated")
        return [(row, {number: parts.get(number) for number in tiles}) for row, tiles in rows]

    def _joined(self, box: Box, tiles: dict[int, bytes | None]) -> Values:
        joined = np.zeros((box.size.height, box.size.width, self.samples), self.dtype)
        for number, encoded in tiles.items():
            try:
                with library_errors():
                    decoded, (plane, _, top, left, _), _ = self.decode(encoded, number, **self.tables)
            except LibraryFailed as error:
                raise PictureError(f"{self.ranges.name} is broken: {error}", "broken") from error
            if decoded is None:  # a tile that a sparse file leaves out
                continue
            tile = decoded[0]
            from_top, from_left = max(box.top - top, 0), max(box.left - left, 0)
            piece = tile[from_top : box.bottom - top, from_left : box.right - left]
            y, x = max(top - box.top, 0), max(left - box.left, 0)
            channels = slice(plane, plane + 1) if self.separate else slice(None)
            joined[y : y + piece.shape[0], x : x + piece.shape[1], channels] = piece
        return joined


def _shown(values: Values, meaning: Meaning, stretch: Stretch) -> Image.Image:
    """Stored values as 8-bit RGB, not yet by the file's profile, but where there is none without it."""
    if meaning.palette is not None:
        return Image.fromarray(meaning.palette[values[..., 0]])
    colours = values[..., : meaning.channels]
    if values.dtype == np.bool_:
        colours = colours.astype(np.uint8) * 255
    elif values.dtype != np.uint8 or stretch != Stretch():
        colours = stretch.shown(colours)
    if meaning.inverted:
        colours = 255 - colours
    colours = np.ascontiguousarray(colours)
    image = Image.fromarray(colours[..., 0] if meaning.channels == 1 else colours, meaning.space)
    if meaning.transform:
        image = convert(image, meaning.transform)
    elif image.mode != "RGB":  # of RGB `convert` makes a copy
        image = image.convert("RGB")
    if meaning.alpha is None:
        return image
    opaque = values[..., meaning.alpha]
    if opaque.dtype != np.uint8:
        top = 1.0 if opaque.dtype.kind == "f" else float(np.iinfo(opaque.dtype).max)
        opaque = Stretch(0.0, top).shown(opaque)
    return on_white(image, Image.fromarray(np.ascontiguousarray(opaque)), meaning.multiplied)


@dataclass(frozen=True, eq=False)
class TiffPicture:
    """The picture of a TIFF: its first page that is no thumbnail, at all the sizes that the file holds of it.

    pages: how many the file has besides the smaller sizes. plain: Pillow shows the same, and holds it cheaply.
    """

    levels: tuple[TiffLevel, ...]
    pages: int
    plain: bool
    orientation: int
    profile: bytes

    @property
    def size(self) -> Size:
        return self.levels[0].size

    @property
    def upright(self) -> Size:
        return Size(self.size.height, self.size.width) if self.orientation >= 5 else self.size

    @property
    def memory(self) -> int:
        """Bytes that showing a part takes at most: as Pillow decodes it (8 a pixel), or a row of tiles and the part narrowed."""
        base = self.levels[0]
        if self.plain and len(self.levels) == 1:
            return 8 * base.size.area
        row = base.size.width * min(base.tile.height, base.size.height) * base.samples * base.dtype.itemsize
        narrowed = 4 * 2048 * base.size.height
        return min(8 * base.size.area, 4 * row + narrowed) if base.dtype == np.uint8 else 16 * row + narrowed

    def pyramid(self) -> Pyramid:
        """Ready to be shown. Of deep pictures black and white are found in a smaller level, where there is one."""
        levels = self.levels
        if levels[0].dtype not in (np.uint8, np.bool_) or levels[0].largest is not None:
            smallest = next((level for level in reversed(levels) if level.size.area >= _ENOUGH), levels[0])
            channels = smallest.meaning.channels
            values = (part[..., :channels] for part in smallest.values(Box.whole(smallest.size)))
            stretch = stretch_of(values, smallest.nodata, smallest.largest)
            levels = tuple(replace(level, stretch=stretch) for level in levels)
        return Pyramid(levels, levels[0].meaning.space, self.profile, self.orientation)


_ENOUGH = 250_000  # pixels of a level that tells the range of values
_WITHOUT_YCBCR = frozenset({6, 7, 33007, 34712, 34892, 50001, 50002})  # codecs that return RGB of stored YCbCr
_PILLOW_READS = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})  # compressions
_ALPHA_MULTIPLIED, _ALPHA = 1, 2
_MAX_SAMPLE_VALUE, _NODATA, _ORIENTATION = 281, 42113, 274  # TIFF tags


def is_tiff(start: bytes) -> bool:
    """Whether a file that begins so is a TIFF or BigTIFF."""
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def open_tiff(ranges: Ranges) -> TiffPicture | None:
    """What tifffile finds in the file's headers; None where it is not installed, or leaves the file to Pillow."""
    try:
        import tifffile
    except ImportError:
        return None
    try:
        with library_errors(), RangeFile(ranges) as whole, tifffile.TiffFile(whole, name=ranges.name) as file:
            return _first_picture(file, ranges)  # its pages are parsed as they are asked for
    except LibraryFailed as error:  # Pillow tries next, and says what is wrong
        log.info("%s is left to Pillow: %s", ranges.name, error)
        return None


def _first_picture(file: Any, ranges: Ranges) -> TiffPicture | None:
    first = file.pages[0]
    if is_camera_raw(first.tags, bool(first.is_reduced)):
        return None
    full = [one for one in file.series if not (one.keyframe.is_reduced or one.keyframe.is_mask)]
    if not full:
        return None
    pages = [level.pages[0].aspage() for level in full[0].levels]
    profile = bytes(pages[0].iccprofile or b"")
    if problem := next((found for page in pages if (found := _not_read(page))), ""):
        log.info("%s is left to Pillow: %s", ranges.name, problem)
        return None
    levels: list[TiffLevel] = []
    for page in pages:
        level = _level(page, ranges, profile)
        if not levels or (_is_smaller(level, levels[-1]) and level.samples == levels[0].samples):
            levels.append(level)
    page, base = pages[0], levels[0]
    tag = page.tags.get(_ORIENTATION)
    plain = base.dtype == np.uint8 and base.largest is None and base.samples <= 4 and page.index == 0
    plain = plain and page.compression in _PILLOW_READS
    orientation = int(tag.value) if tag is not None and tag.value in range(1, 9) else 1
    return TiffPicture(tuple(levels), sum(len(one.pages) for one in full), plain, orientation, profile)


def _not_read(page: Any) -> str:
    """Why a page is not read here; empty where it is."""
    import tifffile

    if page.dtype is None or page.dtype.kind not in "uifb":
        return f"values of type {page.dtype}"
    if page.compression != 1 and page.compression not in tifffile.TIFF.DECOMPRESSORS:
        return f"compression {page.compression}"
    if page.photometric not in (0, 1, 2, 3, 5, 6):
        return f"colours of kind {page.photometric}"
    if page.photometric == 6 and page.compression not in _WITHOUT_YCBCR:
        return "YCbCr that its codec does not convert"
    if page.imagedepth != 1 or (page.is_tiled and page.tiledepth != 1):
        return "a volume"
    if page.photometric == 3 and (page.colormap is None or page.dtype.kind != "u"):
        return "a palette that is missing"
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    if min(rows, page.imagelength) * columns * page.samplesperpixel * page.dtype.itemsize > MAX_SEGMENT:
        return "stored in one piece"
    return ""


def _level(page: Any, ranges: Ranges, profile: bytes) -> TiffLevel:
    samples, bits = int(page.samplesperpixel), page.bitspersample
    bits = int(bits[0] if isinstance(bits, tuple) else bits)
    space, channels = {2: ("RGB", 3), 6: ("RGB", 3), 5: ("CMYK", 4)}.get(page.photometric, ("L", 1))
    if page.photometric == 1 and samples >= 3 and not page.extrasamples:
        space, channels = "RGB", 3
    if samples < channels:
        raise ValueError(f"{samples} samples of {channels} channels")
    extra = tuple(page.extrasamples or ())
    kind = extra[0] if extra and samples > channels else 0
    palette = None
    if page.photometric == 3:
        palette = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
    transform = srgb_transform(profile, "CMYK") if space == "CMYK" and profile else None
    meaning = Meaning(
        space, channels, channels if kind in (_ALPHA, _ALPHA_MULTIPLIED) else None, kind == _ALPHA_MULTIPLIED,
        page.photometric == 0, palette, transform,
    )  # fmt: skip
    largest = float(2**bits - 1) if page.dtype.kind == "u" and bits not in (8, 16, 32, 64) else None
    tag, nodata = page.tags.get(_MAX_SAMPLE_VALUE), page.tags.get(_NODATA)
    if tag is not None and page.dtype.kind == "u" and page.dtype.itemsize == 2:
        largest = float(np.max(tag.value)) or None
    tables = {
        name: value for name, value in (("jpegtables", page.jpegtables), ("jpegheader", page.jpegheader)) if value
    }
    return TiffLevel(
        ranges, Size(page.imagewidth, page.imagelength),
        Size(page.tilewidth, page.tilelength) if page.is_tiled else Size(page.imagewidth, page.rowsperstrip),
        np.asarray(page.dataoffsets, np.int64), np.asarray(page.databytecounts, np.int64), page.decode, tables,
        page.dtype, samples, page.planarconfig == 2 and samples > 1, meaning,
        _number(nodata.value) if nodata is not None else None, None if palette is not None else largest,
    )  # fmt: skip


def _number(text: object) -> float | None:
    with suppress(ValueError):
        return float(str(text).strip().strip("\0"))
    return None


def _is_smaller(level: TiffLevel, than: TiffLevel) -> bool:
    """Whether a page is the same picture at a smaller size, by its shape: of the labels of a slide none is."""
    across, down = than.size.width / level.size.width, than.size.height / level.size.height
    return across > 1.05 and abs(across - down) * min(level.size.width, level.size.height) <= 2 * max(across, down)
