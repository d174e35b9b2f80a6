"""Photographs, fonts, emoji and words, fetched by package name and kept in the user's cache.

    python -m ergo.photo_world.assets

Debian packages are downloaded and unpacked, never installed, so this needs `apt-get` and `dpkg-deb` and no
rights. Photographs are decoded once, to arrays that a renderer maps into memory. `licences.json` in the cache
says of every file from which package it came; the package's own copyright file lies beside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ergo.photo_world.kinds import KINDS

log = logging.getLogger(__name__)

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
GROUND_PIXELS = 6_000_000  # larger photographs are shrunk to this many for the renderer
GLYPH = 160  # side in pixels of the square that an emoji is kept in

BUNDLE = Path(__file__).parent / "bundled"
PHOTO_PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "mate-backgrounds")
# of the packages' pictures, those that are photographs
PHOTOS = [
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "analogpattern_by_Peter_Nerlich",
    "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
    "Kleiber_by_Lukas_Baubkus",
    "Aqua",
    "Blinds",
    "Dune",
    "FreshFlower",
    "Garden",
    "GreenMeadow",
    "LadyBird",
    "RainDrops",
    "Storm",
    "TwoWings",
    "Wood",
    "YellowFlower",
]
FONT_PACKAGES = [
    "fonts-roboto-unhinted",
    "fonts-lato",
    "fonts-open-sans",
    "fonts-cantarell",
    "fonts-dejavu-core",
    "fonts-liberation",
    "fonts-firacode",
    "fonts-crosextra-carlito",
    "fonts-crosextra-caladea",
    "fonts-comfortaa",
    "fonts-inter",
    "fonts-ebgaramond",
    "fonts-junction",
    "fonts-lobstertwo",
    "fonts-quattrocento",
    "fonts-cabin",
    "fonts-adf-gillius",
    "fonts-adf-universalis",
    "fonts-adf-verana",
    "fonts-adf-ikarius",
    "fonts-adf-accanthis",
    "fonts-adf-baskervald",
    "fonts-adf-berenis",
    "fonts-adf-irianis",
    "fonts-adf-libris",
    "fonts-adf-mekanus",
    "fonts-adf-romande",
    "fonts-adf-solothurn",
    "fonts-adf-switzera",
    "fonts-adf-tribun",
    "fonts-oxygen",
    "fonts-play",
    "fonts-hack",
    "fonts-jetbrains-mono",
    "fonts-league-mono",
    "fonts-yanone-kaffeesatz",
    "fonts-linuxlibertine",
    "fonts-mononoki",
    "fonts-sil-gentium",
    "fonts-sil-charis",
    "fonts-sil-andika",
    "fonts-croscore",
    "fonts-courier-prime",
    "fonts-vollkorn",
    "fonts-bebas-neue",
    "fonts-karla",
    "fonts-dosis",
    "fonts-prociono",
    "fonts-b612",
    "fonts-jura",
    "fonts-manrope",
    "fonts-national-park",
    "fonts-urw-base35",
    "fonts-texgyre",
    "fonts-freefont-ttf",
    "fonts-clear-sans",
    "fonts-roboto-slab",
    "fonts-century-catalogue",
    "fonts-sora",
    "fonts-inconsolata",
    "fonts-tuffy",
    "fonts-averia-sans-gwf",
    "fonts-fanwood",
    "fonts-gfs-didot",
    "fonts-gfs-neohellenic",
    "fonts-anonymous-pro",
    "fonts-goudybookletter",
    "fonts-opendyslexic",
]
FONTS_PER_PACKAGE = 4  # so that no family is most of what is seen
# mathematics, symbols and other scripts have no letters to show; these styles are not read at a glance either
UNREADABLE = ("math", "symbol", "dingbat", "d05", "standardsymbols", "script", "chancery", "chorus", "z003", "outline",
              "initial", "keyboard", "linbiolinum_k", "ornament", "swash", "shadow", "thin", "hairline", "extralight", "engraved")  # fmt: skip
EMOJI_PACKAGE = "fonts-noto-color-emoji"
WORDS_PACKAGE = "wamerican"


def cache_folder() -> Path:
    """Where assets are kept: `ergo/photo-world` under the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ergo" / "photo-world"


def split_of(name: str) -> Split:
    """The one split that a photograph, font or word belongs to: 3/4, 1/8 and 1/8 by a hash of its name."""
    number = hashlib.sha256(name.encode()).digest()[0] % 8
    return "validation" if number == 0 else "test" if number == 1 else "train"


