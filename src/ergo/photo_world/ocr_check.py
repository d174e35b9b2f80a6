"""How many texts a good reader reads: from the true crops (goal: 95 %) and from the coarse views (at most 5 %).

    python -m ergo.photo_world.sheets OUT --ocr 60
    OCR_VENV/bin/python src/ergo/photo_world/ocr_check.py OUT

Runs in an environment of its own with `rapidocr` and `onnxruntime`, and imports nothing of ergo.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from PIL import Image

log = logging.getLogger(__name__)


def letters(text: str) -> str:
    """Upper case without spaces, and without what no reader can tell apart: O and 0, I, L and 1."""
    return "".join(text.upper().split()).replace("0", "O").replace("I", "1").replace("L", "1")


def read(engine: Any, path: Path) -> str:
    """Everything that is read in a picture, shown to the reader at three times its size."""
    import numpy as np

    with Image.open(path) as image:
        large = image.convert("RGB").resize((image.width * 3, image.height * 3), Image.Resampling.BICUBIC)
    found = engine(np.asarray(large)[:, :, ::-1])
    return " ".join(found.txts or ())


def main(folder: Path) -> None:
    """Log what was read of each, and the two shares."""
    from rapidocr import RapidOCR

    engine = RapidOCR()
    right = {"crop": 0, "coarse": 0}
    truths = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    for truth in truths:
        for kind in right:
            seen = read(engine, folder / f"{kind}-{truth['number']:03d}.png")
            hit = letters(truth["text"]) in letters(seen)
            right[kind] += hit
            log.info("%-7s%-3s%-12s%s", kind, "ok" if hit else "--", truth["text"], seen)
    for kind, count in right.items():
        log.info("%s: %d of %d", kind, count, len(truths))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]))
