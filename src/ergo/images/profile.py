"""ICC profiles: what a file's numbers mean as colours, converted to sRGB by LittleCMS (through Pillow).

A photograph in Display P3 or Adobe RGB read as sRGB is up to 60 levels off, one with swapped primaries shows green
for red, and a question about a colour is answered wrongly. Models are shown sRGB. Intent: relative colorimetric,
without black point compensation, as libvips converts.
"""

from __future__ import annotations

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

_INPUTS = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
"""Colour space of a profile -> the Pillow mode that its numbers are in."""


@lru_cache(maxsize=32)
def srgb_transform(profile: bytes, stored_mode: str) -> ImageCms.ImageCmsTransform | None:
    """What makes sRGB of pixels in `stored_mode` (L, RGB or CMYK); None where nothing has to be done.

    That is where the profile is sRGB or within a level of it, and where it cannot be used: broken, or of
    another colour space than the pixels, as edited files have them. Then the numbers are shown as they are.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _INPUTS.get(source.profile.xcolor_space)
        if mode != stored_mode:
            log.info("a colour profile for %s is on a picture of mode %s: ignored", mode, stored_mode)
            return None
        transform = ImageCms.buildTransform(
            source, _srgb(), stored_mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NONE
        )
    except (OSError, ImageCms.PyCMSError) as error:
        log.info("a colour profile cannot be used and is ignored: %r", error)
        return None
    return transform if stored_mode == "CMYK" or _changes_colours(transform, stored_mode) else None


def convert(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    """`image`, in the transform's input mode, as 8-bit sRGB."""
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # only in-place conversion returns nothing
    return converted


def in_srgb(part: Image.Image, profile: bytes, stored_mode: str) -> Image.Image:
    """An RGB part of a picture whose file holds `profile`: converted at the size it is shown.

    stored_mode: of the file's pixels. Grey ones are grey in `part`, and CMYK is already converted.
    """
    if not profile or stored_mode in ("CMYK", "LAB"):
        return part
    grey = stored_mode in ("L", "LA", "1", "F", "I") or stored_mode.startswith("I;16")
    transform = srgb_transform(profile, "L" if grey else "RGB")
    if transform is None:
        return part
    return convert(part.getchannel(0) if grey else part, transform)


@lru_cache(maxsize=1)
def lab_transform() -> ImageCms.ImageCmsTransform:
    """CIE L*a*b* (D50), which TIFF stores without a profile -> sRGB."""
    intent, exact = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.NOOPTIMIZE  # 8-bit tables are 20 levels off
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB", intent, exact)


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _changes_colours(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether any colour of a grid moves by more than a level: sRGB profiles of many makers do not."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    axes = np.meshgrid(*[steps] * len(mode), indexing="ij")
    grid = np.stack([axis.reshape(-1, 1) for axis in axes], axis=-1)
    shown = np.asarray(convert(Image.fromarray(grid.squeeze(-1) if mode == "L" else grid), transform))
    return bool(np.abs(shown.astype(int) - grid.astype(int)).max() > 1)
