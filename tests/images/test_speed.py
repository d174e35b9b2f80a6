"""What the extra `fast` makes quicker is the same with it and without: files, pixels and what may differ in them."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from ergo.core.geometry import Box, Size
from ergo.images.decode import load_image
from ergo.images.jpeg import decoded_jpeg


def test_without_the_extra_the_files_hold_the_same_pixels() -> None:
    code = """
import sys
if len(sys.argv) > 1:
    for name in ("simplejpeg", "cykooz_resizer", "isal", "pybase64"): sys.modules[name] = None
import hashlib
import numpy as np
from ergo.core.geometry import Size, TokenBudget
from ergo.core.view import View
from ergo.images.decode import load_image
from ergo.images.encode import data_uri
from ergo.images.picture import Picture
from PIL import Image
rgb = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
view = View.of(Picture(Image.fromarray(rgb)), TokenBudget(64))
for format in ("png", "stored-png"):
    shown = load_image(data_uri(view, format)).pixels
    assert shown.tobytes() == view.pixels.tobytes()
print(hashlib.sha256(view.pixels.tobytes()).hexdigest())
"""
    found = {
        subprocess.run([sys.executable, "-c", code, *extra], check=True, capture_output=True, text=True).stdout
        for extra in ((), ("without",))
    }
    assert len(found) == 1


JPEGS: dict[str, dict[str, Any]] = {
    **{f"subsampling {number}": {"subsampling": number} for number in (0, 1, 2)},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "low quality": {"quality": 5},
    "best quality": {"quality": 100, "optimize": True},
    "RGB inside": {"keep_rgb": True},
}


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (640, 427), (1201, 1733)], ids=str)
@pytest.mark.parametrize("how", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_has_the_pixels_that_pillow_decodes(how: str, size: tuple[int, int], mode: str) -> None:
    pytest.importorskip("simplejpeg")
    encoded = jpeg(photograph(size).convert(mode), **JPEGS[how])
    image = Image.open(io.BytesIO(encoded))
    raster = decoded_jpeg(image, io.BytesIO(encoded))
    assert raster is not None
    assert raster.mode == mode
    assert np.array_equal(raster.array, np.asarray(image))


@pytest.mark.parametrize("spoil", ["cut", "flipped"])
def test_a_jpeg_with_a_fault_is_left_to_pillow(spoil: str) -> None:
    encoded = bytearray(jpeg(photograph((640, 427))))
    if spoil == "cut":
        del encoded[-200:]
    else:
        encoded[len(encoded) // 2 : len(encoded) // 2 + 2] = b"\xff\xc4"
    assert decoded_jpeg(Image.open(io.BytesIO(encoded)), io.BytesIO(encoded)) is None
    cmyk = jpeg(Image.new("CMYK", (8, 8)))
    assert decoded_jpeg(Image.open(io.BytesIO(cmyk)), io.BytesIO(cmyk)) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_shown_as_pillow_would(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    encoded = jpeg(photograph((641, 427)), exif=exif)
    picture, upright = load_image(encoded), ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    assert picture.pixels.tobytes() == upright.tobytes()
    box = Box(40, 50, 300, 400)
    expected = upright.crop(box.corners).resize((112, 196), Image.Resampling.BICUBIC)
    assert picture.part(box, Size(112, 196)).tobytes() == expected.tobytes()


def photograph(size: tuple[int, int]) -> Image.Image:
    """Coarse and fine structure, sharp edges, and flat parts."""
    rng = np.random.default_rng(size[0])
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), np.uint8))
    image = Image.blend(coarse, fine.resize(size), 0.2)
    image.paste((250, 20, 10), (0, 0, size[0] // 3, size[1] // 4))
    return image


def jpeg(image: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "jpeg", **{"quality": 85, **how})
    return out.getvalue()
