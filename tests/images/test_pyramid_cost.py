"""What two looks at gigapixel files cost by ours, libvips, GDAL and OpenSlide, in CPU seconds and memory.

`pytest -m slow -s tests/images/test_pyramid_cost.py` makes three files (2 GB, ten minutes) and prints the table; with
ERGO_PYRAMIDS set to a folder they are kept there. GDAL (rasterio) and OpenSlide take part where they are installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ergo.core.geometry import Box, Size, TokenBudget

pytestmark = pytest.mark.slow

BUDGET = TokenBudget(1280, 28)
FILES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "cog.tif": (36_000, 18_000, {"compression": "deflate", "predictor": "horizontal", "tile_width": 512, "tile_height": 512}),
    "pages.tif": (40_000, 24_000, {"compression": "jpeg", "Q": 85, "tile_width": 256, "tile_height": 256}),
    "subifds.tif": (40_000, 24_000, {"compression": "jpeg", "Q": 85, "tile_width": 256, "tile_height": 256, "subifd": True}),
}  # fmt: skip
Looks = tuple[Image.Image, Image.Image]


def region(size: Size) -> Box:
    """A fifth of either side, right of the middle."""
    return Box(size.width // 2, size.height // 2, size.width * 7 // 10, size.height * 7 // 10)


def make(path: Path, width: int, height: int, how: dict[str, Any]) -> None:
    import pyvips

    grain = np.random.default_rng(0).normal(0, 6, (1024, 1024)).astype(np.float32)
    noise = (
        pyvips.Image.new_from_array(grain).replicate(width // 1024 + 1, height // 1024 + 1).crop(0, 0, width, height)
    )
    base = pyvips.Image.perlin(width, height, cell_size=700, seed=1).linear(60, 120)
    bands = [base + noise + pyvips.Image.perlin(width, height, cell_size=90 * n, seed=n) * 30 for n in (1, 2, 3)]
    picture = bands[0].bandjoin(bands[1:]).cast("uchar").copy(interpretation="srgb")
    picture.tiffsave(str(path), tile=True, pyramid=True, bigtiff=True, **how)


def ours(path: str) -> Looks:
    from ergo.images.decode import load_image

    picture = load_image(path)
    box = region(picture.size)
    coarse = picture.part(Box.whole(picture.size), BUDGET.fit(picture.size))
    return coarse, picture.part(box, BUDGET.fit(box.size))


def same_level(path: str) -> Looks:
    """Ours, from the level that the others read: the smallest that has the pixels shown once."""
    from ergo.images import pyramid

    pyramid.MARGIN = 1.0
    return ours(path)


def libvips(path: str) -> Looks:
    import pyvips

    header = pyvips.Image.new_from_file(path)
    size = Size(header.width, header.height)
    shown, box = BUDGET.fit(size), region(size)
    coarse = pyvips.Image.thumbnail(path, shown.width, height=shown.height, size="force")
    part = pyvips.Image.new_from_file(path, access="random").crop(box.left, box.top, box.size.width, box.size.height)
    shown = BUDGET.fit(box.size)
    close = part.thumbnail_image(shown.width, height=shown.height, size="force")
    return Image.fromarray(coarse.numpy()), Image.fromarray(close.numpy())


def gdal(path: str) -> Looks:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.windows import Window

    with rasterio.open(path) as file:
        size = Size(file.width, file.height)
        looks = []
        for box in (Box.whole(size), region(size)):
            shown, window = BUDGET.fit(box.size), Window(box.left, box.top, box.size.width, box.size.height)
            pixels = file.read(window=window, out_shape=(3, shown.height, shown.width), resampling=Resampling.cubic)
            looks.append(Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, 2))))
    return looks[0], looks[1]


def openslide(path: str) -> Looks:
    import openslide

    slide = openslide.OpenSlide(path)
    size = Size(*slide.dimensions)
    looks = []
    for box in (Box.whole(size), region(size)):
        shown = BUDGET.fit(box.size)
        level = slide.get_best_level_for_downsample(box.size.width / shown.width)
        smaller = slide.level_downsamples[level]
        part = slide.read_region(
            (box.left, box.top), level, (int(box.size.width / smaller), int(box.size.height / smaller))
        )
        looks.append(part.convert("RGB").resize((shown.width, shown.height), Image.Resampling.BICUBIC))
    return looks[0], looks[1]


WAYS: dict[str, tuple[Callable[[str], Looks], tuple[str, ...]]] = {
    "ours": (ours, ("tifffile", "imagecodecs", "openslide")), "same level": (same_level, ("tifffile", "imagecodecs", "openslide")),
    "libvips": (libvips, ("pyvips",)), "gdal": (gdal, ("rasterio",)), "openslide": (openslide, ("openslide",)),
}  # fmt: skip


def memory(name: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def measured(way: str, path: str, keep: str) -> dict[str, float]:
    """CPU seconds and peak MiB of one process above those of its imports."""
    make_looks, modules = WAYS[way]
    for module in modules:
        with suppress(ImportError):  # of ours; the others fail, and are left out
            __import__(module)
    cpu, held = time.process_time(), memory("VmRSS")
    looks = make_looks(path)
    found = {"cpu": time.process_time() - cpu, "mib": memory("VmHWM") - held}
    np.savez(keep, *(np.asarray(look) for look in looks))
    return found


def likeness(one: Path, other: Path) -> float:
    """PSNR in dB over both looks."""
    a, b = np.load(one), np.load(other)
    errors = [np.square(a[name].astype(float) - b[name].astype(float)).ravel() for name in a.files]
    return float(10 * np.log10(255**2 / np.concatenate(errors).mean()))


@pytest.mark.parametrize("name", FILES)
def test_a_pyramid_costs_what_the_best_need(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyvips", reason="libvips makes the files: the extra `vips`")
    folder = Path(os.environ.get("ERGO_PYRAMIDS", tmp_path))
    width, height, how = FILES[name]
    if not (folder / name).is_file():
        make(folder / name, width, height, how)
    found: dict[str, dict[str, float]] = {}
    for _ in range(3):
        for way in WAYS:
            if way == "openslide" and name == "subifds.tif":
                continue  # it does not know SubIFDs, and reads the largest level: 34 s and 7 GB
            command = [sys.executable, __file__, way, str(folder / name), str(tmp_path / f"{way}.npz")]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                one = json.loads(done.stdout)
                before = found.setdefault(way, one)
                found[way] = {key: min(before[key], one[key]) for key in one}
    for way, cost in found.items():
        like = "" if way == "ours" else f", {likeness(tmp_path / 'ours.npz', tmp_path / f'{way}.npz'):.0f} dB of ours"
        print(f"{name:12} {way:11} {cost['cpu']:.2f} s, {cost['mib']:.0f} MiB{like}")
    others = [cost for way, cost in found.items() if way not in ("ours", "same level")]
    assert found["same level"]["cpu"] <= 1.3 * min(cost["cpu"] for cost in others) + 0.05
    assert found["ours"]["cpu"] <= 1.3 * found["libvips"]["cpu"]
    assert found["ours"]["mib"] <= 1.3 * min(cost["mib"] for cost in others)


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:4])))
