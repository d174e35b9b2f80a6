"""Stored pixels of any mode -> 8-bit sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from ergo.core.geometry import Box, Size
from ergo.images.depth import Stretch, stretch_of
from ergo.images.raster import Raster
from ergo.images.strips import strips_of


def is_plain(image: Image.Image) -> bool:
    """Whether the stored pixels are already opaque 8-bit RGB."""
    return image.mode == "RGB" and not image.has_transparency_data


def to_rgb(image: Image.Image, stretch: Stretch) -> Image.Image:
    """8-bit RGB: transparent parts on white, as vLLM shows them; deep grey by `stretch`, where
    Pillow's `convert` would cut it off at 255."""
    if is_plain(image):
        return image
    if _is_deep(image):
        return Image.fromarray(stretch.shown(np.asarray(image))).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paint = image.convert("RGBA")
    return on_white(paint.convert("RGB"), paint.getchannel("A"))


def on_white(colours: Image.Image, opaque: Image.Image, multiplied: bool = False) -> Image.Image:
    """RGB on white paper. opaque: an L image. multiplied: the colours were made darker where they are not opaque."""
    if multiplied:
        clear = ImageChops.invert(opaque)
        return ImageChops.add(colours, Image.merge("RGB", (clear, clear, clear)))
    paper = Image.new("RGB", colours.size, (255, 255, 255))
    paper.paste(colours, mask=opaque)
    return paper


def _is_deep(image: Image.Image | Raster) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def stretch_of_image(image: Image.Image | Raster) -> Stretch:
    """Which stored values are shown black and white, by the rule of ergo/images/depth.py."""
    if isinstance(image, Raster) or not _is_deep(image):
        return Stretch()
    largest = None if image.mode == "F" or image.format == "TIFF" else 65535.0  # what other formats scale values to
    clear = image.info.get("transparency")
    strips = (np.asarray(image.crop(strip.corners)) for strip in strips_of(Box.whole(Size(*image.size))))
    return stretch_of(strips, float(clear) if isinstance(clear, int) else None, largest)
