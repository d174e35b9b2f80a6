"""Any file gives the right picture or a named PictureError; any view finds its way back to the source."""

from __future__ import annotations

import base64
import contextlib
import io
import random
import struct
import threading
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.view import View
from ergo.images import disk, strips
from ergo.images.decode import bytes_of_uri, load_image, read_header
from ergo.images.disk import PixelsOnDisk
from ergo.images.encode import Format, data_uri, encode
from ergo.images.picture import Picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # TIFF and MPO readers talk of broken files


def noise(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return Image.fromarray(values.squeeze(2) if bands == 1 else values, mode=None if bands in (1, 3) else mode)


def flat(mode: str, colour: Any, size: tuple[int, int] = (8, 6)) -> Image.Image:
    return Image.new(mode, size, colour)


def saved(image: Image.Image, format: str, **how: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **how)
    return out.getvalue()


def loaded(image: Image.Image, format: str, **how: Any) -> Picture:
    return load_image(saved(image, format, **how))


def colour(picture: Picture) -> tuple[int, ...]:
    """The colour of the pixel at the top left."""
    assert picture.pixels.mode == "RGB"
    value = picture.pixels.getpixel((0, 0))
    assert isinstance(value, tuple)
    return tuple(int(channel) for channel in value)


def same(left: Image.Image, right: Image.Image) -> bool:
    return left.mode == right.mode and np.array_equal(np.asarray(left), np.asarray(right))


def kind_of(source: Any, **how: Any) -> str:
    with pytest.raises(PictureError) as caught:
        load_image(source, **how)
    assert "\n" not in str(caught.value)
    return caught.value.kind


# ── where a picture comes from ─────────────────────────────────────────────────────────────────


def test_a_path_its_name_its_bytes_a_data_uri_and_a_picture_are_the_same_picture(tmp_path: Path) -> None:
    image = noise(40, 30)
    path = tmp_path / "a [picture].png"
    image.save(path)
    uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    folded = "data:image/png;name=x.png;base64," + "\n".join(uri[22:][i : i + 76] for i in range(0, len(uri), 76))
    for source in (path, str(path), path.read_bytes(), uri, uri.replace("+", "%2B"), folded):
        assert same(load_image(source).pixels, image)
    assert load_image(path).name == str(path)
    picture = Picture(image, "mine")
    assert load_image(picture) is picture


def test_sources_that_are_no_file_are_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    text = tmp_path / "text.jpg"
    text.write_text("It was the best of times, it was the worst of times.")
    assert kind_of(tmp_path / "nowhere.png") == "missing"
    assert kind_of(text / "inside.png") == "missing"
    assert kind_of("") == "a_folder", "the folder we are in"
    assert kind_of(tmp_path) == "a_folder"
    assert kind_of(Path("/dev/zero")) == "not_a_file"
    assert kind_of("zero\0byte.png") == "unreadable"
    assert kind_of("long" * 2000) == "unreadable"
    assert kind_of(empty) == "empty"
    assert kind_of(b"") == "empty"
    assert kind_of(text) == "not_a_picture"
    assert kind_of("https://example.org/a.png") == "a_url"
    assert kind_of("file:///etc/passwd") == "a_url"


@pytest.mark.parametrize("uri", ["data:,hello", "data:text/plain;base64,aGVsbG8=", "data:image/png,abc", "data:image/png;base64,%%%", "data:image/png;base64,abc"])  # fmt: skip
def test_data_uris_that_hold_no_picture(uri: str) -> None:
    assert kind_of(uri) == "bad_data_uri"


def test_a_script_for_a_printer_is_never_run() -> None:
    assert kind_of(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n") == "not_a_picture"


# ── every mode, the right RGB ──────────────────────────────────────────────────────────────────


def test_lossless_formats_give_back_their_pixels() -> None:
    image = noise(50, 35)
    for format in ("PNG", "BMP", "TIFF", "PPM"):
        assert same(loaded(image, format).pixels, image), format
    assert same(loaded(image, "WEBP", lossless=True).pixels, image)


def test_cmyk_jpeg() -> None:
    for ink, rgb in [((0, 255, 255, 0), (255, 0, 0)), ((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))]:
        assert colour(loaded(flat("CMYK", ink), "JPEG", quality=100)) == pytest.approx(rgb, abs=4)


def test_grey_one_bit_and_palette() -> None:
    assert colour(loaded(flat("L", 77), "PNG")) == (77, 77, 77)
    assert colour(loaded(flat("1", 1), "PNG")) == (255, 255, 255)
    assert colour(loaded(flat("RGB", (200, 10, 30)).quantize(4), "PNG")) == (200, 10, 30)
    assert colour(loaded(flat("YCbCr", (128, 128, 128)), "JPEG")) == pytest.approx((128, 128, 128), abs=2)


def test_transparent_parts_lie_on_white() -> None:
    assert colour(loaded(flat("RGBA", (0, 0, 0, 0)), "PNG")) == (255, 255, 255)
    assert colour(loaded(flat("RGBA", (255, 0, 0, 128)), "PNG")) == pytest.approx((255, 127, 127), abs=1)
    assert colour(loaded(flat("LA", (0, 0)), "PNG")) == (255, 255, 255)
    assert colour(loaded(flat("LA", (10, 255)), "PNG")) == (10, 10, 10)
    palette = flat("RGB", (0, 128, 0)).quantize(4)
    assert colour(loaded(palette, "PNG", transparency=palette.getpixel((0, 0)))) == (255, 255, 255)
    assert colour(loaded(flat("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3))) == (255, 255, 255)


def test_16_bit_grey_keeps_its_range() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    for order, format in (("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF")):
        picture = loaded(Image.fromarray(ramp.astype(order)), format)
        assert np.asarray(picture.pixels).mean() == pytest.approx(127.5, abs=0.1), (order, format)
        assert picture.pixels.getextrema() == ((0, 255),) * 3


@pytest.mark.parametrize(("top", "white"), [(200, 200), (65535, 255), (32768, 128)])
def test_32_bit_grey_is_told_by_its_range(top: int, white: int) -> None:
    values = np.array([[top, 0]], dtype=np.int32)
    assert colour(loaded(Image.fromarray(values), "TIFF")) == (white,) * 3


@pytest.mark.parametrize(("top", "white"), [(1.0, 255), (0.5, 128), (255.0, 255), (100.0, 100)])
def test_float_grey_is_told_by_its_range(top: float, white: int) -> None:
    values = np.array([[top, 0]], dtype=np.float32)
    assert colour(loaded(Image.fromarray(values), "TIFF")) == (white,) * 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [(-1.0, (0, 255)), (256.0, (255, 0)), (1e30, (255, 0)), (np.nan, (255, 64)), (np.inf, (255, 64))],
)
def test_float_values_of_no_known_range_are_stretched(value: float, shown: tuple[int, int]) -> None:
    """By their percentiles; what is no number, and what is infinite, is left out of them."""
    values = np.array([[value, 0.5], [0.25, 0.5]], dtype=np.float32)
    picture = loaded(Image.fromarray(values), "TIFF")
    corners = (picture.pixels.getpixel((0, 0)), picture.pixels.getpixel((0, 1)))
    if value in (-1.0, 256.0, 1e30):
        assert corners[0] == (shown[0],) * 3
    else:
        assert corners == tuple((level,) * 3 for level in shown)


def test_a_mode_without_a_way_to_rgb_is_refused() -> None:
    with pytest.raises(PictureError) as caught:
        Picture(Image.new("La", (4, 4)))
    assert caught.value.kind == "unsupported_mode"
    assert colour(loaded(flat("LAB", (136, 128, 128)), "TIFF")) == pytest.approx((127, 127, 127), abs=2), "LAB has one"


def test_the_first_frame_is_the_picture() -> None:
    frames = [flat("RGB", (255, 0, 0)), flat("RGB", (0, 0, 255))]
    assert colour(loaded(frames[0], "GIF", save_all=True, append_images=frames[1:])) == (255, 0, 0)
    assert colour(loaded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)) == (255, 0, 0)
    assert colour(loaded(frames[0], "TIFF", save_all=True, append_images=frames[1:])) == (255, 0, 0)


# ── upright, once and first ────────────────────────────────────────────────────────────────────


def with_orientation(image: Image.Image, orientation: Any, format: str, **how: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, format, exif=exif, **how)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns_the_picture_and_every_part_of_it(orientation: int, format: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 200)  # many strips, from every side
    data = with_orientation(noise(61, 40), orientation, format)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture = load_image(data)
    assert picture.size == Size(*upright.size)
    assert same(picture.pixels, upright)
    box = Box(7, 5, 30, 33)
    expected = upright.crop(box.corners).resize((56, 84), Image.Resampling.BICUBIC)
    assert same(picture.part(box, Size(56, 84)), expected)


def test_senseless_exif_turns_nothing() -> None:
    image = noise(20, 10)
    assert load_image(with_orientation(image, 99, "PNG")).size == Size(20, 10)
    for exif in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"rubbish"):
        assert load_image(saved(image, "JPEG", exif=exif)).size == Size(20, 10)


def test_metadata_does_not_travel_on() -> None:
    data = with_orientation(noise(60, 60), 6, "JPEG", icc_profile=b"profile")
    sent = encode(View.of(load_image(data), TokenBudget(4)))
    assert Image.open(io.BytesIO(sent)).info == {}


# ── broken and hostile files ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000"])
def test_files_cut_off_anywhere_are_named(format: str) -> None:
    whole = saved(noise(64, 64), format)
    for part in (0.02, 0.3, 0.6, 0.95):
        assert kind_of(whole[: int(len(whole) * part)]) in {"truncated", "broken", "not_a_picture"}
    assert load_image(whole).size == Size(64, 64)


def test_a_jpeg_or_png_that_breaks_off_is_called_so() -> None:
    for format in ("JPEG", "PNG"):
        whole = saved(noise(200, 200), format)
        assert kind_of(whole[: len(whole) // 2]) == "truncated"


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header is true to form and whose pixels are missing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    before = Image.MAX_IMAGE_PIXELS
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(png_of_size(60_000, 60_000)) == "too_large"
        assert kind_of(png_of_size(2_000_000, 10)) == "too_large", "a sliver, small in area"
        assert kind_of(saved(noise(20, 10), "PNG"), max_pixels=199) == "too_large"
        assert load_image(saved(noise(20, 10), "PNG"), max_pixels=200).size == Size(20, 10)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_only_our_own_limit_counts(format: str, monkeypatch: Any) -> None:
    data = saved(noise(300, 200), format)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 900)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = load_image(data)
        assert View.of(picture, TokenBudget(4)).pixels.size == (56, 28)


def corrupted(data: bytes, generator: random.Random) -> bytes:
    """A file with a few bytes changed, cut out, doubled or cut off."""
    broken = bytearray(data)
    for _ in range(generator.randint(1, 12)):
        at = generator.randrange(len(broken)) if generator.random() < 0.6 else generator.randrange(min(64, len(broken)))
        step = generator.choice(("change", "change", "cut", "double", "end", "zero"))
        if step == "change":
            broken[at] = generator.randrange(256)
        elif step == "cut":
            del broken[at : at + generator.randint(1, 9)]
        elif step == "double":
            broken[at:at] = broken[at : at + 40]
        elif step == "end" and generator.random() < 0.3:
            del broken[max(at, 20) :]
        else:
            broken[at : at + 4] = bytes(4)
    return bytes(broken)


def odd_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb, palette = noise(40, 30), noise(40, 30).quantize(16)
    return [
        saved(rgb, "JPEG", exif=exif),
        saved(rgb, "JPEG", progressive=True),
        saved(noise(40, 30, "CMYK"), "JPEG"),
        saved(rgb, "PNG", exif=exif),
        saved(palette, "PNG", transparency=3),
        saved(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)), "PNG"),
        saved(rgb, "WEBP", lossless=True, exif=exif),
        saved(rgb, "TIFF", exif=exif),
        saved(rgb, "TIFF", compression="tiff_lzw"),
        saved(Image.fromarray(np.ones((30, 40), dtype=np.float32)), "TIFF"),
        saved(palette, "GIF", save_all=True, append_images=[noise(40, 30, seed=1).quantize(16)]),
        saved(rgb, "BMP"),
        saved(rgb, "AVIF"),
        saved(rgb, "JPEG2000"),
        saved(rgb, "PPM"),
        saved(rgb, "ICO"),
        b"qoif" + struct.pack(">IIBB", 40, 30, 3, 0) + bytes(2000),
    ]


def test_five_hundred_broken_files_give_a_picture_or_a_named_error() -> None:
    files = odd_files()
    for data in files:
        assert load_image(data).size.area > 0
    generator = random.Random(5)
    outcomes: dict[str, int] = {}
    for number in range(500):
        data = corrupted(files[number % len(files)], generator)
        try:
            view = View.of(load_image(data, max_pixels=4_000_000), TokenBudget(16))
            assert view.pixels.size == (view.size.width, view.size.height)
            outcome = "picture"
        except PictureError as error:
            outcome = error.kind
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes["picture"] > 50, outcomes
    assert set(outcomes) <= {
        "picture",
        "empty",
        "not_a_picture",
        "too_large",
        "truncated",
        "broken",
        "unsupported_mode",
    }


# ── views ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA"])
@pytest.mark.parametrize("strip", [1, 77, 1 << 20])
def test_strips_change_nothing(mode: str, strip: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip)
    picture = Picture(noise(90, 70, mode))
    whole = picture.pixels
    shown = ((Box(0, 0, 90, 70), Size(28, 56)), (Box(11, 13, 52, 20), Size(112, 28)), (Box(3, 2, 43, 66), Size(56, 28)))
    for box, size in shown:
        expected = whole.crop(box.corners).resize((size.width, size.height), Image.Resampling.BICUBIC)
        assert same(picture.part(box, size), expected)


def test_pictures_of_images_in_memory_are_not_copied() -> None:
    image = noise(30, 20)
    assert Picture(image).pixels is image
    assert Picture(image, "name").name == "name"


@pytest.mark.parametrize("size", [(1, 1), (1, 100_000), (100_000, 1), (3, 2), (2000, 3)])
@pytest.mark.parametrize("patch", [28, 32])
def test_any_size_can_be_shown(size: tuple[int, int], patch: int) -> None:
    view = View.of(Picture(Image.new("RGB", size, (9, 99, 199))), TokenBudget(64, patch=patch))
    assert 1 <= view.tokens <= 64
    assert view.pixels.size == (view.size.width, view.size.height)
    assert view.pixels.getcolors() == [(view.size.area, (9, 99, 199))]


def test_a_region_is_cut_to_the_picture_and_one_outside_is_named() -> None:
    picture = Picture(noise(100, 50))
    assert View.of(picture, TokenBudget(16), Box(-9, 20, 30, 99)).box == Box(0, 20, 30, 50)
    with pytest.raises(PictureError) as caught:
        View.of(picture, TokenBudget(16), Box(100, 0, 120, 10))
    assert caught.value.kind == "outside"
    with pytest.raises(ValueError, match="not inside"):
        picture.part(Box(0, 0, 101, 50), Size(28, 28))


class Nothing:
    """A picture of any size without pixels."""

    def __init__(self, size: Size) -> None:
        self.size = size

    def strips(self, box: Box) -> Any:
        raise AssertionError("frames are arithmetic: no pixel should be asked for")


sides = st.one_of(st.integers(1, 40), st.integers(1, 100_000))
shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(sides, sides, shares, shares, shares, shares, st.integers(1, 2000), st.sampled_from((28, 32)))
def test_there_and_back_within_half_a_pixel_of_the_coarser_grid(
    width: int, height: int, bx: list[float], by: list[float], x: list[float], y: list[float], budget: int, patch: int
) -> None:
    left, top = int(bx[0] * (width - 1)), int(by[0] * (height - 1))
    box = Box(left, top, max(left + 1, int(bx[1] * width)), max(top + 1, int(by[1] * height)))
    view = View.of(Picture(Nothing(Size(width, height))), TokenBudget(budget, min(4, budget), patch), box)
    box = view.box  # a thin one is widened
    there = (x[0] * view.size.width, y[0] * view.size.height, x[1] * view.size.width, y[1] * view.size.height)
    source = view.to_source(*there)
    if there[0] == there[2] or there[1] == there[3]:
        assert source is None
        return
    assert source is not None
    assert source.clamped(view.picture.size) == source
    assert source.intersection(box) == source.area, "inside the view"
    back = view.from_source(source)
    for axis, shown, real in ((0, view.size.width, box.size.width), (1, view.size.height, box.size.height)):
        pixel = max(1.0, shown / real)  # one pixel of the coarser grid, counted in pixels of the view
        thin = (there[axis + 2] - there[axis]) < shown / real  # widened to the source pixel it lies in
        for edge in (axis, axis + 2):
            assert abs(back[edge] - there[edge]) <= (1.0 if thin else 0.5) * pixel + 1e-6


@given(sides, sides, st.integers(1, 2000), st.data())
def test_a_source_box_comes_back_exactly(width: int, height: int, budget: int, data: Any) -> None:
    view = View.of(Picture(Nothing(Size(width, height))), TokenBudget(budget, min(4, budget)))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    assert view.to_source(*view.from_source(box)) == box


@given(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4))
def test_any_four_numbers_give_a_box_inside_or_nothing(numbers: tuple[float, float, float, float]) -> None:
    view = View.of(Picture(Nothing(Size(1000, 700))), TokenBudget(100), Box(100, 100, 800, 500))
    box = view.to_source(*numbers)
    if box:
        assert box.intersection(view.box) == box.area


