"""Any part of any picture, at any size, has the bits that Pillow's own crop and resize give it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from ergo.core.geometry import Box, Size
from ergo.images import strips
from ergo.images.decode import load_image
from ergo.images.passes import shortens_first
from ergo.images.picture import Picture
from ergo.images.turn import TURN

Case = tuple[Size, Box, Size]


def side(generator: random.Random, most: int) -> int:
    """Each order of magnitude as likely."""
    return min(most, round(most ** generator.random() * generator.uniform(0.8, 1.2)) or 1)


def case(generator: random.Random, most: int = 1500, pixels: int = 300_000) -> Case:
    """Size of a picture, a region of it, and the size shown: slivers, parts enlarged and parts left as they are too."""
    width = side(generator, most)
    size = Size(width, max(1, min(side(generator, most), pixels // width)))
    if generator.random() < 0.2:
        size = Size(size.height, size.width)
    box = Box.whole(size)
    if generator.random() < 0.7:
        left, top = generator.randrange(size.width), generator.randrange(size.height)
        box = Box(left, top, generator.randint(left + 1, size.width), generator.randint(top + 1, size.height))
    shown = Size(side(generator, 500), side(generator, 500))
    match generator.randrange(6):
        case 0:  # one side as it is
            shown = Size(box.size.width, shown.height)
        case 1:
            shown = Size(shown.width, box.size.height)
        case 2 | 3:  # about the same shape, as a view has
            by = generator.uniform(1, 12)
            shown = Size(max(1, round(box.size.width / by)), max(1, round(box.size.height / by)))
        case 4:  # just where Pillow changes the order
            less = generator.randrange(box.size.width)
            height = box.size.height - 2 * less + generator.randint(-2, 2)
            shown = Size(box.size.width - less, max(1, height))
    return size, box, shown


def pixels(size: Size, seed: int) -> Image.Image:
    """Noise, and black and white, where filters overshoot."""
    values = np.random.default_rng(seed).integers(0, 256, (size.height, size.width, 3), np.uint8)
    values[: size.height // 2] = (values[: size.height // 2] > 127) * np.uint8(255)
    return Image.fromarray(values)


def pillow(image: Image.Image, box: Box, shown: Size) -> Image.Image:
    return image.crop(box.corners).resize((shown.width, shown.height), Image.Resampling.BICUBIC)


def check(count: int, seed: int) -> None:
    generator, shortened = random.Random(seed), 0
    for number in range(count):
        size, box, shown = case(generator)
        image = pixels(size, number)
        found, expected = Picture(image).part(box, shown), pillow(image, box, shown)
        assert found.tobytes() == expected.tobytes(), (size, box, shown)
        shortened += shortens_first(box.size, shown)
    assert 0.1 * count < shortened < 0.9 * count, "both orders"


@pytest.mark.parametrize("strip_pixels", [1, 700, 1 << 20])
def test_thousands_of_parts_have_pillows_bits(strip_pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip_pixels)
    check(300 if strip_pixels == 1 else 1500, seed=strip_pixels)


@pytest.mark.slow
def test_a_hundred_thousand_parts_have_pillows_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", 10_000)
    check(100_000, seed=4)


def test_large_parts_have_pillows_bits() -> None:
    generator = random.Random(5)
    for number in range(6):
        size, box, shown = case(generator, 9000, 12_000_000)
        image = pixels(size, number)
        assert Picture(image).part(box, shown).tobytes() == pillow(image, box, shown).tobytes(), (size, box, shown)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_parts_of_a_pyramids_largest_level_have_pillows_bits_however_it_is_turned(
    orientation: int, tmp_path: Path
) -> None:
    tifffile, generator, path, checked = pytest.importorskip("tifffile"), random.Random(6), tmp_path / "a.tif", 0
    for number in range(40):
        size, box, shown = case(generator, 600, 60_000)
        image = pixels(size, number)
        half = image.resize((max(1, size.width // 2), max(1, size.height // 2)))
        tag = [(ExifTags.Base.Orientation, "H", 1, orientation, True)]
        how = {"photometric": "rgb", "tile": (64, 64), "metadata": None}
        with tifffile.TiffWriter(path) as file:
            file.write(np.asarray(image), subifds=1, extratags=tag, **how)
            file.write(np.asarray(half), subfiletype=1, **how)
        picture = load_image(path)
        upright = image.transpose(TURN[orientation]) if orientation in TURN else image
        if box.clamped(picture.size) != box:
            box = Box.whole(picture.size)
        if picture.read_size(box, shown) == picture.size:
            assert picture.part(box, shown).tobytes() == pillow(upright, box, shown).tobytes(), (size, box, shown)
            checked += 1
    assert checked > 20
