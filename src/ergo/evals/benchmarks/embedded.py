"""Pictures that travel inside a table, and what the tables have in common."""

from __future__ import annotations

import base64
import binascii
import hashlib

from ergo.errors import DataError


def picture_bytes(encoded: str | bytes, where: str) -> bytes:
    """The file that stands in a cell as base64, or as bytes."""
    if isinstance(encoded, bytes):
        return encoded
    try:
        return base64.b64decode(encoded)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{where}: its picture is not base64 ({error})") from error


def fingerprint(*parts: str | bytes) -> str:
    """A short name for what these parts say, the same in every run."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def chosen(letter: str, options: dict[str, str], where: str) -> str:
    """The text of the right option."""
    letter = letter.strip().strip("().").upper()
    if letter not in options:
        raise DataError(f"{where}: the right option is {letter!r}, and there are {', '.join(options)}")
    return options[letter]
