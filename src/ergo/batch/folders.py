"""The pictures of a folder or glob: found by name and, where a name does not tell, by how the file begins."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from ergo.core.errors import DataError
from ergo.images.address import filesystem, reached
from ergo.images.decode import begins_a_picture, picture_suffixes

log = logging.getLogger(__name__)

START = 32  # bytes that tell a picture


def pictures_in(source: str, others: tuple[str, ...]) -> list[str]:
    """Every picture, sorted, with its full address; what is left out is counted by reason in the log.

    source: a file, a folder, or a glob; a name that is there is taken as it stands, brackets and all.
    others: what else `source` may be, for the message where it holds no picture.
    """
    system, path = filesystem(source)
    with reached(source):
        if system.isdir(path):
            found = system.find(path)
        elif system.exists(path):
            found = [path]
        else:
            found = [one for one in system.glob(path) if not system.isdir(one)]
    left_out: Counter[str] = Counter()
    pictures = []
    for one in sorted(found):
        reason = None if [one] == found else _no_picture(system, one)
        if reason:
            left_out[reason] += 1
        else:
            address: str = system.unstrip_protocol(one)
            pictures.append(address.removeprefix("file://").removeprefix("local://"))
    if left_out:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in left_out.most_common())
        log.warning("%s: %d pictures; left out: %s", source, len(pictures), reasons)
    if not pictures:
        raise DataError(f"{source} holds no pictures; it may be a folder, a glob, or a {', '.join(others)} file")
    return pictures


def _no_picture(system: Any, path: str) -> str | None:
    """Why a file is left out; None for a picture."""
    name = path.rsplit("/", 1)[-1]
    if name.startswith("."):
        return "hidden"
    suffix = "." + name.rsplit(".", 1)[1].lower() if "." in name else ""
    if suffix in picture_suffixes():
        return None
    if system.isdir(path):
        return "links to folders, which are not followed"
    try:
        with system.open(path, "rb") as file:
            start = file.read(START)
    except OSError:
        return "not readable"
    return None if begins_a_picture(start) else f"not pictures ({suffix or 'no suffix'})"
