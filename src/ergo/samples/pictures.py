"""A picture as a cell holds it: a path, bytes, `{bytes, path}`, base64, a data URI, an address; one in a list."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ergo.samples.options import is_missing

# How encoded pictures begin, as base64: JPEG, PNG, GIF, WebP, BMP, TIFF (both orders), JPEG 2000, AVIF.
_BASE64 = ("/9j/", "iVBOR", "R0lGOD", "UklGR", "Qk", "SUkq", "TU0A", "AAAADGpQ", "AAAAHGZ0eXBhdmlm", "AAAAIGZ0eXBhdmlm")
REFERENCE = 64  # signs; a cell no longer than this is a path, or in VLMEvalKit's tables names another row


def picture_of(cell: Any, base: str) -> bytes | str | Path | None:
    """The picture in a cell; None where it holds none. base: what a relative path starts from. ValueError says what is wrong."""
    if isinstance(cell, Mapping):
        found = picture_of(cell.get("bytes"), base) if cell.get("bytes") else None
        return picture_of(cell.get("path"), base) if found is None else found
    if isinstance(cell, str) and cell.startswith("[") and cell.endswith("]"):
        cell = [part.strip().strip("'\"") for part in cell[1:-1].split(",")]
    if isinstance(cell, Sequence) and not isinstance(cell, str | bytes):
        if len(cell) > 1:
            raise ValueError(f"{len(cell)} pictures; a look is at one")
        return picture_of(cell[0], base) if len(cell) else None
    if isinstance(cell, bytes | bytearray):
        return bytes(cell) or None
    if is_missing(cell):
        return None
    if not isinstance(cell, str):
        raise ValueError(f"a picture is a path, an address, bytes or base64, not {cell!r}")
    cell = cell.strip()
    if is_encoded(cell):
        try:
            return base64.b64decode(cell, validate=False)
        except (binascii.Error, ValueError) as error:
            raise ValueError(f"its picture is not base64 ({error})") from error
    if not cell:
        return None
    if "\0" in cell or "\n" in cell:
        raise ValueError(f"{cell[:40]!r} is no path")
    text: str = cell
    if text.startswith("data:") or "://" in text:
        return text.replace(" ", "%20") if text.startswith(("http://", "https://")) else text
    if "\\" in text and "/" not in text and not (Path(base) / text).is_file():
        text = text.replace("\\", "/")  # a path as Windows writes it
    return f"{base.rstrip('/')}/{text}" if "://" in base and not text.startswith("/") else Path(base) / text


def is_encoded(cell: str) -> bool:
    """Whether a text is a picture as base64."""
    return len(cell) > REFERENCE and cell.startswith(_BASE64) and "." not in cell[:200]
