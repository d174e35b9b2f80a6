"""Does a training set hold a benchmark's pictures? Perceptual hashes: 64 bits that survive scaling and recompression.

imagehash's `phash` (signs of the lowest 8 x 8 frequencies of a 32 x 32 grey copy). Two hashes of one
picture differ in few bits, of two pictures in about 32 of 64. NEAR was chosen on pictures scaled to a
fifth and recompressed (tests/data/test_likeness.py). A crop of a picture is another picture to it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ergo.core.errors import MissingExtra
from ergo.core.geometry import Box, Size
from ergo.images.address import open_picture
from ergo.images.decode import PictureSource
from ergo.images.picture import Picture

NEAR = 8  # bits of 64


def picture_hash(picture: Picture) -> int:
    """64 bits; like pictures have like bits."""
    try:
        from imagehash import phash
    except ImportError as error:
        raise MissingExtra("comparing pictures", "data") from error
    # a quarter megapixel is plenty, and an 8K picture is never copied whole
    shrink = max(1.0, (picture.size.area / 2**18) ** 0.5)
    small = Size(max(1, round(picture.size.width / shrink)), max(1, round(picture.size.height / shrink)))
    bits = phash(picture.part(Box.whole(picture.size), small)).hash.ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


class Known:
    """Hashes of pictures that must not be trained on."""

    def __init__(self, pictures: Iterable[PictureSource]) -> None:
        self.hashes = np.array([picture_hash(open_picture(picture)) for picture in pictures], dtype=np.uint64)

    def distance(self, picture: Picture) -> int:
        """Bits, 0..64, between `picture` and the nearest known one; 64 where none is known."""
        if not len(self.hashes):
            return 64
        differing = (self.hashes ^ np.uint64(picture_hash(picture))).view(np.uint8)
        return int(np.unpackbits(differing).reshape(-1, 64).sum(axis=1).min())
