"""Contact sheets: what the world looks like, for a person to look at, and pictures for an OCR check.

    python -m ergo.photo_world.sheets OUT --split test

OUT/sheet.png has twelve pictures: the coarse view enlarged with the true region drawn, the true crop below it, the
question and its answer. OUT/crop-*.png and OUT/coarse-*.png with OUT/truth.jsonl are what ocr_check.py reads.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ergo.core.geometry import Box
from ergo.photo_world.assets import SPLITS, Assets, assets_of
from ergo.photo_world.lessons import CLOSE, COARSE, snapped, view, with_options
from ergo.photo_world.questions import CATEGORIES, PosedQuestion, pose, region_of
from ergo.photo_world.scene import Scene, compose

CELL = 420  # pixels, width of one picture on the sheet
ROW = 800  # its height, of which 435 for the view and 75 for words


def draw_sheet(assets: Assets, path: Path, first: int = 0) -> None:
    """Twelve pictures with their questions, the categories in turn."""
    sheet = Image.new("RGB", (4 * CELL, 3 * ROW), "white")
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    number, seed = 0, first
    while number < 12:
        seed += 1
        scene = compose(seed, assets)
        posed = pose(scene, np.random.default_rng(seed), CATEGORIES[number % len(CATEGORIES)], scene.things[0])
        if posed is None:
            continue
        x, y = number % 4 * CELL, number // 4 * ROW
        coarse, close = _shown(assets, scene, posed, seed)
        large = coarse.resize((CELL - 10, round((CELL - 10) * coarse.height / coarse.width)), Image.Resampling.NEAREST)
        if posed.region:
            scales = (large.width / scene.size.width, large.height / scene.size.height) * 2
            corners = [round(corner * scale) for corner, scale in zip(posed.region.corners, scales, strict=True)]
            ImageDraw.Draw(large).rectangle(corners, outline="red", width=2)
        sheet.paste(large.crop((0, 0, large.width, min(large.height, 430))), (x, y))
        sheet.paste(close, (x, y + 435))
        words = textwrap.wrap(with_options(posed).replace("\n", "  "), 64)
        for line, text in enumerate([*words, "-> " + posed.answer]):
            brush.text((x, y + ROW - 75 + line * 14), text, fill="black", font=font)
        number += 1
    sheet.save(path)


def _shown(assets: Assets, scene: Scene, posed: PosedQuestion, seed: int) -> tuple[Image.Image, Image.Image]:
    """Coarse view and true crop, as the model is shown them."""
    rng = np.random.default_rng(seed)
    whole = Box.whole(scene.size)
    box = snapped(region_of(scene, posed.region), scene.size) if posed.region else whole
    coarse = view(rng, assets, scene, whole, COARSE.fit(scene.size), 0.7)
    close = view(rng, assets, scene, box, CLOSE.fit(box.size), 0.7)
    return Image.fromarray(coarse.pixels), Image.fromarray(close.pixels)


def write_for_ocr(assets: Assets, out: Path, count: int) -> None:
    """True crops and coarse views of `count` questions that ask for a text, and what the text is."""
    with (out / "truth.jsonl").open("w") as lines:
        for number in range(count):
            scene = compose(50_000 + number, assets)
            posed = pose(scene, np.random.default_rng(number), "read", scene.things[0])
            assert posed is not None  # the first thing always has a text
            coarse, close = _shown(assets, scene, posed, number)
            coarse.save(out / f"coarse-{number:03d}.png")
            close.save(out / f"crop-{number:03d}.png")
            lines.write(json.dumps({"number": number, "text": posed.answer}) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--ocr", type=int, default=0, help="crops and coarse views to write for ocr_check.py")
    asked_for = parser.parse_args()
    asked_for.out.mkdir(parents=True, exist_ok=True)
    draw_sheet(assets_of(asked_for.split), asked_for.out / "sheet.png")
    write_for_ocr(assets_of(asked_for.split), asked_for.out, asked_for.ocr)
