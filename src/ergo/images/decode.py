"""From anything that holds a picture to an upright Picture: the one boundary to Pillow's decoders."""

from __future__ import annotations

import binascii
import io
import logging
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from PIL import ExifTags, IcoImagePlugin, Image, ImageFile, TiffImagePlugin

from ergo.core.errors import PictureError, UsageError
from ergo.core.geometry import Size
from ergo.images import disk, jxl
from ergo.images.disk import PixelsOnDisk, streams_from_disk
from ergo.images.formats import KINDS, is_camera_raw, not_read, register_plugins
from ergo.images.libraries import LibraryFailed, library_errors
from ergo.images.mended import mended
from ergo.images.picture import DecodedPixels, Picture
from ergo.images.ranges import BytesInMemory, BytesOnDisk, Ranges
from ergo.images.raster import decoded
from ergo.images.slides import is_mirax, open_slide
from ergo.images.tiff import is_tiff, open_tiff

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MAX_PIXELS = 400_000_000
"""Pixels of the largest picture that is decoded: a limit against decompression bombs (1.6 GB of RGB
in Pillow). Judged by the header, before any pixel is decoded."""

MAX_STORED = 50_000_000_000
"""Pixels of the largest picture that stays on disk and is read part by part, which no size of it makes expensive to hold."""

_SUBFILE_TYPE = 254  # TIFF tag: bit 0 of a page that is a thumbnail

MAX_SIDE = 1_000_000
"""Pixels of the longest side: a sliver longer than this costs more to show than its area suggests."""


@cache
def picture_suffixes() -> frozenset[str]:
    """What the names of such files end in, lower case."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in KINDS)


def begins_a_picture(start: bytes) -> bool:
    """Whether a file of one of these kinds may begin with these bytes."""
    Image.init()
    accepting = (Image.OPEN[kind][1] for kind in KINDS if kind in Image.OPEN)
    return len(start) >= 16 and any(accepts and accepts(start) is True for accepts in accepting)


PictureSource: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.uint8] | Picture"
"""What `load_image` takes: a path, a data URI, the bytes of a file or a file opened in binary mode, a Pillow image,
an array of uint8 (height x width, or x 3 or 4 channels), or a picture already loaded."""


def load_image(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Picture:
    """A picture from whatever holds one (`PictureSource`).

    The first frame (of a Pillow image the one it stands at), turned upright by its EXIF orientation; transparent parts lie on white; 16-bit and
    float grey keeps its whole range. max_pixels: more than this is refused before it is decoded.

    PictureError.kind is one of: missing, a_folder, not_a_file, unreadable, a_url, bad_data_uri, empty,
    not_a_picture, too_large, truncated, broken, unsupported_mode, bad_array, text_file.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, Image.Image):
        return _in_memory(source, getattr(source, "filename", "") or "picture", max_pixels)
    if isinstance(source, bytes | bytearray | memoryview):
        return _load(io.BytesIO(source), "picture", max_pixels)
    if hasattr(source, "__array_interface__"):
        return _in_memory(_image_of_array(source), "array", max_pixels)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "picture"))
        content: object = source.read()
        if not isinstance(content, bytes):
            raise PictureError(f"{name} is open as text: open(..., 'rb') for pictures", "text_file")
        return _load(io.BytesIO(content), name, max_pixels)
    if not isinstance(source, str | os.PathLike):
        raise UsageError(f"a picture is {_SOURCES}, not a {type(source).__name__}")
    if isinstance(source, str) and source[:5].lower() == "data:":
        return _load(io.BytesIO(bytes_of_uri(source)), "data URI", max_pixels)
    if isinstance(source, str) and _URL.match(source):
        raise PictureError(f"{source[:200]}: this reads files and data URIs; addresses: ergo.images.address", "a_url")
    if source == "":
        raise PictureError("the name of the picture is empty: that is this folder", "a_folder")
    path = Path(source)
    with _opened(path) as file:
        return _load(file, str(path), max_pixels, path)


_SOURCES = "a path, a data URI, bytes, a file opened in binary mode, a Pillow image, or an array of uint8"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DATA_URI = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[^;,]*)*;base64,", re.IGNORECASE)


_ESCAPES = tuple(
    (f"%{code}", sign)
    for sign, codes in {
        "+": ("2B", "2b"),
        "/": ("2F", "2f"),
        "=": ("3D", "3d"),
        "": ("0A", "0a", "0D", "0d", "20"),
    }.items()
    for code in codes
)
_AT_ONCE = 1 << 18  # characters between which other threads may run: a millisecond


