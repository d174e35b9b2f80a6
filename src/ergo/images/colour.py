"""Stored pixels of any mode -> 8-bit sRGB."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.jpeg import Raster
from ergo.images.strips import strips_of


def is_plain(image: Image.Image) -> bool:
    """Whether the stored pixels are already opaque 8-bit RGB."""
    return image.mode == "RGB" and not image.has_transparency_data


def to_rgb(image: Image.Image, white: float) -> Image.Image:
    """8-bit RGB: transparent parts on white, as vLLM shows them; deep grey scaled, where Pillow's
    `convert` would cut it off at 255."""
    if is_plain(image):
        return image
    if _is_deep(image):
        levels = np.rint(np.asarray(image, dtype=np.float64) * (255.0 / white))
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paint = image.convert("RGBA")
    paper = Image.new("RGB", image.size, (255, 255, 255))
    paper.paste(paint, mask=paint.getchannel("A"))
    return paper


def _is_deep(image: Image.Image | Raster) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def white_level(image: Image.Image | Raster, name: str) -> float:
    """The stored value shown as 255. 32-bit and float files do not say: their range says it."""
    if image.mode.startswith("I;16"):
        return 65535.0
    if not _is_deep(image):
        return 255.0
    strips = (np.asarray(image.crop(strip.corners)) for strip in strips_of(Box.whole(Size(*image.size))))
    lows, highs = zip(*((strip.min(), strip.max()) for strip in strips), strict=True)
    low, high = float(np.min(lows)), float(np.max(highs))  # NaN, if any, comes through
    whites = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
    for white in whites:
        if low >= 0 and high <= white:
            return white
    raise PictureError(
        f"{name} holds values from {low:g} to {high:g}; shown are 0..{whites[0]:g} and 0..{whites[1]:g}",
        "unsupported_mode",
    )
