"""Files that decoders refuse for what does not concern their pixels: put right in memory, and decoded then."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin

from ergo.core.errors import PictureError

MAX_CHUNK = 1 << 20
"""Bytes that a PNG's text may have: Pillow's own limit, above which it refuses the picture."""
MAX_PROFILE = 16 << 20
"""Bytes of the largest colour profile: those of printers have tables of several MB."""

_PNG = b"\x89PNG\r\n\x1a\n"
_END = b"\xff\xd9"  # of a JPEG


@dataclass(frozen=True)
class Mended:
    """A file to be decoded in place of the one refused. profile: what was taken out of it and is still meant."""

    file: IO[bytes]
    profile: bytes = b""


def mended(file: IO[bytes], refusal: PictureError) -> Mended | None:
    """The same picture as a file that is not refused; None where there is no other reading of it."""
    file.seek(0)
    start = file.read(8)
    file.seek(0)
    if start == _PNG and "MAX_TEXT" in str(refusal):
        return _without_large_texts(file)
    if start == _PNG and refusal.kind == "truncated":
        return _with_its_last_chunk(file)
    if start[:2] == b"\xff\xd8" and refusal.kind == "truncated":
        return _with_its_end(file.read())
    return None


def _without_large_texts(file: IO[bytes]) -> Mended:
    """A PNG without the texts that are too large for Pillow, and with its profile apart."""
    kept, profile = [file.read(8)], b""
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        body = file.read(length + 4)
        if kind == b"iCCP":
            profile = _inflated(body[body.find(b"\0") + 2 : -4], MAX_PROFILE) or b""
        elif kind not in (b"tEXt", b"zTXt", b"iTXt") or (length < MAX_CHUNK and not _is_large(kind, body[:-4])):
            kept += [head, body]
    return Mended(io.BytesIO(b"".join(kept)), profile)


def _with_its_last_chunk(file: IO[bytes]) -> Mended:
    """A PNG of its whole chunks alone; whether they hold all pixels its decoder says."""
    kept = [file.read(8)]
    while len(head := file.read(8)) == 8:
        length, _ = struct.unpack(">I4s", head)
        if len(body := file.read(length + 4)) < length + 4:
            break
        kept += [head, body]
    end = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))
    return Mended(io.BytesIO(b"".join([*kept, end])))


def _is_large(kind: bytes, body: bytes) -> bool:
    """Whether a text is compressed and longer than it looks."""
    after = body[body.find(b"\0") + 1 :]
    if kind == b"zTXt":
        return _inflated(after[1:], MAX_CHUNK) is None
    if kind == b"iTXt" and after[:1] == b"\1":
        return _inflated(after[2:].split(b"\0", 2)[-1], MAX_CHUNK) is None
    return False


def _inflated(data: bytes, limit: int) -> bytes | None:
    """None where it is broken or longer than the limit."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, limit)
    except zlib.error:
        return None
    return None if inflater.unconsumed_tail else found


def _with_its_end(content: bytes) -> Mended | None:
    """A JPEG with the end marker it lacks; None where pixels are missing too.

    A decoder fills what is missing with whatever follows. So if it makes no difference what follows, nothing is missing.
    """
    content = content.removesuffix(b"\xff")
    whole = content + _END
    try:
        if np.array_equal(_pixels(whole), _pixels(content + b"\x55\xaa" * 64 + _END)):
            return Mended(io.BytesIO(whole))
    except (OSError, SyntaxError, ValueError):  # as Pillow raises them on files broken in other ways
        pass
    return None


def _pixels(jpeg: bytes) -> np.ndarray:
    image: ImageFile.ImageFile = JpegImagePlugin.JpegImageFile(io.BytesIO(jpeg))
    image.load()
    return np.asarray(Image.Image.copy(image))