@pytest.mark.parametrize(
    ("numbers", "box"),
    [
        ((0, 0, 280, 140), Box(0, 0, 1000, 500)),
        ((-1e300, -5, 1e300, float("inf")), Box(0, 0, 1000, 500)),
        ((-9, 10, -0.1, 20), None),
        ((280, 0, 300, 140), None),
        ((20, 20, 10, 30), None),
        ((10, 30, 20, 20), None),
        ((20, 20, 20, 30), None),
        ((float("nan"), 0, 10, 10), None),
        ((279.99, 139.99, 280, 140), Box(999, 499, 1000, 500)),
        ((14, 14, 14.01, 14.01), Box(50, 50, 51, 51)),
        ((14.15, 14.15, 14.2, 14.2), Box(50, 50, 51, 51)),  # both round to 51; the middle lies in 50
        ((14, 14, 14.15, 28), Box(50, 50, 51, 100)),
    ],
)
def test_where_a_box_of_the_view_lies(numbers: tuple[float, float, float, float], box: Box | None) -> None:
    view = View(Picture(Nothing(Size(1000, 500))), Box(0, 0, 1000, 500), Size(280, 140), TokenBudget(50))
    assert view.to_source(*numbers) == box


@pytest.mark.parametrize("format", get_args(Format))
def test_what_is_sent_is_lossless_and_the_same_each_time(format: Any) -> None:
    view = View.of(Picture(noise(300, 200)), TokenBudget(24))
    assert encode(view, format) is encode(view, format), "made once"
    assert same(Image.open(io.BytesIO(encode(view, format))).convert("RGB"), view.pixels)
    assert data_uri(view, format).startswith(f"data:image/{format.removeprefix('stored-')};base64,")
    assert same(load_image(data_uri(view, format)).pixels, view.pixels)
    assert encode(View.of(Picture(noise(300, 200)), TokenBudget(24)), format) == encode(view, format)


