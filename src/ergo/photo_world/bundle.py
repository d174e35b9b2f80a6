"""The few assets that ship with the package, so that tests and first steps need no download.

    python -m ergo.photo_world.bundle FOLDER

makes them from the fetched ones (assets.py): cut-outs of photographs under CC0 or CC-BY alone, four fonts and every
emoji under the OFL, and some words. `LICENCES.json` names author and licence of each file.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ergo.photo_world.assets import SPLITS, cache_folder, split_of
from ergo.photo_world.kinds import KINDS

AUTHORS = {  # from the package's copyright file; only CC0 and CC-BY
    "aitzgorri_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0"),
    "friends_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0"),
    "life_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0"),
    "picosdeeuropa_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0"),
    "sunset_by_Aitzol_Berasategi": ("Aitzol Berasategi", "CC-BY-4.0"),
    "Picture_0B_by_freespace": ('Trevor "Freespace"', "CC-BY-4.0"),
    "Wine_by_Jakkub_Mede": ("Jakub Mede", "CC-BY-4.0"),
    "seeding_by_Clements_Engelhardt": ("Clemens Engelhardt", "CC0-1.0"),
}
FONTS = {
    "oxygen--Oxygen-Sans-Bold.ttf": ("Vernon Adams", "OFL-1.1"),
    "karla--Karla-Regular.otf": ("Jonathan Pinhorn", "OFL-1.1"),
    "courier-prime--Courier Prime Sans Bold.otf": ("Alan Dague-Greene", "OFL-1.1"),
    "oxygen--Oxygen-Sans.ttf": ("Vernon Adams", "OFL-1.1"),
}
CUTS = 3  # of each photograph
CUT = (720, 540)  # pixels
THING = 88  # pixels, longer side
WORDS = 400  # of each split


def make(folder: Path) -> None:
    """Write the bundle into an empty folder."""
    source = cache_folder()
    licences: dict[str, dict[str, str]] = {}
    (folder / "grounds").mkdir(parents=True)
    for name, (author, licence) in AUTHORS.items():
        photo = np.load(source / "grounds" / f"{name}.npy", mmap_mode="r")
        rng = np.random.default_rng(len(name))
        for number in range(CUTS):
            step = max(1, min(photo.shape[0] // CUT[1], photo.shape[1] // CUT[0]) - number)
            wide, high = CUT[0] * step, CUT[1] * step
            x, y = (int(rng.integers(photo.shape[1] - wide + 1)), int(rng.integers(photo.shape[0] - high + 1)))
            piece = Image.fromarray(np.ascontiguousarray(photo[y : y + high, x : x + wide]))
            path = folder / "grounds" / f"{name}--{number}.jpg"
            piece.resize(CUT, Image.Resampling.LANCZOS).save(path, quality=80)
            licences[f"grounds/{path.name}"] = {"author": author, "licence": licence, "changes": "cut and resized"}
    (folder / "fonts").mkdir()
    for name, (author, licence) in FONTS.items():
        shutil.copyfile(source / "fonts" / name, folder / "fonts" / name)
        licences[f"fonts/{name}"] = {"author": author, "licence": licence}
    (folder / "things").mkdir()
    for name in KINDS:
        with Image.open(source / "things" / f"{name}.png") as thing:
            shrink = THING / max(thing.size)
            size = max(1, round(thing.width * shrink)), max(1, round(thing.height * shrink))
            few = thing.resize(size, Image.Resampling.LANCZOS).quantize(128, method=Image.Quantize.FASTOCTREE)
            few.save(folder / "things" / f"{name}.png", optimize=True)
    licences["things/*.png"] = {
        "author": "Google Inc. (Noto Color Emoji)",
        "licence": "OFL-1.1",
        "changes": "drawn small",
    }
    kept = []
    words = [word for word in (source / "words.txt").read_text("utf-8").split() if 3 <= len(word) <= 8]
    for split in SPLITS:
        mine = [word for word in words if word.islower() and split_of(word) == split]
        kept += mine[:: len(mine) // WORDS][:WORDS]
    (folder / "words.txt").write_text("\n".join(sorted(kept)), "utf-8")
    licences["words.txt"] = {"author": "wamerican (SCOWL)", "licence": "public domain"}
    (folder / "LICENCES.json").write_text(json.dumps(licences, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
