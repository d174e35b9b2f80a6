"""What two looks at a picture cost by five ways through it, in CPU seconds, memory and likeness.

`pytest -m slow -s tests/test_picture_path.py` prints the table of docs/scale.md. Each measurement is a
process of its own; the ways take turns, so that what the machine does meanwhile meets all of them.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.view import View
from ergo.images import disk
from ergo.images.decode import load_image

ROUNDS = 3
BUDGET = TokenBudget(640, 28)
KINDS: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 90},
    "png": {"compress_level": 3},
    "webp": {"quality": 90, "method": 2},
    "avif": {"quality": 80, "speed": 10},
    "tif": {},
}
Looks = tuple[Image.Image, Image.Image]


def close(size: Size) -> Box:
    """A region of a fifth of either side, right of the middle."""
    return Box(size.width // 2, size.height // 2, size.width * 7 // 10, size.height * 7 // 10)


def plain(path: str) -> Looks:
    """Everything decoded, then Pillow's crop and resize."""
    Image.MAX_IMAGE_PIXELS = None
    image = Image.open(path).convert("RGB")
    size = Size(*image.size)
    box = close(size)
    coarse = image.resize(_shown(size), Image.Resampling.BICUBIC)
    return coarse, image.crop(box.corners).resize(_shown(box.size), Image.Resampling.BICUBIC)


def decoded(path: str, pays_from: float = math.inf) -> Looks:
    """Ours: decoded once, whole, whatever its size."""
    disk.MIN_STREAMING_PIXELS = pays_from  # type: ignore[assignment]
    picture = load_image(path)
    return View.of(picture, BUDGET).pixels, View.of(picture, BUDGET, close(picture.size)).pixels


def stored(path: str) -> Looks:
    """Ours: a PNG or TIFF is never decoded as a whole, whatever its size."""
    return decoded(path, 0)


def reduced(path: str) -> Looks:
    """Pillow's draft mode and reducing_gap for the coarse look, a second decode for the close one."""
    Image.MAX_IMAGE_PIXELS = None
    image: Image.Image = Image.open(path)
    size = Size(*image.size)
    image.draft("RGB", _twice(_shown(size)))  # type: ignore[attr-defined]
    coarse = image.convert("RGB").resize(_shown(size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    del image
    box = close(size)
    again = Image.open(path).convert("RGB").crop(box.corners)
    return coarse, again.resize(_shown(box.size), Image.Resampling.BICUBIC, reducing_gap=2.0)


def vips(path: str) -> Looks:
    """pyvips: shrink on load for the coarse look, a region read for the close one."""
    import pyvips

    header = pyvips.Image.new_from_file(path)
    size = Size(header.width, header.height)
    box, (width, height) = close(size), _shown(size)
    coarse = pyvips.Image.thumbnail(path, width, height=height, size="force")
    part = pyvips.Image.new_from_file(path, access="random" if path.endswith("tif") else "sequential")
    across, down = _shown(box.size)
    crop = part.crop(box.left, box.top, box.size.width, box.size.height)
    crop = crop.resize(across / crop.width, vscale=down / crop.height, kernel="cubic")
    return Image.fromarray(coarse.numpy()[..., :3]), Image.fromarray(crop.numpy()[..., :3])


WAYS: dict[str, Callable[[str], Looks]] = {way.__name__: way for way in (plain, decoded, stored, reduced, vips)}


def _shown(size: Size) -> tuple[int, int]:
    shown = BUDGET.fit(size)
    return shown.width, shown.height


def _twice(size: tuple[int, int]) -> tuple[int, int]:
    return 2 * size[0], 2 * size[1]


def measured(way: str, path: str, keep: str) -> dict[str, float]:
    """CPU seconds and peak MiB of one process above those of its imports; the two looks go to `keep`."""
    if way in ("vips", "stored"):
        import pyvips  # noqa: F401
    cpu, memory = time.process_time(), _memory("VmRSS")
    looks = WAYS[way](path)
    result = {"cpu": time.process_time() - cpu, "mib": _memory("VmHWM") - memory}
    np.savez(keep, *(np.asarray(look) for look in looks))
    return result


def _memory(name: str) -> float:
    """MiB of this process by Linux's count. Not ru_maxrss, which begins with that of the process that forked this one."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def likeness(one: Path, other: Path) -> float:
    """PSNR in dB over both looks; inf where they are equal."""
    a, b = np.load(one), np.load(other)
    errors = [np.square(a[name].astype(float) - b[name].astype(float)).ravel() for name in a.files]
    error = float(np.concatenate(errors).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def write(image: Image.Image, path: Path) -> None:
    if path.suffix != ".tif":
        image.save(path, **KINDS[path.suffix[1:]])
        return
    import pyvips

    pyvips.Image.new_from_array(np.asarray(image)).tiffsave(str(path), tile=True, compression="deflate")


@pytest.mark.slow
@pytest.mark.parametrize("megapixels", [12, 48])
def test_ours_costs_no_more_than_a_plain_decode_and_is_the_same_to_the_bit(tmp_path: Path, megapixels: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "batch"))
    from test_at_scale import photograph

    image = photograph(7, megapixels)
    for kind in KINDS:
        path = tmp_path / f"picture.{kind}"
        write(image, path)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(ROUNDS):
            for way in WAYS:
                command = [sys.executable, __file__, way, str(path), str(tmp_path / f"{way}.npz")]
                found[way].append(
                    json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                )
        middle = {
            way: {key: statistics.median(one[key] for one in runs) for key in ("cpu", "mib")}
            for way, runs in found.items()
        }
        cells = [f"{megapixels} MP {kind}, plain {middle['plain']['cpu']:.2f} s {middle['plain']['mib']:.0f} MiB"]
        for way in [*WAYS][1:]:
            cpu, mib = (middle[way][key] / middle["plain"][key] for key in ("cpu", "mib"))
            cells.append(
                f"{way} {cpu:.2f} {mib:.2f} {likeness(tmp_path / 'plain.npz', tmp_path / f'{way}.npz'):.0f} dB"
            )
        print(" | ".join(cells), flush=True)
        for ours in ("decoded", "stored"):
            assert likeness(tmp_path / "plain.npz", tmp_path / f"{ours}.npz") == math.inf
            assert middle[ours]["mib"] <= 1.1 * middle["plain"]["mib"] + 8
            assert middle[ours]["cpu"] <= 1.25 * middle["plain"]["cpu"]


@pytest.mark.slow
def test_a_gigapixel_is_answered_within_300_mib(tmp_path: Path) -> None:
    """The whole process, Python and all, over a tiled TIFF of 34,000 x 29,611 pixels."""
    import pyvips

    tile = pyvips.Image.new_from_array(np.random.default_rng(0).integers(0, 255, (1000, 1000, 3), dtype=np.uint8))
    path = tmp_path / "giga.tif"
    tile.replicate(34, 30).crop(0, 0, 34_000, 29_611).tiffsave(str(path), tile=True, compression="deflate")
    model = "scripted:<zoom>[500, 500, 560, 540]</zoom><answer>here</answer>"
    code = f"""
from ergo.cli.main import main
main(["ask", {str(path)!r}, "What?", "--model", {model!r}])
"""
    measuring = "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    done = subprocess.run([sys.executable, "-c", code + measuring], check=True, capture_output=True, text=True)
    peak = int(done.stdout.rsplit("VmHWM:", 1)[1].split()[0]) / 1024
    print(f"{done.stdout}{peak:.0f} MiB")
    assert "here" in done.stdout
    assert peak < 300


if __name__ == "__main__":
    print(json.dumps(measured(*sys.argv[1:4])))