# ── very large files ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def vips(monkeypatch: Any) -> None:
    """Files from 10,000 pixels up count as very large."""
    pytest.importorskip("tifffile", reason="the extra ergo-vlm[tiff] is not installed")
    pytest.importorskip("pyvips", reason="the extra ergo-vlm[vips] is not installed", exc_type=ImportError)
    monkeypatch.setattr(disk, "MIN_STREAMING_PIXELS", 10_000)
    monkeypatch.setattr(strips, "STRIP_PIXELS", 2_000)


TIFFS: list[dict[str, Any]] = [{}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"tile": True}]


@pytest.mark.usefixtures("vips")
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("how", [{"format": "PNG"}, *({"format": "TIFF", **how} for how in TIFFS)])
def test_strips_from_disk_equal_a_full_decode(mode: str, how: dict[str, Any], tmp_path: Path) -> None:
    image, path = noise(400, 300, mode), tmp_path / "large [1].file"
    if how.get("tile"):
        import pyvips

        pyvips.Image.new_from_array(np.asarray(image)).tiffsave(
            str(tmp_path / "t.tif"), tile=True, tile_width=64, tile_height=64
        )
        (tmp_path / "t.tif").rename(path)
    else:
        image.save(path, **how)
    picture, full = load_image(path), load_image(Image.open(path))
    assert picture.lazy
    assert same(picture.pixels, full.pixels)
    assert same(full.pixels, image.convert("RGB"))
    for box in (None, Box(30, 200, 333, 290)):
        assert same(View.of(picture, TokenBudget(12), box).pixels, View.of(full, TokenBudget(12), box).pixels)


