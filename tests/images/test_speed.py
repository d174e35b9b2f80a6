"""What the extra `fast` makes quicker is the same with it and without: files, pixels and what may differ in them."""

from __future__ import annotations

import subprocess
import sys


def test_without_the_extra_the_files_hold_the_same_pixels() -> None:
    code = """
import sys
if len(sys.argv) > 1:
    for name in ("simplejpeg", "cykooz_resizer", "isal", "pybase64"): sys.modules[name] = None
import hashlib
import numpy as np
from ergo.core.geometry import Size, TokenBudget
from ergo.core.view import View
from ergo.images.decode import load_image
from ergo.images.encode import data_uri
from ergo.images.picture import Picture
from PIL import Image
rgb = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
view = View.of(Picture(Image.fromarray(rgb)), TokenBudget(64))
for format in ("png", "stored-png"):
    shown = load_image(data_uri(view, format)).pixels
    assert shown.tobytes() == view.pixels.tobytes()
print(hashlib.sha256(view.pixels.tobytes()).hexdigest())
"""
    found = {
        subprocess.run([sys.executable, "-c", code, *extra], check=True, capture_output=True, text=True).stdout
        for extra in ((), ("without",))
    }
    assert len(found) == 1