def fetch(folder: Path | None = None) -> Path:
    """Download and prepare everything that is not there yet; returns the folder."""
    folder = folder or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    packages = (*PHOTO_PACKAGES, *FONT_PACKAGES, EMOJI_PACKAGE, WORDS_PACKAGE)
    unpacked = {package: _unpack(package, folder / "packages") for package in packages}
    came_from: dict[str, str] = {}
    for package in PHOTO_PACKAGES:
        for path in sorted(unpacked[package].rglob("*")):
            if path.suffix in (".jpg", ".png") and path.stem in PHOTOS:
                came_from[str(_keep_photo(path, folder / "grounds").relative_to(folder))] = package
    for package in FONT_PACKAGES:
        for path in _readable_fonts(unpacked[package]):
            (folder / "fonts").mkdir(exist_ok=True)
            target = folder / "fonts" / f"{package.removeprefix('fonts-')}--{path.name}"
            if not target.exists():
                shutil.copyfile(path, target)
            came_from[str(target.relative_to(folder))] = package
    _draw_emoji(next(unpacked[EMOJI_PACKAGE].rglob("NotoColorEmoji.ttf")), folder / "things")
    came_from["things"] = EMOJI_PACKAGE
    lines = next(unpacked[WORDS_PACKAGE].rglob("american-english")).read_text("utf-8").split()
    (folder / "words.txt").write_text("\n".join(word for word in lines if word.isascii() and word.isalpha()), "utf-8")
    came_from["words.txt"] = WORDS_PACKAGE
    (folder / "licences.json").write_text(json.dumps(came_from, indent=1, sort_keys=True), "utf-8")
    return folder


def _unpack(package: str, folder: Path) -> Path:
    """The package's files, downloaded unless they are there."""
    target = folder / package
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    log.info("fetching %s", package)
    subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True, stderr=subprocess.DEVNULL)
    archive = next(folder.glob(f"{package}_*.deb"))
    partial = folder / f"{package}.partial"
    subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
    partial.rename(target)
    archive.unlink()
    return target


def _keep_photo(path: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    target = folder / f"{path.stem}.npy"
    if not target.exists():
        with Image.open(path) as image:
            photo = image.convert("RGB")
        shrink = (GROUND_PIXELS / (photo.width * photo.height)) ** 0.5
        if shrink < 1:
            photo = photo.resize((int(photo.width * shrink), int(photo.height * shrink)), Image.Resampling.LANCZOS)
        np.save(target, np.asarray(photo))
    return target


def _readable_fonts(package: Path) -> list[Path]:
    """A few of a package's fonts: those that have all of ASCII, upright and slanted, spread over its families."""
    found = []
    for path in sorted(package.rglob("*")):
        if path.suffix.lower() not in (".ttf", ".otf") or any(word in path.name.lower() for word in UNREADABLE):
            continue
        try:
            font = ImageFont.truetype(str(path), 40)
        except OSError:
            continue
        missing = bytes(font.getmask("\ufffe"))
        if all(bytes(font.getmask(letter)) != missing for letter in "AZaz09$:-"):
            found.append(path)
    step = max(1, len(found) // FONTS_PER_PACKAGE)
    return found[::step][:FONTS_PER_PACKAGE]


def _draw_emoji(path: Path, folder: Path) -> None:
    """Every kind as an RGBA picture, cut to what is drawn, its longer side GLYPH pixels."""
    folder.mkdir(exist_ok=True)
    font = ImageFont.truetype(str(path), 109)  # the only size of this font's bitmaps
    for name, glyph in KINDS.items():
        image = Image.new("RGBA", (180, 180))
        ImageDraw.Draw(image).text((10, 20), glyph, font=font, embedded_color=True)
        box = image.getbbox()
        if box is None:
            raise ValueError(f"{path.name} has no glyph for {name}")
        cut = image.crop(box)
        grow = GLYPH / max(cut.size)
        size = (max(1, round(cut.width * grow)), max(1, round(cut.height * grow)))
        cut.resize(size, Image.Resampling.BICUBIC).save(folder / f"{name}.png")


class Assets:
    """What one split may use. grounds: photographs [H, W, 3]; fonts: paths; words: lower and mixed case."""

    def __init__(self, split: Split, folder: Path | None = None) -> None:
        self.split = split
        folder = folder or _prepared()
        photos = [
            path for path in sorted((folder / "grounds").iterdir()) if split_of(path.stem.split("--")[0]) == split
        ]
        self.ground_names = [path.stem for path in photos]
        self.grounds = [_load_ground(path) for path in photos]
        self.fonts = [str(path) for path in sorted((folder / "fonts").iterdir()) if split_of(path.name) == split]
        words = (folder / "words.txt").read_text("utf-8").split()
        self.words = [word for word in words if 2 <= len(word) <= 9 and split_of(word.lower()) == split]
        self.things = {name: Image.open(folder / "things" / f"{name}.png").convert("RGBA") for name in KINDS}


def _prepared() -> Path:
    """The fetched assets, or the few that ship with the package."""
    if (cache_folder() / "licences.json").is_file():
        return cache_folder()
    log.warning("no fetched assets: using the bundled cut-outs (python -m ergo.photo_world.assets fetches all)")
    return BUNDLE


def _load_ground(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, mmap_mode="r"))
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@cache
def assets_of(split: Split) -> Assets:
    """One copy a process."""
    return Assets(split)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    fetch()
