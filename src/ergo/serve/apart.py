"""Pictures decoded in a process of their own, as a file: a decoder that holds Python's lock would hold up everybody.

Pillow's for JPEG 2000 does, for 130 ms a megapixel; its QOI is Python, 600 ms a megapixel.
"""

from __future__ import annotations

import io
import subprocess
import sys

from PIL import Image

SLOW = (b"\x00\x00\x00\x0cjP  ", b"\xff\x4f\xff\x51", b"qoif")
"""What files of these kinds begin with."""


def decodes_apart(encoded: bytes) -> bool:
    """Whether this is such a file."""
    return encoded.startswith(SLOW)


def decoded_apart(encoded: bytes, seconds: float) -> bytes:
    """The same picture as a file that is not compressed; ValueError where it is broken, or takes longer."""
    try:
        done = subprocess.run([sys.executable, __file__], input=encoded, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise ValueError(f"it was not decoded within {seconds:.0f} s") from None
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200] or "its decoder ended")
    return done.stdout


def main() -> None:
    """From standard input to standard output. Who starts this has judged the header."""
    Image.MAX_IMAGE_PIXELS = None
    with Image.open(io.BytesIO(sys.stdin.buffer.read()), formats=("JPEG2000", "QOI")) as image:
        kind = "TIFF" if image.mode == "CMYK" else "PNG"
        image.save(out := io.BytesIO(), kind, compress_level=0)
    sys.stdout.buffer.write(out.getbuffer())


if __name__ == "__main__":
    main()
