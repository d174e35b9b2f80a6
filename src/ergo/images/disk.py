"""PNGs that stay on disk: their strips are read from the file by pyvips, with the same result to the bit."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from PIL import Image, ImageFile

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.profile import in_srgb
from ergo.images.strips import strips_of

MIN_STREAMING_PIXELS = 20_000_000
"""Pixels from which a PNG or TIFF is read part by part, where pyvips or tifffile is installed: at 48 megapixels two looks
cost as much time and a quarter of the memory, at 12 little is won (docs/scale.md). JPEG is not: it
decodes fast, and a second pass for the close look costs more than keeping it."""


@dataclass(frozen=True, eq=False)
class PixelsOnDisk:
    """A file of which only the rows asked for are read, by pyvips. 8-bit RGB or grey, stored upright.

    Each call opens the file anew, so threads do not meet. PNG is exact, and scaling is ours:
    views equal those of a full decode by Pillow.
    """

    path: Path
    size: Size
    mode: str
    profile: bytes = b""

    def finished(self, part: Image.Image) -> Image.Image:
        return in_srgb(part, self.profile, self.mode)

    def strips(self, box: Box) -> Iterator[Image.Image]:
        import pyvips

        try:
            # from a Source, for in a plain file name pyvips takes [..] for options
            stored = pyvips.Image.new_from_source(
                pyvips.Source.new_from_file(str(self.path)), "", access="sequential", fail_on="error"
            )
            region = pyvips.Region.new(stored)
            mode = "RGB" if stored.bands == 3 else "L"
            for strip in strips_of(box):
                data = region.fetch(strip.left, strip.top, strip.size.width, strip.size.height)
                yield Image.frombytes(mode, (strip.size.width, strip.size.height), data).convert("RGB")
        except (pyvips.Error, ValueError) as error:
            reason = " ".join(str(error).split())
            raise PictureError(f"{self.path} broke off while it was read: {reason}", "truncated") from error


def streams_from_disk(image: ImageFile.ImageFile, file: IO[bytes]) -> bool:
    """Whether pyvips is there and reads this very file as Pillow would, at less cost."""
    if (
        image.width * image.height < MIN_STREAMING_PIXELS
        or image.mode not in ("RGB", "L")
        or image.has_transparency_data
    ):
        return False
    simple = image.format == "PNG" and not image.info.get("interlace") and not png_may_turn(file)
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


def png_may_turn(file: IO[bytes]) -> bool:
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