def bytes_of_uri(uri: str) -> bytes:
    """The file in a data URI.

    Its text is copied only where it holds escapes or white space: 60 MB of `%41`, an object for each in
    `unquote`, were 5 GB. What base64 needs no escape for is refused escaped.
    """
    head = _DATA_URI.match(uri[:1000])
    if head is None:
        raise PictureError("a data URI must begin with data:image/...;base64,", "bad_data_uri")
    found, rest, start = bytearray(), "", head.end()
    try:
        while start < len(uri):
            end = start + _AT_ONCE
            while "%" in uri[end - 2 : end]:  # no escape is cut
                end += 1
            part = rest + _plain(uri[start:end])
            whole = len(part) // 4 * 4
            found += binascii.a2b_base64(part[:whole], strict_mode=True)
            rest, start = part[whole:], end
        found += binascii.a2b_base64(rest, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise PictureError(f"the data URI is not base64: {error}", "bad_data_uri") from None
    return bytes(found)


def _plain(text: str) -> str:
    """Base64 without escapes and white space."""
    for escape, sign in _ESCAPES if "%" in text else ():
        text = text.replace(escape, sign)
    for space in "\n\r \t":
        text = text.replace(space, "")
    return text


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before it is decoded. size: upright. memory: bytes that decoding takes at most."""

    size: Size
    memory: int


_DECODING = {"WEBP": 16, "JPEG2000": 20, "AVIF": 10, "HEIF": 16, "JXL": 10, "TIFF": 8, "progressive": 10}
"""Bytes a pixel, measured at 24 megapixels with Pillow 13; 4 for all else. Whole canvases, wavelets or coefficients
are held beside the picture; a turned TIFF is held twice."""


def read_header(encoded: bytes) -> Header:
    """Size and cost of the picture in `encoded`, without decoding it. PictureError as `load_image` raises it."""
    with _decoders("picture"):
        if is_tiff(encoded[:4]) and (tiff := open_tiff(BytesInMemory(encoded, "picture"))):
            return Header(tiff.upright, tiff.memory)
        if size := jxl.declared_size(io.BytesIO(encoded)):
            return Header(size, size.area * _DECODING["JXL"])
        try:
            image = _header(io.BytesIO(encoded), "picture")
        except ValueError as error:
            better = mended(io.BytesIO(encoded), PictureError(str(error)))
            if better is None:
                raise
            image = _header(better.file, "picture")
        size = Size(*image.size)
        early = image.format != "PNG" or "exif" in image.info  # a PNG's may stand after its pixels: asking decodes them
        if early and _orientation(image) >= 5:
            size = Size(size.height, size.width)
        kind = "progressive" if image.info.get("progressive") else image.format or ""
        return Header(size, size.area * _DECODING.get(kind, 4))


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
    try:
        return _read(file, name, max_pixels, path)
    except PictureError as refusal:
        better = mended(file, refusal)
        if better is None:
            raise
        try:
            return _read(better.file, name, max_pixels, profile=better.profile)
        except PictureError:
            raise refusal from None


def _read(
    file: IO[bytes], name: str, max_pixels: int, path: Path | None = None, profile: bytes | None = None
) -> Picture:
    with _decoders(name):
        start = file.read(4)
        file.seek(0)
        if path and (is_tiff(start) or is_mirax(path) or not begins_a_picture(file.read(32))):
            if slide := open_slide(path):
                _check_size(name, slide.size, MAX_STORED)
                return Picture(slide, name)
            if is_mirax(path):
                raise PictureError(f"{name} is a Mirax slide: pip install 'ergo-vlm[slides]' reads it", "not_a_picture")
        file.seek(0)
        if is_tiff(start) and (tiff := _from_tiff(_ranges(file, name, path), max_pixels)):
            return tiff
        if declared := jxl.declared_size(file):
            _check_size(name, declared, max_pixels)
        image = _header(file, name)
        if profile:
            image.info["icc_profile"] = profile
        if image.format == "TIFF":
            _seek_full_size(image, name)
        elif image.format != "MPO" and getattr(
            image, "is_animated", False
        ):  # a phone's MPO holds its own smaller copies
            log.warning("%s moves: shown is its first picture", name)
        size = Size(*image.size)
        if isinstance(
            image, IcoImagePlugin.IcoImageFile
        ):  # its header is one byte a side; the picture inside may be any
            size = Size(*image.ico.frame(image.ico.getentryindex(image.size)).size)
        on_disk = bool(path and streams_from_disk(image, file))
        extra = {"PNG": "vips", "TIFF": "tiff"}.get(image.format or "")
        way_out = f"; pip install 'ergo-vlm[{extra}]' reads larger ones part by part" if path and extra else ""
        _check_size(name, size, max(max_pixels, MAX_STORED) if on_disk else max_pixels, way_out)
        if path and on_disk:
            return Picture(PixelsOnDisk(path, size, image.mode, bytes(image.info.get("icc_profile") or b"")), name)
        raster = decoded(image, file)
        if raster is None:
            _decode(image)
        known_upright = raster and image.format == "PNG"  # and Pillow, asked, would decode it after all
        orientation = 1 if known_upright else _orientation(image)
        return Picture(DecodedPixels.of(raster or image, name, orientation), name)


def _ranges(file: IO[bytes], name: str, path: Path | None) -> Ranges:
    found = BytesInMemory(file.read(), name) if path is None else BytesOnDisk(path, name, file.seek(0, io.SEEK_END))
    file.seek(0)
    return found


def _from_tiff(ranges: Ranges, max_pixels: int) -> Picture | None:
    """A TIFF read part by part; None for what Pillow holds as cheaply, or reads alone."""
    found = open_tiff(ranges)
    large = found and (len(found.levels) > 1 or found.size.area >= disk.MIN_STREAMING_PIXELS)
    if found is None or (found.plain and not large):
        return None
    _check_size(ranges.name, found.size, max_pixels if isinstance(ranges, BytesInMemory) else MAX_STORED)
    _say_pages(ranges.name, found.pages)
    return Picture(found.pyramid(), ranges.name)


def load_ranges(ranges: Ranges, max_pixels: int = MAX_PIXELS) -> Picture | None:
    """A TIFF of which parts are read as they are needed; None for one that has to be here as a whole."""
    with _decoders(ranges.name):
        return _from_tiff(ranges, max_pixels)


def _seek_full_size(image: ImageFile.ImageFile, name: str) -> None:
    """Stand at the first page that is no thumbnail."""
    tags = getattr(image, "tag_v2", {})
    is_thumbnail = bool(tags.get(_SUBFILE_TYPE, 0) & 1)
    if is_camera_raw(tags, is_thumbnail):
        raise PictureError(f"{name} is a camera raw file: develop it to TIFF or JPEG first", "not_a_picture")
    with suppress(OSError, EOFError, ValueError, SyntaxError):  # of a second page that is not there
        _say_pages(name, getattr(image, "n_frames", 1))
        image.seek(0)
    if is_thumbnail:
        with suppress(EOFError):
            while getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0) & 1:
                image.seek(image.tell() + 1)
            return
        image.seek(0)


def _say_pages(name: str, pages: int) -> None:
    if pages > 1:
        log.warning("%s holds %d pages: shown is the first that is no thumbnail", name, pages)


def _check_size(name: str, size: Size, limit: int, way_out: str = "") -> None:
    if size.area > limit or max(size.width, size.height) > MAX_SIDE:
        raise PictureError(
            f"{name} is {size} pixels, more than the limit of {limit:,} (or a side of {MAX_SIDE:,}){way_out}",
            "too_large",
        )


def _in_memory(image: Image.Image, name: str, max_pixels: int) -> Picture:
    """An image as Pillow holds it: opened, perhaps not decoded yet, perhaps not upright."""
    with _decoders(name):
        if image.width * image.height > max_pixels or max(image.size) > MAX_SIDE:
            raise PictureError(f"{name} is {Size(*image.size)} pixels, more than the limit", "too_large")
        image.load()
        return Picture(DecodedPixels.of(image, name, _orientation(image)), name)


def _image_of_array(array: Any) -> Image.Image:
    """A copy, so that what is done to the array later does not reach the picture."""
    height_width, channels = array.shape[:2], array.shape[2:]
    if str(array.dtype) != "uint8" or len(height_width) != 2 or 0 in height_width or channels not in ((), (3,), (4,)):
        raise PictureError(
            f"an array of {array.dtype} and shape {tuple(array.shape)} is no picture: "
            "uint8, height x width, or height x width x 3 (RGB) or 4 (RGBA)",
            "bad_array",
        )
    return Image.fromarray(array).copy()


@contextmanager
def _decoders(name: str) -> Iterator[None]:
    """Whatever Pillow's decoders raise on a broken file ends here, named."""
    try:
        with library_errors():
            yield
    except LibraryFailed as error:
        if isinstance(error.__cause__, MemoryError | Image.DecompressionBombError):
            raise PictureError(f"{name} is too large to be decoded: {error}", "too_large") from error
        cut = isinstance(error.__cause__, EOFError) or "truncated" in str(error).lower()
        raise PictureError(
            f"{name} is cut off: {error}" if cut else f"{name} is broken: {error}", "truncated" if cut else "broken"
        ) from error


def _header(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """The image, not yet decoded.

    Pillow's own `open` would warn and raise by a limit that is one number for the whole process, and
    neither that number nor the warning filters can be changed for one thread. So the formats are
    tried here as `open` tries them, and our limit is the only one.
    """
    start = file.read(32)
    if not start:
        raise PictureError(f"{name} is empty", "empty")
    register_plugins()
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
    if what := not_read(start):
        raise PictureError(f"{name} is {what}", "not_a_picture")
    raise PictureError(f"{name} is not a picture of a kind read here: {', '.join(KINDS)}", "not_a_picture")


def _decode(image: ImageFile.ImageFile) -> None:
    """Pillow's `load`, but for TIFF with its pixels allocated before: there Pillow would ask its own limit again."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        image.im = Image.new(image.mode, getattr(image, "_tile_size", image.size)).im
    image.load()


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1..8; 1 where there is none or where it makes no sense."""
    try:
        with library_errors():
            value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except LibraryFailed as error:  # a picture with broken EXIF is still a picture
        log.info("EXIF of a picture is broken: %s", error)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
