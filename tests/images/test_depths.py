"""The table of formats and depths: each file is made here, and shown as its reference says, or refused by this line.

`pytest -s tests/images/test_depths.py` prints it. References are numpy's arithmetic of the rule in ergo/images/depth.py,
or what was saved.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ergo.core.errors import PictureError
from ergo.images.decode import load_image
from ergo.images.formats import register_plugins

tifffile = pytest.importorskip("tifffile", reason="the extra `tiff`")

H, W = 48, 64
Y, X = np.mgrid[:H, :W]
RGB = np.dstack([X * 4, Y * 5, (X + Y) * 2]).astype(np.uint8)
GREY = RGB[..., 0]
ALPHA = (255 * (Y % 2)).astype(np.uint8)
DEEP = (X.astype(np.uint32) * 1040).astype(np.uint16)
DEEP_RGB = np.dstack([X * 1040, Y * 1390, (X + Y) * 590]).astype(np.uint16)
RELIEF = (np.sin(X / 9) * 700 + Y * 10 - 300).astype(np.float32)


def shown(values: np.ndarray, black: float, white: float) -> np.ndarray:
    """The rule: black is 0, white is 255; what is no number is white paper."""
    levels = np.clip(np.rint((values.astype(float) - black) * 255 / (white - black)), 0, 255)
    return np.where(np.isnan(levels), 255, levels)


def percentiles(values: np.ndarray) -> tuple[float, float]:
    valid = values[np.isfinite(values)]
    return float(np.percentile(valid, 0.1)), float(np.percentile(valid, 99.9))


def pillow(pixels: np.ndarray | Image.Image, kind: str, **how: Any) -> bytes:
    register_plugins()
    out = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(out, kind, **how)
    return out.getvalue()


def tiff(pixels: np.ndarray, tags: tuple[Any, ...] = (), bigtiff: bool = False, **how: Any) -> bytes:
    out = io.BytesIO()
    if pixels.ndim == 3 and "photometric" not in how:
        how["photometric"] = "rgb"
    with tifffile.TiffWriter(out, bigtiff=bigtiff) as writer:
        writer.write(pixels, metadata=None, extratags=tags, **how)
    return out.getvalue()


def pages(*each: tuple[np.ndarray, int]) -> bytes:
    """A TIFF of several pages, each with its subfile type."""
    out = io.BytesIO()
    with tifffile.TiffWriter(out) as writer:
        for pixels, kind in each:
            writer.write(pixels, metadata=None, photometric="rgb", subfiletype=kind)
    return out.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: np.ndarray, colour: int, *extra: bytes) -> bytes:
    """A PNG of 16 bits, which Pillow writes in grey alone."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", W, H, 16, colour, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def text(length: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * length, zip=True)
    return info


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    opaque = alpha[..., None] / 255
    return np.rint(pixels * opaque + 255 * (1 - opaque))


JPEG = pillow(RGB, "JPEG", quality=95, subsampling=0)
HOLES = np.where((X + Y) % 7 == 0, np.nan, RELIEF).astype(np.float32)
SIGNED = np.where(X < 4, -9999, RELIEF).astype(np.int16)
NODATA = ((42113, 2, 6, "-9999", True),)
PALE = (DEEP_RGB.astype(float) * (ALPHA / 255)[..., None]).astype(np.uint16)
CMYK = Image.fromarray(RGB).convert("CMYK")
INFINITE = np.where(X == 9, np.inf, RELIEF / 1000).astype(np.float32)

