"""EXIF orientation: which part of the stored pixels is which part of the upright picture."""

from __future__ import annotations

from PIL import Image

from ergo.core.geometry import Box, Size

TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the stored pixels upright."""


def stored_box(box: Box, stored: Size, orientation: int) -> Box:
    """Where `box` of the upright picture lies among the stored pixels.

    >>> stored_box(Box(0, 0, 10, 20), Size(100, 50), 6)
    Box(left=0, top=40, right=20, bottom=50)
    """
    left, top, right, bottom = box.corners
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = stored.width - right, stored.width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = stored.height - bottom, stored.height - top
    return Box(left, top, right, bottom)
