"""Pictures decoded straight into an array of 3 bytes a pixel, where Pillow copies line by line into 4: the same pixels.

JPEG by simplejpeg (extra `fast`), which is libjpeg-turbo as Pillow has it: at 4, 12 and 48 megapixels 12, 38 and
150 ms instead of 15, 44 and 180. HEIC by pillow-heif itself (extra `heif`): at 200 megapixels a third less memory.
PNG by pyvips (extra `vips`): at 12 megapixels 225 ms instead of 392. WebP by
imagecodecs, where the extra `tiff` has brought it: 170 ms instead of 279.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ergo.images.disk import png_may_turn


@dataclass(frozen=True, eq=False)
class Raster:
    """An array of pixels, seen as the Pillow image of `mode` (RGB or L) that it would be."""

    array: NDArray[np.uint8]
    mode: str
    info: Mapping[str | tuple[int, int], Any]

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[0]

    def crop(self, corners: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = corners
        return Image.fromarray(self.array[top:bottom, left:right])


def decoded(image: Image.Image, file: IO[bytes]) -> Raster | None:
    """The pixels of `file`, of which Pillow read `image`'s header; None where Pillow has to decode them.

    That is where the package is not installed, where it sees anything wrong in the file, and for whatever is not
    plain RGB or grey of 8 bits.
    """
    decode = {"JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "HEIF": _heif, "WEBP": _webp}.get(image.format or "")
    if decode is None or image.mode not in ("RGB", "L") or image.has_transparency_data:
        return None
    at = file.tell()
    try:
        file.seek(0)
        array = decode(image, file)
    finally:
        file.seek(at)
    if array is None or array.shape != (image.height, image.width, len(image.mode)):
        return None
    return Raster(array[..., 0] if image.mode == "L" else array, image.mode, image.info)


def _jpeg(image: Image.Image, file: IO[bytes]) -> NDArray[np.uint8] | None:
    try:
        import simplejpeg

        array: NDArray[np.uint8] = simplejpeg.decode_jpeg(file.read(), {"RGB": "RGB", "L": "GRAY"}[image.mode])
        return array
    except (ImportError, ValueError):
        return None


def _heif(image: Image.Image, file: IO[bytes]) -> NDArray[np.uint8] | None:
    import pillow_heif

    stored = pillow_heif.open_heif(file.read())
    if len(stored) != 1 or stored.mode != image.mode:
        return None
    array: NDArray[np.uint8] = np.asarray(stored)
    return array if image.mode == "RGB" else array[..., None]


def _webp(image: Image.Image, file: IO[bytes]) -> NDArray[np.uint8] | None:
    if getattr(image, "is_animated", False):
        return None
    try:
        import imagecodecs
    except ImportError:
        return None
    try:
        array: NDArray[np.uint8] = imagecodecs.webp_decode(file.read(), hasalpha=False)
    except imagecodecs.WebpError:
        return None
    return array


def _png(image: Image.Image, file: IO[bytes]) -> NDArray[np.uint8] | None:
    if image.info.get("interlace") or png_may_turn(file):
        return None
    try:
        import pyvips
    except (ImportError, OSError):  # the extra, or its library, is not installed
        return None
    try:
        file.seek(0)
        stored = pyvips.Image.new_from_buffer(file.read(), "", access="sequential", fail_on="error")
        if (stored.format, stored.bands, stored.width, stored.height) != ("uchar", len(image.mode), *image.size):
            return None
        return np.frombuffer(stored.write_to_memory(), np.uint8).reshape(image.height, image.width, stored.bands)
    except pyvips.Error:
        return None
