"""What the extra `fast` makes quicker is the same with it and without: files, pixels and what may differ in them."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from ergo.backends import open_backend
from ergo.core.flows import Question, coarse_to_fine
from ergo.core.geometry import Box, Size
from ergo.core.runner import drive
from ergo.images import shrink
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.images.raster import decoded


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
    raster = decoded(image, io.BytesIO(encoded))
    assert raster is not None
    assert raster.mode == mode
    assert np.array_equal(raster.array, np.asarray(image))


PNGS: dict[str, Callable[[Image.Image], bytes]] = {
    "RGB": lambda image: png(image),
    "grey": lambda image: png(image.convert("L")),
    "with text and gamma": lambda image: png(image, pnginfo=texts()),
    "with a profile": lambda image: png(image, icc_profile=ImageCms.ImageCmsProfile(
        ImageCms.createProfile("sRGB")).tobytes()),
}  # fmt: skip


def png(image: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "png", **how)
    return out.getvalue()


def texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "x" * 3000)
    info.add(b"gAMA", (100000).to_bytes(4, "big"))
    return info


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (1201, 733)], ids=str)
@pytest.mark.parametrize("how", PNGS)
def test_a_png_has_the_pixels_that_pillow_decodes(how: str, size: tuple[int, int]) -> None:
    pytest.importorskip("pyvips", exc_type=ImportError)
    encoded = PNGS[how](photograph(size))
    image = Image.open(io.BytesIO(encoded))
    raster = decoded(image, io.BytesIO(encoded))
    assert raster is not None
    assert raster.array.flags.writeable, "torch warns of arrays that are not"
    assert np.array_equal(raster.array, np.asarray(image))


@pytest.mark.parametrize("size", [(1, 1), (17, 9), (1201, 733)], ids=str)
@pytest.mark.parametrize("how", [{"quality": 80}, {"quality": 100}, {"lossless": True}], ids=str)
def test_a_webp_has_the_pixels_that_pillow_decodes(how: dict[str, Any], size: tuple[int, int]) -> None:
    pytest.importorskip("imagecodecs")
    out = io.BytesIO()
    photograph(size).save(out, "webp", **how)
    image = Image.open(out)
    raster = decoded(image, out)
    assert raster is not None
    assert np.array_equal(raster.array, np.asarray(image))


def test_a_webp_that_is_not_plain_is_left_to_pillow() -> None:
    pytest.importorskip("imagecodecs")
    image = photograph((60, 40))
    clear, moving, whole = io.BytesIO(), io.BytesIO(), io.BytesIO()
    image.save(moving, "webp", save_all=True, append_images=[image.rotate(90)])
    image.save(whole, "webp")
    assert decoded(Image.open(moving), moving) is None
    assert decoded(Image.open(whole), io.BytesIO(whole.getvalue()[:-300])) is None
    see_through = image.convert("RGBA")
    see_through.putalpha(99)
    see_through.save(clear, "webp")
    assert decoded(Image.open(clear), clear) is None


def test_a_png_that_is_not_plain_is_left_to_pillow() -> None:
    image = photograph((60, 40))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    clear = image.convert("RGBA")
    whole = png(image)
    kinds = [png(image.convert("P")), png(clear), png(image.convert("1")), png(image.convert("I;16")), whole[:-300],
             png(image, exif=turned), png(image, transparency=(0, 0, 0)), whole[:200] + b"xx" + whole[202:]]  # fmt: skip
    for encoded in kinds:
        assert decoded(Image.open(io.BytesIO(encoded)), io.BytesIO(encoded)) is None


@pytest.mark.parametrize("spoil", ["cut", "flipped"])
def test_a_jpeg_with_a_fault_is_left_to_pillow(spoil: str) -> None:
    encoded = bytearray(jpeg(photograph((640, 427))))
    if spoil == "cut":
        del encoded[-200:]
    else:
        encoded[len(encoded) // 2 : len(encoded) // 2 + 2] = b"\xff\xc4"
    assert decoded(Image.open(io.BytesIO(encoded)), io.BytesIO(encoded)) is None
    cmyk = jpeg(Image.new("CMYK", (8, 8)))
    assert decoded(Image.open(io.BytesIO(cmyk)), io.BytesIO(cmyk)) is None


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


SHAPES = [(Size(2309, 1732), Size(812, 588)), (Size(641, 4270), Size(84, 588)), (Size(1300, 900), Size(1288, 896)),
          (Size(6000, 300), Size(28, 28))]  # fmt: skip


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_whole_picture_is_shrunk_to_within_a_level_and_a_part_to_the_bit(kind: str, orientation: int) -> None:
    pytest.importorskip("cykooz_resizer")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for size, shown in SHAPES:
        out = io.BytesIO()
        photograph((size.width, size.height)).save(out, kind, exif=exif)
        picture = load_image(out.getvalue())
        if orientation == 6:
            shown = Size(shown.height, shown.width)
        exact, fast = (picture.part(Box.whole(picture.size), shown, fast) for fast in (False, True))
        difference = np.abs(np.asarray(exact, dtype=int) - np.asarray(fast, dtype=int))
        assert difference.max() <= (1 if 2 * max(shown.width, shown.height) <= max(size.width, size.height) else 2)
        assert 10 * math.log10(255**2 / max(np.square(difference).mean(), 1e-9)) > 65, "dB"
        part = Box(0, 1, picture.size.width, picture.size.height)
        assert picture.part(part, shown, fast=True).tobytes() == picture.part(part, shown).tobytes()


@pytest.mark.parametrize("pattern", ["noise", "black and white", "checkerboard"])
@pytest.mark.parametrize("scale", [1.1, 2.0, 3.3, 9.7])
def test_the_bound_holds_for_any_pixels(pattern: str, scale: float) -> None:
    pytest.importorskip("cykooz_resizer")
    values = np.random.default_rng(1).integers(0, 256, (700, 1100, 3), np.uint8)
    if pattern == "black and white":
        values = (values > 127).astype(np.uint8) * 255
    elif pattern == "checkerboard":
        values = (np.indices((700, 1100)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    picture, shown = Picture(Image.fromarray(values)), Size(round(1100 / scale), round(700 / scale))
    exact, fast = (picture.part(Box.whole(picture.size), shown, fast) for fast in (False, True))
    difference = np.abs(np.asarray(exact, dtype=int) - np.asarray(fast, dtype=int))
    assert difference.max() <= (1 if scale >= 2 else 2)
    assert 10 * math.log10(255**2 / max(np.square(difference).mean(), 1e-9)) > 50, "dB"


def test_nothing_is_enlarged_fast() -> None:
    picture = load_image(jpeg(photograph((300, 200))))
    for shown in (Size(300, 200), Size(600, 400), Size(150, 400)):
        whole = Box.whole(picture.size)
        assert picture.part(whole, shown, fast=True).tobytes() == picture.part(whole, shown).tobytes()


def test_both_libraries_shrink_to_the_same_bits() -> None:
    torch, size = pytest.importorskip("torch"), (812, 588)
    pytest.importorskip("cykooz_resizer")
    image = photograph((2309, 1732))
    at_once = shrink.shrunk(np.asarray(image).copy(), size)
    across = shrink.fast()(image, (size[0], image.height))
    assert torch.__version__
    assert at_once is not None
    assert at_once.tobytes() == shrink.fast()(across, size).tobytes()


def test_shrinking_from_many_threads_is_the_same() -> None:
    picture = load_image(jpeg(photograph((1201, 1733))))
    box, shown = Box.whole(picture.size), Size(280, 392)
    expected = picture.part(box, shown, fast=True).tobytes()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: picture.part(box, shown, fast=True).tobytes(), range(40)))
    assert found == {expected}


def test_pictures_for_a_server_are_shrunk_fast_and_those_for_a_model_here_exactly() -> None:
    pytest.importorskip("cykooz_resizer")
    picture = load_image(jpeg(photograph((1201, 1733))))
    for resize, fast in ((None, False), ("exact", False), ("fast", True)):
        model = open_backend("scripted:<zoom>[0, 0, 60, 60]</zoom><answer>x</answer>", resize=resize)
        job = partial(coarse_to_fine, picture, Question("What?"), model.look_config(64))
        coarse, close = (turn.views[0] for turn in drive((None, job), model.backend).turns)
        for view, expected in ((coarse, fast), (close, False)):
            assert view.pixels.tobytes() == picture.part(view.box, view.size, expected).tobytes()
        assert (coarse.pixels.tobytes() != picture.part(coarse.box, coarse.size).tobytes()) is fast


def test_without_a_library_fast_is_refused_and_exact_is_usual() -> None:
    code = """
import sys
for name in ("cykooz_resizer", "torch"): sys.modules[name] = None
from ergo.images.shrink import uses_fast
assert not uses_fast(None, usual=True) and not uses_fast("exact", usual=True)
try: uses_fast("fast", usual=False)
except Exception as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "ergo-vlm[fast]" in done.stdout


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
