"""In which encoding a file of text is: a byte order mark, UTF-8, or what charset-normalizer finds likeliest."""

from __future__ import annotations

import codecs

from ergo.core.errors import MissingExtra

SAMPLE = 1 << 20  # bytes that are looked at
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LIKELY = ["gb18030", "big5", "cp932", "euc_kr", "cp1252", "cp1251"]


def encoding_of(start: bytes) -> str:
    """The encoding of a file that begins so. Only text that is no UTF-8 is guessed at."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if start[1:2] == b"\0" and start[:1].isascii():
        return "utf-16-le"
    if start[:1] == b"\0" and start[1:2].isascii():
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        from charset_normalizer import from_bytes
    except ImportError as error:
        raise MissingExtra("reading text that is not UTF-8", "eval") from error
    best = from_bytes(start[: 1 << 16], cp_isolation=LIKELY).best()
    return best.encoding if best else "cp1252"