@pytest.mark.usefixtures("vips")
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_turned_files_are_never_left_to_pyvips(orientation: int, format: str, tmp_path: Path) -> None:
    path = tmp_path / "turned"
    path.write_bytes(with_orientation(noise(300, 200), orientation, format))
    with Image.open(path) as image:
        assert same(load_image(path).pixels, ImageOps.exif_transpose(image))


@pytest.mark.usefixtures("vips")
def test_what_pyvips_would_show_otherwise_is_decoded_by_pillow(tmp_path: Path) -> None:
    rgb = noise(300, 200)
    files: dict[str, Callable[[Path], None]] = {
        "alpha": lambda path: noise(300, 200, "RGBA").save(path, "PNG"),
        "colour key": lambda path: rgb.save(path, "PNG", transparency=(1, 2, 3)),
        "palette": lambda path: rgb.quantize(9).save(path, "PNG"),
        "jpeg": lambda path: rgb.save(path, "JPEG"),
        "small": lambda path: noise(30, 20).save(path, "PNG"),
    }
    for name, save in files.items():
        save(tmp_path / name)
        assert not isinstance(load_image(tmp_path / name).stored, PixelsOnDisk), name


@pytest.mark.usefixtures("vips")
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_file_that_breaks_off_is_told_when_the_view_is_made(format: str, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    whole = saved(noise(300, 200), format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    path.write_bytes(whole if format == "TIFF" else whole[: len(whole) // 2])
    if format == "TIFF":  # its directory stands at the end: spoil the pixels instead
        path.write_bytes(whole[:5000] + bytes(60_000) + whole[65_000:])
    with pytest.raises(PictureError) as caught:
        View.of(load_image(path), TokenBudget(12))
    assert caught.value.kind in {"truncated", "broken"}


@pytest.mark.usefixtures("vips")
def test_without_pyvips_pillow_does_it_all(tmp_path: Path, monkeypatch: Any) -> None:
    import sys

    path = tmp_path / "large.png"
    noise(300, 200).save(path)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    assert not isinstance(load_image(path).stored, PixelsOnDisk)


@pytest.mark.usefixtures("vips")
def test_threads_read_one_file_together(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    noise(400, 300).save(path)
    picture = load_image(path)
    boxes = [Box(10 * n, 5 * n, 10 * n + 100, 5 * n + 90) for n in range(8)]
    shown: dict[int, Image.Image] = {}
    threads = [
        threading.Thread(target=lambda n=n, box=box: shown.update({n: picture.part(box, Size(56, 56))}))
        for n, box in enumerate(boxes)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, box in enumerate(boxes):
        assert same(shown[n], picture.part(box, Size(56, 56)))


def test_a_header_says_size_and_cost_before_anything_is_decoded(tmp_path: Path) -> None:
    plain = Image.new("RGB", (300, 200), "navy")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    for kind, extra, size, cost in (
        ("JPEG", {}, Size(300, 200), 4), ("JPEG", {"progressive": True}, Size(300, 200), 10),
        ("JPEG", {"exif": exif}, Size(200, 300), 4), ("PNG", {"exif": exif}, Size(200, 300), 4),
        ("WEBP", {}, Size(300, 200), 16), ("JPEG2000", {}, Size(300, 200), 20), ("TIFF", {}, Size(300, 200), 8),
    ):  # fmt: skip
        out = io.BytesIO()
        plain.save(out, kind, **extra)
        header = read_header(out.getvalue())
        assert header.size == size == load_image(out.getvalue()).size, kind
        assert header.memory == 60_000 * cost, kind
    with pytest.raises(PictureError):
        read_header(b"\xff\xd8\xff nothing")


def test_a_data_uri_of_escapes_or_blanks_costs_little_memory() -> None:
    """20 million escapes were 5 GB."""
    for body in ("%41" * 5_000_000, "A " * 7_000_000):
        tracemalloc.start()
        with contextlib.suppress(PictureError):
            bytes_of_uri("data:image/png;base64," + body)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 * len(body)


def test_the_signs_of_base64_may_be_escaped() -> None:
    out = io.BytesIO()
    Image.new("RGB", (9, 9), "red").save(out, "PNG")
    text = base64.b64encode(out.getvalue()).decode()
    escaped = text.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D")
    assert bytes_of_uri("data:image/png;base64," + escaped[:40] + "%0A" + escaped[40:]) == out.getvalue()


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(PictureError, match="the name of the picture is empty"):
        load_image("")
