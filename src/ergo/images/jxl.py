"""How large a JPEG XL says it is. Its plugin for Pillow decodes the picture in order to find out, so that a small file
of strangers could take any memory before a limit was looked at.

Layout: ISO/IEC 18181-1 (size header of a codestream), 18181-2 (boxes).
"""

from __future__ import annotations

from typing import IO

from ergo.core.geometry import Size

CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_WIDTHS_OF_NUMBERS = (9, 13, 18, 30)


def declared_size(file: IO[bytes]) -> Size | None:
    """Width and height in pixels of the upright picture; None where `file` is no JPEG XL, or is cut off before it says
    so. Leaves the file at its beginning.

    >>> import io
    >>> declared_size(io.BytesIO(bytes.fromhex("ff0a0f070013")))
    Size(width=96, height=64)
    """
    start = file.read(12)
    at = 0 if start.startswith(CODESTREAM) else _codestream(file) if start == CONTAINER else None
    head = b""
    if at is not None:
        file.seek(at)
        head = file.read(16)
    file.seek(0)
    return _size(head[2:]) if len(head) > 4 and head.startswith(CODESTREAM) else None


def _codestream(file: IO[bytes]) -> int | None:
    """Where it begins in a container: in its only part, or in the first of several, behind its number."""
    at = 0
    while len(head := _at(file, at, 16)) >= 8:
        size, kind, data = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:  # the length follows, in eight bytes
            size, data = int.from_bytes(head[8:16], "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            return at + data + (4 if kind == b"jxlp" else 0)
        if size < data:  # 0: to the end of the file
            return None
        at += size
    return None


def _at(file: IO[bytes], at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _size(head: bytes) -> Size:
    """The size header and the orientation behind it: bits from the lowest on, missing ones zero."""
    bits, place = int.from_bytes(head, "little"), 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        return bits >> (place - count) & ((1 << count) - 1)

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take(_WIDTHS_OF_NUMBERS[take(2)]) + 1

    height, ratio = side(), take(3)
    across, down = _RATIOS[ratio - 1] if ratio else (0, 1)
    width = height * across // down if ratio else side()
    all_default, extra_fields = take(1), take(1)
    turned = not all_default and extra_fields and take(3) >= 4
    return Size(height, width) if turned else Size(width, height)
