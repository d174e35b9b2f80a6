"""Pictures in, views out. A Picture is upright 8-bit RGB; a View is what a model is shown of it.

A picture is decoded once and kept as it was stored: whatever its mode and however the camera was
held, it is turned, scaled and made RGB strip by strip, while a part of it is cut for a view. Coarse
and close views of one picture share the same pixels, so an 8K picture (130 MB in Pillow) is never
held twice. A large PNG or TIFF is not even held once where pyvips is installed
(`pip install 'ergo-vlm[vips]'`): its strips are read from the file, with the same result to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageCms

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.colour import is_plain, to_rgb, white_level
from ergo.images.disk import PixelsOnDisk
from ergo.images.jpeg import Raster
from ergo.images.profile import convert, in_srgb, lab_transform, srgb_transform
from ergo.images.strips import PixelReader, strips_of


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
        return isinstance(self._reader, PixelsOnDisk)

    @property
    def pixels(self) -> Image.Image:
        """All of it. Free for an RGB image in memory; otherwise a full copy, made at each call."""
        if isinstance(self.stored, Image.Image) and is_plain(self.stored) and not self.stored.info.get("icc_profile"):
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
        if narrow.size != (size.width, size.height):
            narrow = narrow.resize((size.width, size.height), Image.Resampling.BICUBIC)
        return self._reader.finished(narrow)


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

    image: Image.Image | Raster
    orientation: int = 1
    white: float = 255.0

    @classmethod
    def of(cls, image: Image.Image | Raster, name: str, orientation: int = 1) -> DecodedPixels:
        """Checked by showing one pixel: a mode that cannot be made RGB is reported now."""
        pixels = cls(image, orientation, white_level(image, name))
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
            stored = self.image.crop(self._stored(strip).corners)
            upright = stored.transpose(_TURN[self.orientation]) if self.orientation in _TURN else stored
            yield convert(upright, self._by_strip) if self._by_strip else to_rgb(upright, self.white)

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
        """The ICC profile of the file; empty if it has none."""
        return bytes(self.image.info.get("icc_profile") or b"")

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
