"""What a server's model would see: for fakes that find the red rectangle in the picture they were sent."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

Json = dict[str, Any]


def pictures_of(payload: Json) -> list[Image.Image]:
    """The pictures of a chat request, in order."""
    parts = [part for message in payload["messages"] for part in message["content"] if isinstance(part, dict)]
    urls = [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB") for url in urls]


def red_box(picture: Image.Image) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of what is red, as fractions of the picture."""
    pixels = np.asarray(picture, dtype=int)
    rows, columns = np.nonzero((pixels[..., 0] > 120) & (pixels[..., 1] < 120))
    height, width = pixels.shape[:2]
    sides = columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    return tuple(float(side) for side in sides)  # type: ignore[return-value]
