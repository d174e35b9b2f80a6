"""Text drawn onto a picture, and for every pixel which character lies there.

Pictures are drawn flat and then seen through a small perspective, as by a camera that is not quite in front:
`Sheet` holds the flat picture, `photograph` looks at it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from ergo.photo_world.texts import CHARACTERS

NOTHING = 0  # the label where no character lies; character number i of CHARACTERS has label i + 1
CODES = {letter: number for number, letter in enumerate(CHARACTERS, 1)}
Colour = tuple[int, int, int]


@lru_cache(maxsize=4096)
def load_font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """The font at a size in pixels, without ligatures."""
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _advance(font: ImageFont.FreeTypeFont, letter: str) -> float:
    return font.getlength(letter)


@dataclass
class Sheet:
    """A flat picture with labels. codes, order [H, W]: label of the character at each pixel, and its number in its
    word counted from 1; 0 where there is none."""

    image: Image.Image
    codes: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, image: Image.Image) -> Sheet:
        shape = image.height, image.width
        return cls(image, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))

    def write(self, text: str, font: ImageFont.FreeTypeFont, x: int, y: int, ink: Colour) -> None:
        """Draw `text` with the upper left corner of its ink at x, y."""
        left, top, _, bottom = font.getbbox(text)
        ImageDraw.Draw(self.image).text((x - left, y - top), text, font=font, fill=ink)
        rows = slice(max(y, 0), y + round(bottom - top))
        start = float(x)
        for number, letter in enumerate(text, 1):
            end = start + _advance(font, letter)
            columns = slice(max(round(start), 0), max(round(end), 0))
            self.codes[rows, columns] = CODES[letter.upper()]
            self.order[rows, columns] = number
            start = end


def text_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Width and height in pixels of the ink."""
    left, top, right, bottom = font.getbbox(text)
    return max(round(right - left), 1), max(round(bottom - top), 1)


def two_colours(rng: np.random.Generator, hardness: float) -> tuple[Colour, Colour]:
    """Ground and ink, at least 70 of 255 apart in brightness; dark on light while `hardness` (0..1) is low."""
    while True:
        ground, ink = rng.integers(0, 256, (2, 3))
        if rng.random() > hardness:
            ground, ink = 200 + ground * 55 // 255, ink * 70 // 255
        apart = abs(float((ground - ink) @ np.array([0.299, 0.587, 0.114])))
        if apart >= 70:
            return (int(ground[0]), int(ground[1]), int(ground[2])), (int(ink[0]), int(ink[1]), int(ink[2]))


@dataclass(frozen=True)
class Seen:
    """A photograph of a sheet. coefficients: of the perspective, from seen pixels to sheet pixels (Pillow's order)."""

    image: Image.Image
    coefficients: tuple[float, ...]

    def to_sheet(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        a, b, c, d, e, f, g, h = self.coefficients
        depth = g * x + h * y + 1
        return (a * x + b * y + c) / depth, (d * x + e * y + f) / depth


def photograph(rng: np.random.Generator, sheet: Image.Image, size: tuple[int, int], hardness: float) -> Seen:
    """Look at the middle of a sheet from a little aside, with a camera's light, blur and noise.

    size: width and height of what is seen, pixels; the sheet should be larger by a margin on every side.
    """
    tilt = rng.normal(0, 0.045) * hardness
    shear = rng.normal(0, 0.04) * hardness
    keystone_x, keystone_y = rng.normal(0, 0.0003, 2) * hardness
    scale = 1 + rng.normal(0, 0.05) * hardness
    a, b = scale * np.cos(tilt), -scale * np.sin(tilt) + shear
    d, e = scale * np.sin(tilt), scale * np.cos(tilt)
    middle_x, middle_y = size[0] / 2, size[1] / 2
    depth = keystone_x * middle_x + keystone_y * middle_y + 1
    c = sheet.width / 2 * depth - a * middle_x - b * middle_y
    f = sheet.height / 2 * depth - d * middle_x - e * middle_y
    coefficients = tuple(float(v) for v in (a, b, c, d, e, f, keystone_x, keystone_y))
    image = sheet.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    return Seen(develop(rng, image, hardness), coefficients)


def develop(rng: np.random.Generator, image: Image.Image, hardness: float) -> Image.Image:
    """What a camera adds: light, contrast, glare, blur, noise and JPEG, each sometimes."""
    if rng.random() < 0.5 * hardness:
        image = ImageEnhance.Brightness(image).enhance(float(rng.uniform(0.6, 1.25)))
    if rng.random() < 0.4 * hardness:
        image = ImageEnhance.Contrast(image).enhance(float(rng.uniform(0.55, 1.2)))
    if rng.random() < 0.15 * hardness:
        image = add_glare(rng, image)
    if rng.random() < 0.5 * hardness:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.1))))
    if rng.random() < 0.4 * hardness:
        pixels = np.asarray(image, np.int16)
        noise = rng.integers(-128, 128, pixels.shape[:2], dtype=np.int16)[..., None] * rng.uniform(0.02, 0.12)
        image = Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
    if rng.random() < 0.25 * hardness:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(35, 90)))
        image = Image.open(buffer).convert("RGB")
    return image


def add_glare(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """A bright spot that washes part of the picture out, never wholly."""
    x, y = np.meshgrid(np.arange(image.width), np.arange(image.height))
    centre_x, centre_y = rng.uniform(0, image.width), rng.uniform(0, image.height)
    reach = rng.uniform(0.15, 0.4) * image.width
    light = rng.uniform(60, 150) * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * reach**2))
    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + light[..., None] * (255 - pixels) / 255, 0, 255).astype(np.uint8))
