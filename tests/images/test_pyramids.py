"""Pyramids: looks cost the tiles they touch, on disk and at an address; the Trace says from which level they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from range_server import ranges_served

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.address import filesystem, open_picture
from ergo.images.decode import load_image
from ergo.images.slides import open_slide

tifffile = pytest.importorskip("tifffile", reason="the extra `tiff`")

WIDTH, HEIGHT = 1536, 1024


def scene(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Waves, with grain: smooth enough that levels resemble one another."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / (40 + 9 * n)) * np.cos(y / (30 + 7 * n)) for n in range(3)]
    grain = np.random.default_rng(0).normal(0, 4, (height, width, 1))
    return np.clip(np.dstack(waves) + grain, 0, 255).astype(np.uint8)


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    blocks = pixels[:height, :width].reshape(height // 2, 2, width // 2, 2, -1).astype(float).mean((1, 3))
    return np.rint(blocks).astype(pixels.dtype).squeeze()


def write_pyramid(path: Path, pixels: np.ndarray, levels: int = 4, subifds: bool = False, **how: Any) -> None:
    options = {"tile": (128, 128), "photometric": "rgb", "compression": "zlib", **how}
    if options["tile"] is None:
        options["rowsperstrip"] = 64
    planes = options.get("planarconfig") == "separate"
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level in range(levels):
            first = level == 0
            extra = {"subifds": levels - 1} if first and subifds else {} if first else {"subfiletype": 1}
            writer.write(np.moveaxis(pixels, 2, 0) if planes else pixels, **options, **extra, metadata=None)
            pixels = halved(pixels)


def likeness(one: Image.Image, other: Image.Image) -> float:
    """PSNR in dB."""
    error = np.square(np.asarray(one, float) - np.asarray(other, float)).mean()
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


LAYOUTS: dict[str, dict[str, Any]] = {
    "pages": {}, "subifds": {"subifds": True}, "jpeg": {"compression": "jpeg", "compressionargs": {"level": 98}},
    "lzw with differences": {"compression": "lzw", "predictor": True}, "planes": {"planarconfig": "separate"},
    "strips": {"tile": None},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_coarse_view_comes_from_the_smallest_level_of_twice_its_size(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    write_pyramid(path, scene(), **LAYOUTS[layout])
    picture, whole, shown = load_image(path), Box(0, 0, WIDTH, HEIGHT), Size(192, 128)
    assert picture.lazy
    assert picture.read_size(whole, shown) == Size(WIDTH // 4, HEIGHT // 4)
    exact = Image.fromarray(scene()).resize((192, 128), Image.Resampling.BICUBIC)
    assert likeness(picture.part(whole, shown), exact) > (38 if layout == "jpeg" else 45)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "jpeg"])
def test_at_full_size_and_from_the_largest_level_views_are_exact(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    write_pyramid(path, scene(), **LAYOUTS[layout])
    picture, exact = load_image(path), Image.fromarray(scene())
    assert np.array_equal(np.asarray(picture.pixels), np.asarray(exact))
    box, shown = Box(301, 77, 640, 333), Size(224, 168)  # less than twice what is shown
    assert picture.read_size(box, shown) == picture.size
    resized = exact.crop(box.corners).resize((224, 168), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(picture.part(box, shown)), np.asarray(resized))


def test_regions_come_from_the_level_that_suits_them_and_lie_where_they_should(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    write_pyramid(path, scene())
    picture, exact = load_image(path), Image.fromarray(scene())
    box, aside, shown = Box(333, 205, 1133, 805), Box(336, 205, 1136, 805), Size(160, 120)
    assert picture.read_size(box, shown) == Size(WIDTH // 2, HEIGHT // 2)
    resized = exact.crop(box.corners).resize((160, 120), Image.Resampling.BICUBIC)
    assert likeness(picture.part(box, shown), resized) > 45
    assert likeness(picture.part(box, shown), resized) > likeness(picture.part(aside, shown), resized) + 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_pyramid_is_upright(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "turned.tif"
    write_pyramid(path, scene(512, 384), 2, extratags=[(274, 3, 1, orientation, True)])
    stored = Image.fromarray(scene(512, 384))
    exif = stored.getexif()
    exif[274] = orientation
    from PIL import ImageOps

    stored.info["exif"] = exif.tobytes()
    assert np.array_equal(np.asarray(load_image(path).pixels), np.asarray(ImageOps.exif_transpose(stored)))


def test_a_label_or_mask_is_no_level(tmp_path: Path) -> None:
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(scene(), tile=(128, 128), photometric="rgb", metadata=None)
        writer.write(halved(scene()), tile=(128, 128), photometric="rgb", subfiletype=1, metadata=None)
        writer.write(np.zeros((300, 300, 3), np.uint8), photometric="rgb", subfiletype=1, metadata=None)
    picture = load_image(path)
    assert picture.read_size(Box(0, 0, WIDTH, HEIGHT), Size(96, 64)) == Size(WIDTH // 2, HEIGHT // 2)


def test_a_scanners_slide_is_read_by_openslide_as_by_tifffile(tmp_path: Path) -> None:
    """Of Aperio's format, the one that can be made here; vendors' other files come through the same reader."""
    pytest.importorskip("openslide", reason="the extra `slides`")
    path = tmp_path / "slide.svs"
    with tifffile.TiffWriter(path) as writer:
        pixels = scene()
        for _level in range(3):
            about = "Aperio Image Library v12\n1536x1024 (256x256) JPEG/RGB Q=95|AppMag = 20"
            how = {"tile": (256, 256), "compression": "jpeg", "compressionargs": {"level": 95}}
            writer.write(pixels, photometric="rgb", description=about, metadata=None, **how)
            pixels = halved(pixels)
    assert open_slide(path) is None, "left to tifffile"
    slide = open_slide(path, frozenset())
    assert slide is not None
    ours, whole, shown = load_image(path), Box(0, 0, WIDTH, HEIGHT), Size(192, 128)
    assert slide.read_size(whole, shown) == ours.read_size(whole, shown) == Size(384, 256)
    assert likeness(slide.part(whole, shown), ours.part(whole, shown)) > 40
    box = Box(333, 205, 533, 405)
    assert likeness(slide.part(box, Size(160, 160)), ours.part(box, Size(160, 160))) > 40


def test_a_mirax_slide_is_not_taken_for_its_cover(tmp_path: Path) -> None:
    cover = tmp_path / "slide.mrxs"
    Image.fromarray(scene(64, 48)).save(cover, "JPEG")
    assert load_image(cover).size == Size(64, 48)
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide" / "Slidedat.ini").write_text("[GENERAL]")
    with pytest.raises(PictureError, match="slides"):
        load_image(cover)


def test_a_broken_tile_is_a_picture_error_of_that_view(tmp_path: Path) -> None:
    path = tmp_path / "broken.tif"
    write_pyramid(path, scene())
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        content[(start := file.pages[0].dataoffsets[0]) : start + 2000] = bytes(2000)
    path.write_bytes(content)
    picture = load_image(path)
    picture.part(Box(0, 0, WIDTH, HEIGHT), Size(96, 64))  # which touches another level
    with pytest.raises(PictureError) as caught:
        picture.part(Box(0, 0, 100, 100), Size(100, 100))
    assert caught.value.kind in ("broken", "truncated")
    assert "\n" not in str(caught.value)


def test_a_cut_pyramid_is_told(tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    write_pyramid(path, scene(), subifds=True)
    with tifffile.TiffFile(path) as file:
        last = max(level.keyframe.dataoffsets[0] for level in file.series[0].levels)
    path.write_bytes(path.read_bytes()[: last + 100])
    with pytest.raises(PictureError):
        load_image(path).part(Box(0, 0, WIDTH, HEIGHT), Size(32, 32))


# ── at addresses ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def _web() -> None:
    pytest.importorskip("fsspec", reason="the extra `remote`")
    pytest.importorskip("aiohttp", reason="the extra `remote`")


@pytest.mark.usefixtures("_web")
@pytest.mark.parametrize("subifds", [False, True])
def test_of_a_pyramid_at_an_address_the_tiles_alone_are_fetched(subifds: bool, tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    write_pyramid(path, scene(2048, 1536), 5, subifds, compression=None)
    size = path.stat().st_size
    with ranges_served(tmp_path) as (address, sent):
        picture = open_picture(f"{address}/pyramid.tif")
        assert picture.size == Size(2048, 1536)
        assert sent.bytes < 500_000
        held, whole, shown = load_image(path), Box(0, 0, 2048, 1536), Size(256, 192)
        before = sent.bytes
        assert likeness(picture.part(whole, shown), held.part(whole, shown)) == 99
        assert sent.bytes - before < 1.3 * 512 * 384 * 3
        before = sent.bytes
        box = Box(1024, 512, 1280, 704)
        assert likeness(picture.part(box, shown), held.part(box, shown)) == 99
        assert sent.bytes - before <= 3 * 3 * 128 * 128 * 3
        assert sent.bytes < 0.25 * size


@pytest.mark.usefixtures("_web")
@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_ordinary_file_at_an_address_is_fetched_once(knows_ranges: bool, tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / "a.png")
    with ranges_served(tmp_path, knows_ranges) as (address, sent):
        picture = open_picture(f"{address}/a.png")
        assert np.array_equal(np.asarray(picture.pixels), scene())
        assert sent.bytes <= (tmp_path / "a.png").stat().st_size + 65536
        with pytest.raises(PictureError, match="no file") as caught:
            open_picture(f"{address}/b.png")
        assert caught.value.kind == "missing"


@pytest.mark.usefixtures("_web")
def test_a_download_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ergo.images import address as module

    Image.fromarray(scene()).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_DOWNLOAD", 100_000)
    for knows_ranges in (True, False):
        with ranges_served(tmp_path, knows_ranges) as (address, _), pytest.raises(PictureError) as caught:
            open_picture(f"{address}/a.png")
        assert caught.value.kind == "too_large"


@pytest.mark.usefixtures("_web")
def test_nobody_there_is_one_line() -> None:
    with pytest.raises(PictureError) as caught:
        open_picture("http://127.0.0.1:1/a.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "package"), [("s3://bucket/a.tif", "s3fs"), ("gs://bucket/a.tif", "gcsfs"), ("abfs://x/a", "adlfs")]
)
def test_a_protocol_that_is_missing_is_named_by_its_package(address: str, package: str) -> None:
    pytest.importorskip("fsspec", reason="the extra `remote`")
    try:
        filesystem(address)
    except Exception as error:
        if f"pip install {package}" not in str(error):
            pytest.skip(f"{package} is installed")
    with pytest.raises(PictureError, match=f"pip install {package}") as caught:
        open_picture(address)
    assert "\n" not in str(caught.value)


def test_an_unknown_protocol_is_one_line() -> None:
    pytest.importorskip("fsspec", reason="the extra `remote`")
    with pytest.raises(PictureError, match="nonsense"):
        open_picture("nonsense://a/b")
