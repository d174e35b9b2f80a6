"""Crops to learn reading from: pages full of words for the vision tower, single words for the reader.

A page is dense: most of its patches have a character under them, so a tower learns letters from it several
times sooner than from crops of one word.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ergo.photo_world.assets import Assets
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.lettering import CODES, Seen, Sheet, load_font, photograph, text_size, two_colours
from ergo.photo_world.scene import STICKER_COLOURS, STICKER_SHAPES
from ergo.photo_world.texts import TEXT_KINDS, make_text

PATCH = 14  # side in pixels of what one label is about
MERGE = 2  # patches per token side
MARGIN = 24  # pixels of a sheet around what is seen of it
SIGN = len(CODES) + 1  # the label of a text that is too small to be read
THING = {name: SIGN + number for number, name in enumerate(KINDS, 1)}
STICKER = {
    (colour, shape): SIGN + len(KINDS) + number
    for number, (colour, shape) in enumerate(itertools.product(STICKER_COLOURS, STICKER_SHAPES), 1)
}
LABELS = SIGN + len(KINDS) + len(STICKER) + 1


@dataclass(frozen=True)
class Crop:
    """pixels [H, W, 3]; codes, order [H / PATCH, W / PATCH]: labels at the patches' centres; text in capitals.

    centres [token rows, token columns, 2]: x and y, shares of the view, of the middle of the thing or small sign that
    a vision token shows, and NaN where it shows none.
    """

    pixels: np.ndarray
    codes: np.ndarray
    order: np.ndarray
    text: str = ""
    centres: np.ndarray | None = None


def a_ground(rng: np.random.Generator, assets: Assets, width: int, height: int) -> Image.Image:
    """A piece of a photograph at a random scale."""
    ground = assets.grounds[int(rng.integers(len(assets.grounds)))]
    zoom = min(float(np.exp(rng.uniform(0, np.log(6)))), ground.shape[1] / width, ground.shape[0] / height)
    wide, high = int(width * zoom), int(height * zoom)
    x, y = (int(rng.integers(ground.shape[1] - wide + 1)), int(rng.integers(ground.shape[0] - high + 1)))
    step = max(int(zoom), 1)
    piece = Image.fromarray(np.ascontiguousarray(ground[y : y + high : step, x : x + wide : step]))
    return piece.resize((width, height), Image.Resampling.BILINEAR)


def make_page(rng: np.random.Generator, assets: Assets, size: tuple[int, int], hardness: float) -> Crop:
    """Lines of words in several fonts, sizes and colours. size: width and height, multiples of PATCH."""
    width, height = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    sheet = Sheet.of(a_ground(rng, assets, width, height))
    brush = ImageDraw.Draw(sheet.image)
    y = int(rng.integers(0, 16))
    while y < height:
        ground, ink = two_colours(rng, hardness)
        font = load_font(
            assets.fonts[int(rng.integers(len(assets.fonts)))], 4 * int(np.exp(rng.uniform(np.log(5), np.log(14))))
        )
        x = int(rng.integers(0, 20))
        line = []
        while x < width:
            text = make_text(rng, TEXT_KINDS[int(rng.integers(len(TEXT_KINDS)))], assets.words)
            wide, high = text_size(text, font)
            line.append((text, x, high))
            x += wide + int(rng.integers(6, 24))
        tall = max(high for *_, high in line)
        if rng.random() > 0.25 * hardness:
            brush.rectangle((0, y - 4, width, y + tall + 4), fill=ground)
        for text, at, _ in line:
            sheet.write(text, font, at, y, ink)
        y += tall + 8 + int(rng.integers(0, 12))
    return _seen(photograph(rng, sheet.image, size, hardness), sheet)


def make_word(rng: np.random.Generator, assets: Assets, size: tuple[int, int], hardness: float) -> Crop:
    """One sign with one text somewhere in the crop, its ink 18 to 56 pixels high, as a close view shows it."""
    width, height = size[0] + 2 * MARGIN, size[1] + 2 * MARGIN
    sheet = Sheet.of(a_ground(rng, assets, width, height))
    text = make_text(rng, TEXT_KINDS[int(rng.integers(len(TEXT_KINDS)))], assets.words)
    path = assets.fonts[int(rng.integers(len(assets.fonts)))]
    wide, high = text_size(text, load_font(path, 40))
    largest = min((size[0] - 16) / wide, (size[1] - 12) / high, 56 / high)
    smallest = min(max(18 / high, 0.45 * largest), largest)
    font = load_font(path, max(10, int(40 * np.exp(rng.uniform(np.log(smallest), np.log(largest))))))
    wide, high = text_size(text, font)
    x = MARGIN + int(rng.integers(6, max(size[0] - wide - 6, 7)))
    y = MARGIN + int(rng.integers(4, max(size[1] - high - 4, 5)))
    ground, ink = two_colours(rng, hardness)
    pad_x, pad_y = int(rng.integers(4, 16)), int(rng.integers(3, 14))
    ImageDraw.Draw(sheet.image).rectangle((x - pad_x, y - pad_y, x + wide + pad_x, y + high + pad_y), fill=ground)
    sheet.write(text, font, x, y, ink)
    return _seen(photograph(rng, sheet.image, size, hardness), sheet, text)


def _seen(seen: Seen, sheet: Sheet, text: str = "") -> Crop:
    columns, rows = seen.image.width // PATCH, seen.image.height // PATCH
    x, y = np.meshgrid((np.arange(columns) + 0.5) * PATCH, (np.arange(rows) + 0.5) * PATCH)
    sheet_x, sheet_y = seen.to_sheet(x, y)
    column = np.clip(sheet_x.round().astype(int), 0, sheet.codes.shape[1] - 1)
    row = np.clip(sheet_y.round().astype(int), 0, sheet.codes.shape[0] - 1)
    return Crop(np.asarray(seen.image), sheet.codes[row, column], sheet.order[row, column], text.upper())


def make_places(rng: np.random.Generator, assets: Assets, size: tuple[int, int], hardness: float) -> Crop:
    """A coarse view: things of 40 to 90 pixels on a photograph, and signs that are too small to be read."""
    image = a_ground(rng, assets, *size)
    codes = np.zeros((size[1], size[0]), np.uint8)
    names = list(assets.things)
    for _ in range(int(rng.integers(4, 10))):
        name = names[int(rng.integers(len(names)))]
        thing = assets.things[name]
        longest = float(np.exp(rng.uniform(np.log(40), np.log(90))))
        grow = longest / max(thing.size)
        cut = thing.resize(
            (max(4, int(thing.width * grow)), max(4, int(thing.height * grow))), Image.Resampling.BILINEAR
        )
        if rng.random() < 0.5 * hardness:
            cut = cut.rotate(float(rng.normal(0, 8)), Image.Resampling.BILINEAR, expand=True)
        x, y = int(rng.integers(0, size[0] - 30)), int(rng.integers(0, size[1] - 30))
        image.paste(cut, (x, y), cut)
        inside = np.asarray(cut)[: size[1] - y, : size[0] - x, 3] > 100
        part = codes[y : y + inside.shape[0], x : x + inside.shape[1]]
        part[inside] = THING[name]
    half = PATCH // 2
    seen = np.asarray(image)
    labels = codes[half::PATCH, half::PATCH]
    return Crop(seen, labels, np.zeros_like(labels))
