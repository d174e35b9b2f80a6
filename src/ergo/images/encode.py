"""A View as a file: without loss, without metadata, the same bytes each time."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal

from ergo.core.view import View

Format = Literal["png", "webp", "bmp"]


def encode(view: View, format: Format = "png") -> bytes:
    """The view as a file, without loss and without metadata; made once per view and kept.

    1148x840 noisy pixels: png 123 ms and 2.7 MB, webp 37 ms and 2.9 MB, bmp 1 ms and 3.9 MB. bmp suits
    a server on this machine, png any server.
    """
    if format not in view.encoded:
        how: dict[str, Any] = {"png": {"compress_level": 1}, "webp": {"lossless": True, "method": 0}}.get(format, {})
        out = io.BytesIO()
        view.pixels.save(out, format, **how)
        view.encoded[format] = out.getvalue()
    return view.encoded[format]


def data_uri(view: View, format: Format = "png") -> str:
    """The view as a data URI, the same to the byte each time: a server's prefix cache depends on it."""
    return f"data:image/{format};base64,{base64.b64encode(encode(view, format)).decode('ascii')}"
