"""The size of a JPEG XL is known before its plugin decodes it."""

from __future__ import annotations

import io
import random

import pytest
from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Size
from ergo.images.decode import load_image, read_header
from ergo.images.formats import register_plugins
from ergo.images.jxl import CODESTREAM, CONTAINER, declared_size


def bits(*fields: tuple[int, int]) -> bytes:
    """A codestream that opens with (value, count of bits), from the lowest on."""
    number, place = 0, 0
    for value, count in fields:
        number |= value << place
        place += count
    return CODESTREAM + number.to_bytes(12, "little")


def box(kind: bytes, content: bytes, long: bool = False) -> bytes:
    if long:
        return (1).to_bytes(4, "big") + kind + (len(content) + 16).to_bytes(8, "big") + content
    return (len(content) + 8).to_bytes(4, "big") + kind + content


FAR = (0, 1), (3, 2), (30_000 - 1, 30), (0, 3), (3, 2), (40_000 - 1, 30)
"""40,000 x 30,000."""
BOMBS = {
    "bare": bits(*FAR),
    "in a box": CONTAINER + box(b"ftyp", b"jxl \0\0\0\0jxl ") + box(b"jxlc", bits(*FAR)),
    "behind Exif": CONTAINER + box(b"Exif", bytes(100_000)) + box(b"jxlc", bits(*FAR), long=True),
    "in parts": CONTAINER + box(b"jxlp", bytes(4) + bits(*FAR)),
}


@pytest.mark.parametrize("encoded", BOMBS.values(), ids=BOMBS)
def test_one_beyond_the_limit_is_refused_by_its_header(encoded: bytes) -> None:
    assert declared_size(io.BytesIO(encoded)) == Size(40_000, 30_000)
    assert read_header(encoded).memory == 12_000_000_000
    with pytest.raises(PictureError, match="40000x30000 pixels, more than the limit"):
        load_image(encoded)


def test_a_turned_one_has_its_sides_changed() -> None:
    turned = bits((1, 1), (7, 5), (0, 3), (11, 5), (0, 1), (1, 1), (5, 3))  # 96 x 64, stored on its side
    assert declared_size(io.BytesIO(turned)) == Size(64, 96)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 11, 12, 14, 19])
@pytest.mark.parametrize("name", BOMBS)
def test_one_that_is_cut_off_before_it_says_so_declares_nothing(name: str, cut: int) -> None:
    assert (cut > 4 and name == "bare") or declared_size(io.BytesIO(BOMBS[name][:cut])) is None


def test_what_encoders_write_is_declared() -> None:
    pytest.importorskip("pillow_jxl", reason="JPEG XL is an extra")
    register_plugins()
    chance = random.Random(0)
    sides = [1, 2, 7, 8, 256, 257, 513, 1000]
    for number in range(40):
        size = (chance.choice([*sides, 8193]), chance.choice(sides))
        if number % 3 == 0:
            across, down = chance.choice([(1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1)])
            size = (max(size[1] * across // down, 1), size[1])
        out = io.BytesIO()
        Image.new("RGB", size, (9, 8, 7)).save(out, "JXL", use_container=number % 2 == 0)
        assert declared_size(out) is None  # at its end
        out.seek(0)
        assert declared_size(out) == Size(*size)
        assert out.tell() == 0
