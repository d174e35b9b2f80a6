"""Pictures in, views out. A Picture is upright 8-bit RGB; a View is what a model is shown of it.

A picture is decoded once and kept as it was stored: whatever its mode and however the camera was
held, it is turned, scaled and made RGB strip by strip, while a part of it is cut for a view. Coarse
and close views of one picture share the same pixels, so an 8K picture (130 MB in Pillow) is never
held twice. A large PNG is not even held once where pyvips is installed, nor a large TIFF where
tifffile is (`pip install 'ergo-vlm[vips,tiff]'`): its parts are read from the file, with the same result to the bit;
of a pyramid, from the level that suits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image, ImageCms

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images import shrink
from ergo.images.colour import is_plain, stretch_of_image, to_rgb
from ergo.images.depth import Stretch
from ergo.images.disk import PixelsOnDisk
from ergo.images.passes import scaled
from ergo.images.profile import convert, in_srgb, lab_transform, srgb_transform
from ergo.images.pyramid import Pyramid
from ergo.images.raster import Raster
from ergo.images.strips import PixelReader, strips_of
from ergo.images.turn import TURN, stored_box


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture.

    stored: a Pillow image, taken as upright, in any mode `load_image` takes; or a reader.
    name: for messages and reports.
    """

    stored: Image.Image | PixelReader
    name: str = "picture"

    def __post_init__(self) -> None:
        self._reader  # noqa: B018  a mode that cannot be shown is reported here, not at the first look

    @cached_property
    def _reader(self) -> PixelReader:
        return DecodedPixels.of(self.stored, self.name) if isinstance(self.stored, Image.Image) else self.stored

    @property
    def size(self) -> Size:
        return self._reader.size

    @property
    def lazy(self) -> bool:
        """Whether the pixels stay in a file until a part is asked for."""
        return isinstance(self._reader, PixelsOnDisk | Pyramid)

    @property
    def pixels(self) -> Image.Image:
        """All of it. Free for an RGB image in memory; otherwise a full copy, made at each call."""
        if isinstance(self.stored, Image.Image) and is_plain(self.stored) and not self.stored.info.get("icc_profile"):
            return self.stored
        return self.part(Box.whole(self.size), self.size)

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        """The pixels of `box` shown at `size`: Pillow's `crop(box).resize(size, BICUBIC)` to the bit.

        fast: where it is the whole picture, made smaller, to within one level of 255 (shrink.py).
        Neither the box nor the turned or converted picture ever exists at full size (passes.py).
        """
        if box.clamped(self.size) != box:
            raise ValueError(f"{box} is not inside {self.name}, {self.size}")
        fast = fast and box == Box.whole(self.size) and box.size.width > size.width and box.size.height > size.height
        if isinstance(self._reader, Pyramid) and not (fast and len(self._reader.levels) == 1):
            return self._reader.part(box, size)
        if fast and isinstance(self._reader, DecodedPixels) and (at_once := self._reader.shrunk(size)):
            return self._reader.finished(at_once)
        strips = self._reader.strips(box)
        return self._reader.finished(scaled(strips, box.size, size, fast=shrink.fast() if fast else None))

    def as_stored(self) -> Picture:
        """The same picture with its numbers taken for sRGB, whatever its profile says."""
        reader = self._reader
        if isinstance(reader, DecodedPixels):
            return Picture(replace(reader, with_profile=False), self.name)
        return Picture(replace(reader, profile=b""), self.name) if isinstance(reader, PixelsOnDisk | Pyramid) else self

    def read_size(self, box: Box, size: Size) -> Size:
        """How large this picture is at the level of its file from which `box` is read to be shown at `size`."""
        return self._reader.read_size(box, size) if isinstance(self._reader, Pyramid) else self.size


@dataclass(frozen=True, eq=False)
class DecodedPixels:
    """A decoded image as it was stored.

    orientation: EXIF, 1..8; of a turned TIFF 1, for Pillow turns those itself while it decodes (the one
    case in which a picture is held twice for a moment). stretch: which stored values are black and white, for grey deeper than 8 bits.
    """

    image: Image.Image | Raster
    orientation: int = 1
    stretch: Stretch = Stretch()
    with_profile: bool = True

    @classmethod
    def of(cls, image: Image.Image | Raster, name: str, orientation: int = 1) -> DecodedPixels:
        """Checked by showing one pixel: a mode that cannot be made RGB is reported now."""
        pixels = cls(image, orientation, stretch_of_image(image))
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
        for strip in strips_of(box):
            place = stored_box(strip, Size(*self.image.size), self.orientation)
            stored = self.image.crop(place.corners)
            upright = stored.transpose(TURN[self.orientation]) if self.orientation in TURN else stored
            yield convert(upright, self._by_strip) if self._by_strip else to_rgb(upright, self.stretch)

    def shrunk(self, size: Size) -> Image.Image | None:
        """All of it by `shrink.shrunk`, not finished; None where that has to be made of strips."""
        if not isinstance(self.image, Raster) or self.image.mode != "RGB" or self.orientation in TURN:
            return None
        return shrink.shrunk(self.image.array, (size.width, size.height))

    def finished(self, part: Image.Image) -> Image.Image:
        return in_srgb(part, self.profile, self.image.mode)

    @cached_property
    def _by_strip(self) -> ImageCms.ImageCmsTransform | None:
        """For pixels that are no RGB and of which none can be made without their profile."""
        if self.image.mode == "LAB":
            return lab_transform()
        return srgb_transform(self.profile, "CMYK") if self.image.mode == "CMYK" and self.profile else None

    @property
    def profile(self) -> bytes:
        """The ICC profile of the file; empty if it has none, or it is not to be used."""
        return bytes(self.image.info.get("icc_profile") or b"") if self.with_profile else b""
