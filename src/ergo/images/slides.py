"""Slide scanners' own formats (Hamamatsu, Leica, Mirax, Ventana, Zeiss and others) through OpenSlide, the extra `slides`.

Aperio's and plain pyramids are TIFFs as any other and stay with ergo/images/tiff.py, which reads them in half the time;
the others hold tiles that overlap, several areas, or files beside the one that is named.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.colour import on_white
from ergo.images.libraries import LibraryFailed, library_errors
from ergo.images.pyramid import Pyramid
from ergo.images.strips import strips_of

log = logging.getLogger(__name__)

TIFFS = frozenset({"aperio", "generic-tiff"})
"""Formats that are left to ergo/images/tiff.py."""


@dataclass(frozen=True, eq=False)
class SlideLevel:
    """One level of an open slide; OpenSlide's handles may be used by several threads."""

    slide: Any = field(repr=False)
    number: int
    size: Size
    downsample: float
    name: str

    def bands(self, box: Box) -> Iterator[Image.Image]:
        for strip in strips_of(box):
            corner = (round(strip.left * self.downsample), round(strip.top * self.downsample))
            try:
                with library_errors():
                    found = self.slide.read_region(corner, self.number, (strip.size.width, strip.size.height))
            except LibraryFailed as error:
                raise PictureError(f"{self.name} is broken: {error}", "broken") from error
            yield on_white(found.convert("RGB"), found.getchannel("A"))


def is_mirax(path: Path) -> bool:
    """Whether what looks like a JPEG is the cover of a Mirax slide, whose tiles lie in a folder beside it."""
    return (path.with_suffix("") / "Slidedat.ini").is_file()


def open_slide(path: Path, formats_left_out: frozenset[str] = TIFFS) -> Pyramid | None:
    """A slide of a scanner's own format; None for everything else, and where OpenSlide is not installed."""
    try:
        import openslide
    except (ImportError, OSError):  # or its library is not there
        return None
    try:
        with library_errors():
            vendor = openslide.OpenSlide.detect_format(str(path))
            if vendor is None or vendor in formats_left_out:
                return None
            slide = openslide.OpenSlide(str(path))
            profile = slide.color_profile.tobytes() if slide.color_profile else b""
            levels = list(zip(slide.level_dimensions, slide.level_downsamples, strict=True))
    except LibraryFailed as error:  # what comes next says what is wrong with it
        log.info("%s is not read by OpenSlide: %s", path, error)
        return None
    return Pyramid(
        tuple(
            SlideLevel(slide, number, Size(*dimensions), downsample, str(path))
            for number, (dimensions, downsample) in enumerate(levels)
        ),
        profile=profile,
    )
