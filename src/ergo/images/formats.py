"""Which picture formats are read, by content and never by name; and how the others are refused."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Container
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import PIL
from PIL import Image

KINDS = (
    "JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "HEIF", "JXL", "JPEG2000", "PPM", "ICO", "QOI",
)  # fmt: skip
"""What is tried on a file. Not everything Pillow reads: kinds without a signature take any text for a picture, and
PostScript would run Ghostscript on a stranger's file."""

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".tif",
        ".tiff",
        ".gif",
        ".bmp",
        ".avif",
        ".heic",
        ".heif",
        ".jxl",
        ".jp2",
        ".jpx",
        ".j2k",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".ico",
        ".qoi",
    ]
)
"""What names of picture files end with, for finding them in a folder."""

_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

_NOT_READ = (
    (b"8BPS", "a Photoshop file (PSD): export it as PNG, TIFF or JPEG"),
    (b"%PDF", "a PDF: render its page as PNG first, for instance with pdftoppm -png -r 300"),
    (b"%!PS", "a PostScript file: render it as PNG first"),
    (b"<svg", "an SVG drawing: render it as PNG first, for instance with rsvg-convert"),
    (b"<?xml", "an XML file, perhaps an SVG drawing: render it as PNG first, for instance with rsvg-convert"),
    (b"ZISRAWFILE", "a Zeiss slide (CZI): pip install 'ergo-vlm[slides]' reads it"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (RAF): develop it to TIFF or JPEG first"),
    (b"IIU\0", "a camera raw file (RW2): develop it to TIFF or JPEG first"),
    (b"IIRO", "a camera raw file (ORF): develop it to TIFF or JPEG first"),
    (b"gimp xcf", "a GIMP file (XCF): export it as PNG, TIFF or JPEG"),
    (b"SIMPLE  =", "a FITS file: convert it to a 16-bit TIFF or PNG first"),
    (b"\x89HDF", "an HDF5 file: write the picture inside it as TIFF or PNG first"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)


def not_read(start: bytes) -> str | None:
    """What a file is that begins so, and the way out; None where it is no kind that is known by name.

    >>> not_read(b"%PDF-1.7")[:5]
    'a PDF'
    """
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return "a HEIC or HEIF picture: pip install pillow-heif (the extra `heif`) reads it"
    if start[:2] == b"\xff\x0a" or start[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        return "a JPEG XL picture: pip install pillow-jxl-plugin (the extra `jxl`) reads it"
    if start[4:12] == b"ftypcrx ":
        return "a camera raw file (CR3): develop it to TIFF or JPEG first"
    if start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
        return "an AVIF picture, which this build of Pillow does not read: install Pillow from PyPI"
    if start[4:8] == b"ftyp":
        return "a film (MP4, MOV or the like): take a frame of it first, for instance with ffmpeg"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    return next((what for signature, what in _NOT_READ if text.startswith(signature)), None)


def is_camera_raw(tags: Container[int], first_page_is_thumbnail: bool) -> bool:
    """Whether a TIFF is a camera's raw file (DNG, NEF, ARW, CR2): what Pillow would show is its thumbnail."""
    dng_version, sub_images, canon_slice = 50706, 330, 50752
    return dng_version in tags or canon_slice in tags or (first_page_is_thumbnail and sub_images in tags)


@cache
def register_plugins() -> None:
    """Have Pillow know its own formats, and those of the extras that are installed, and its libtiff say nothing."""
    Image.init()
    _silence_libtiff()
    with suppress(ImportError):  # then `not_read` names the package
        import_module("pillow_heif").register_heif_opener()
    with suppress(ImportError):
        import_module("pillow_jxl")


def _silence_libtiff() -> None:
    """What libtiff prints on standard error, Pillow raises too, or it concerns no pixel: what is wrong with a picture is
    said in one line of ours. Where Pillow's libtiff is a part of Pillow itself (Windows), it cannot be reached."""
    package = Path(PIL.__file__).parent
    beside = [*package.parent.glob("pillow.libs/libtiff*.so*"), *package.glob(".dylibs/libtiff*.dylib")]
    name = str(beside[0]) if beside else ctypes.util.find_library("tiff")
    with suppress(OSError, AttributeError):
        libtiff = ctypes.CDLL(name)
        for setter in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            setter.restype = ctypes.c_void_p
            setter(None)