CASES: dict[str, tuple[Callable[[], bytes], np.ndarray | str, float]] = {
    "PNG, 8-bit colour": (lambda: pillow(RGB, "PNG"), RGB, 0),
    "PNG, palette": (lambda: pillow(Image.fromarray(GREY // 16 * 16).quantize(16), "PNG"), GREY // 16 * 16, 0),
    "PNG, 1 bit": (lambda: pillow(Image.fromarray(ALPHA).convert("1"), "PNG"), ALPHA, 0),
    "PNG, alpha": (lambda: pillow(np.dstack([RGB, ALPHA]), "PNG"), on_white(RGB, ALPHA), 0),
    "PNG, colour key": (lambda: pillow(RGB, "PNG", transparency=(0, 0, 0)),
                        np.where((RGB == 0).all(2, keepdims=True), 255, RGB), 0),
    "PNG, 16-bit grey": (lambda: png(DEEP, 0), shown(DEEP, 0, 65535), 0),
    "PNG, 16-bit grey, colour key": (lambda: png(DEEP, 0, chunk(b"tRNS", struct.pack(">H", 1040))),
                                     np.where(DEEP == 1040, 255, shown(DEEP, 0, 65535)), 0),
    "PNG, 16-bit colour": (lambda: png(DEEP_RGB.reshape(H, -1), 2), shown(DEEP_RGB, 0, 65535), 1),
    "PNG, 16-bit colour, alpha": (lambda: png(np.dstack([DEEP_RGB, ALPHA.astype(np.uint16) * 257]).reshape(H, -1), 6),
                                  on_white(shown(DEEP_RGB, 0, 65535), ALPHA), 1),
    "PNG, 16-bit grey, alpha": (lambda: png(np.dstack([DEEP, ALPHA.astype(np.uint16) * 257]).reshape(H, -1), 4),
                                on_white(shown(DEEP, 0, 65535)[..., None], ALPHA), 1),
    "PNG, 3 MB of text": (lambda: pillow(RGB, "PNG", pnginfo=text(3_000_000)), RGB, 0),
    "PNG, 3 MB of a broken profile": (lambda: pillow(RGB, "PNG", icc_profile=bytes(3_000_000)), RGB, 0),
    "PNG without its last chunk": (lambda: pillow(RGB, "PNG")[:-12], RGB, 0),
    "PNG, cut in its pixels": (lambda: pillow(RGB, "PNG")[:-40], "is cut off|is broken", 0),
    "JPEG": (lambda: JPEG, RGB, 8),
    "JPEG, grey": (lambda: pillow(GREY, "JPEG", quality=95), GREY, 6),
    "JPEG, progressive": (lambda: pillow(RGB, "JPEG", quality=95, subsampling=0, progressive=True), RGB, 8),
    "JPEG, CMYK without a profile": (lambda: pillow(CMYK, "JPEG", quality=98), RGB, 9),
    "JPEG without its end marker": (lambda: JPEG[:-2], RGB, 8),
    "JPEG, progressive, without its end": (lambda: pillow(RGB, "JPEG", quality=95, subsampling=0, progressive=True)[:-2],
                                           RGB, 8),
    "JPEG, cut in its pixels": (lambda: JPEG[: len(JPEG) * 2 // 3], "is cut off", 0),
    "WebP, lossless": (lambda: pillow(RGB, "WEBP", lossless=True), RGB, 0),
    "WebP, alpha": (lambda: pillow(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True), on_white(RGB, ALPHA), 0),
    "GIF": (lambda: pillow(GREY, "GIF"), GREY, 0),
    "BMP": (lambda: pillow(RGB, "BMP"), RGB, 0),
    "ICO": (lambda: pillow(RGB, "ICO", sizes=[(W, H)]), RGB, 0),
    "PGM, 16 bits": (lambda: f"P5 {W} {H} 65535\n".encode() + DEEP.astype(">u2").tobytes(), shown(DEEP, 0, 65535), 1),
    "PGM, largest 1000": (lambda: f"P5 {W} {H} 1000\n".encode() + (DEEP // 66).astype(">u2").tobytes(),
                          shown(DEEP // 66, 0, 1000), 1),
    "PPM, 16 bits": (lambda: f"P6 {W} {H} 65535\n".encode() + DEEP_RGB.astype(">u2").tobytes(),
                     shown(DEEP_RGB, 0, 65535), 1),
    "JPEG 2000": (lambda: pillow(RGB, "JPEG2000"), RGB, 0),
    "JPEG 2000, 16-bit grey": (lambda: pillow(DEEP, "JPEG2000"), shown(DEEP, 0, 65535), 0),
    "QOI": (lambda: pillow(RGB, "QOI"), RGB, 0),
    "TIFF, 16-bit grey": (lambda: tiff(DEEP), shown(DEEP, 0, 65535), 0),
    "TIFF, 16-bit grey, big-endian BigTIFF": (lambda: tiff(DEEP.astype(">u2"), bigtiff=True), shown(DEEP, 0, 65535), 0),
    "TIFF, 12 bits in 16, by their range": (lambda: tiff(DEEP // 16), shown(DEEP // 16, 0, 4095), 0),
    "TIFF, 12 bits in 16, by the tag": (lambda: tiff(DEEP // 64, ((281, 3, 1, 4095, True),)), shown(DEEP // 64, 0, 4095), 0),
    "TIFF, 10 bits in 16, by their range": (lambda: tiff(DEEP // 64), shown(DEEP // 64, 0, 1023), 0),
    "TIFF, 16-bit colour": (lambda: tiff(DEEP_RGB), shown(DEEP_RGB, 0, 65535), 0),
    "TIFF, 16-bit colour, planes": (lambda: tiff(np.moveaxis(DEEP_RGB, 2, 0), planarconfig="separate"),
                                    shown(DEEP_RGB, 0, 65535), 0),
    "TIFF, 16-bit colour, LZW": (lambda: tiff(DEEP_RGB, compression="lzw", predictor=True), shown(DEEP_RGB, 0, 65535), 0),
    "TIFF, 16-bit colour, alpha": (lambda: tiff(np.dstack([DEEP_RGB, ALPHA.astype(np.uint16) * 257]), extrasamples=["unassalpha"]),
                                   on_white(shown(DEEP_RGB, 0, 65535), ALPHA), 1),
    "TIFF, 16-bit colour, multiplied alpha": (lambda: tiff(np.dstack([PALE, ALPHA.astype(np.uint16) * 257]), extrasamples=["assocalpha"]),
                                              on_white(shown(DEEP_RGB, 0, 65535), ALPHA), 1),
    "TIFF, float colour 0..1": (lambda: tiff((DEEP_RGB / 65535).astype(np.float32)), shown(DEEP_RGB, 0, 65535), 1),
    "TIFF, float16 grey": (lambda: tiff((DEEP / 65535).astype(np.float16)), shown(DEEP, 0, 65535), 1),
    "TIFF, float64 grey 0..255": (lambda: tiff(DEEP / 257), shown(DEEP, 0, 65535), 0),
    "TIFF, relief with NaN": (lambda: tiff(HOLES), shown(HOLES, *percentiles(HOLES)), 0),
    "TIFF, float with infinity": (lambda: tiff(INFINITE), shown(INFINITE, *percentiles(INFINITE)), 0),
    "TIFF, signed, no data": (lambda: tiff(SIGNED, NODATA),
                              np.where(X < 4, 255, shown(SIGNED, *percentiles(SIGNED[X >= 4]))), 0),
    "TIFF, signed 32-bit": (lambda: tiff((RELIEF * 1000).astype(np.int32)),
                            shown((RELIEF * 1000).astype(np.int32), *percentiles((RELIEF * 1000).astype(np.int32))), 0),
    "TIFF, unsigned 32-bit": (lambda: tiff(DEEP.astype(np.uint32) * 5), shown(DEEP * 5.0, *percentiles(DEEP * 5.0)), 0),
    "TIFF, white is 0": (lambda: tiff(GREY, photometric="miniswhite"), 255 - GREY, 0),
    "TIFF, white is 0, 16 bits": (lambda: tiff(DEEP, photometric="miniswhite"), 255 - shown(DEEP, 0, 65535), 0),
    "TIFF, 1 bit, fax": (lambda: pillow(Image.fromarray(ALPHA).convert("1"), "TIFF", compression="group4"), ALPHA, 0),
    "TIFF, CMYK without a profile": (lambda: pillow(CMYK, "TIFF"), RGB, 1),
    "TIFF, colour in JPEG": (lambda: tiff(RGB, compression="jpeg", compressionargs={"level": 97}, tile=(16, 16)), RGB, 10),
    "TIFF, zstd": (lambda: tiff(RGB, compression="zstd"), RGB, 0),
    "TIFF, WebP": (lambda: tiff(RGB, compression="webp", compressionargs={"lossless": True}, tile=(16, 16)), RGB, 0),
    "TIFF, thumbnail first": (lambda: pages((RGB[::4, ::4], 1), (RGB, 0)), RGB, 0),
    "TIFF, volume of 3 pages": (lambda: pages((RGB, 0), (255 - RGB, 0), (RGB // 2, 0)), RGB, 0),
    "TIFF, complex values": (lambda: tiff(DEEP.astype(np.complex64)), "is broken|begins like a TIFF", 0),
    "PSD": (lambda: b"8BPS\0\1" + bytes(40), "Photoshop", 0),
    "PDF": (lambda: b"%PDF-1.7\n" + bytes(40), "render its page", 0),
}  # fmt: skip

ROWS: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _table() -> Iterator[None]:
    yield
    print("\n" + "\n".join(ROWS))


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_the_reference_or_the_line_says_why_not(name: str) -> None:
    make, expected, tolerance = CASES[name]
    if isinstance(expected, str):
        with pytest.raises(PictureError, match=expected) as refused:
            load_image(make())
        assert "\n" not in str(refused.value)
        ROWS.append(f"{name:40} {refused.value}")
        return
    found = np.asarray(load_image(make()).pixels, dtype=float)
    reference = expected[..., None] if expected.ndim == 2 else expected
    assert found.shape == (H, W, 3)
    error = np.abs(found - reference)
    ROWS.append(f"{name:40} mean {error.mean():.2f}, largest {error.max():.0f}")
    assert error.max() <= tolerance, f"at {np.argwhere(error > tolerance)[:3].tolist()}: {error.max()}"


def test_the_pages_of_a_tiff_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load_image(CASES["TIFF, volume of 3 pages"][0]())
    assert "holds 3 pages" in caplog.text
