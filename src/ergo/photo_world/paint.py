"""A scene made visible: any part of it at any size, and what lies under every patch of what is shown.

The whole picture at full size is one such part. Training paints coarse and close views directly, which is a
hundred times cheaper than painting eight megapixels and shrinking them, and looks the same (test_paint.py).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from ergo.core.geometry import Box, Size
from ergo.photo_world.assets import Assets
from ergo.photo_world.lettering import CODES, load_font, text_size
from ergo.photo_world.pages import MERGE, PATCH, SIGN, STICKER, Crop
from ergo.photo_world.pages import THING as THING_LABEL
from ergo.photo_world.scene import STICKER_COLOURS, Scene, Sign, Thing

LEGIBLE = 11  # pixels: letters that are lower than this are labelled as a sign, not as characters
STICKER_RADIUS, STICKER_PLACE = 0.6, 1.1  # of the letters' height: its size, its middle's distance from the plate's end
DRAWN = 24  # pixels: the least height at which letters are drawn before they are shrunk


def paint(scene: Scene, assets: Assets, box: Box, size: Size) -> Image.Image:
    """The part `box` (SOURCE pixels) of the scene, shown at `size`."""
    image = _ground(scene, assets, box, size)
    scale_x, scale_y = size.width / box.size.width, size.height / box.size.height
    for thing in scene.things:
        _paste_thing(image, thing, assets, box, scale_x, scale_y)
    for sign in scene.signs:
        if box.intersection(sign.box):
            _paste_sign(image, sign, box, scale_x, scale_y)
    return image


def _ground(scene: Scene, assets: Assets, box: Box, size: Size) -> Image.Image:
    photo = assets.grounds[scene.ground]
    zoom_x, zoom_y = scene.piece.size.width / scene.size.width, scene.piece.size.height / scene.size.height
    left, top = scene.piece.left + box.left * zoom_x, scene.piece.top + box.top * zoom_y
    wide, high = box.size.width * zoom_x, box.size.height * zoom_y
    x0, y0 = int(left), int(top)
    x1, y1 = min(math.ceil(left + wide) + 1, photo.shape[1]), min(math.ceil(top + high) + 1, photo.shape[0])
    step = max(1, int(min(wide / size.width, high / size.height) / 2))
    part = Image.fromarray(np.ascontiguousarray(photo[y0:y1:step, x0:x1:step]))
    frame = ((left - x0) / step, (top - y0) / step, (left - x0 + wide) / step, (top - y0 + high) / step)
    frame = (frame[0], frame[1], min(frame[2], part.width), min(frame[3], part.height))
    return part.resize((size.width, size.height), Image.Resampling.BILINEAR, box=frame)


def _paste_thing(image: Image.Image, thing: Thing, assets: Assets, box: Box, scale_x: float, scale_y: float) -> None:
    reach = math.hypot(thing.width, thing.height) / 2
    x, y = thing.centre
    if x + reach < box.left or x - reach > box.right or y + reach < box.top or y - reach > box.bottom:
        return
    size = max(2, round(thing.width * scale_x)), max(2, round(thing.height * scale_y))
    cut = assets.things[thing.kind].resize(size, Image.Resampling.BICUBIC if size[0] > 160 else Image.Resampling.BOX)
    if thing.angle:
        cut = cut.rotate(thing.angle, Image.Resampling.BILINEAR, expand=True)
    lit = ImageEnhance.Brightness(cut.convert("RGB")).enhance(thing.light)
    corner = round((x - box.left) * scale_x - cut.width / 2), round((y - box.top) * scale_y - cut.height / 2)
    image.paste(lit, corner, cut.getchannel("A"))


def _flat(sign: Sign, letter: int) -> Image.Image:
    """The plate as seen from in front, its letters `letter` pixels high."""
    font = _font_of(sign, letter)
    grow = letter / sign.letter
    plate = Image.new("RGB", (max(2, round(sign.width * grow)), max(2, round(sign.height * grow))), sign.ground)
    brush = ImageDraw.Draw(plate)
    left, top, _, bottom = font.getbbox(sign.text)
    start, _ = text_span(sign)
    brush.text(
        (start * plate.width - left, (plate.height - (bottom - top)) / 2 - top), sign.text, font=font, fill=sign.ink
    )
    if sign.sticker:
        radius, place = STICKER_RADIUS * letter, STICKER_PLACE * letter
        x = place if sign.sticker.side == "left" else plate.width - place
        draw_shape(brush, sign.sticker.shape, x, plate.height / 2, radius, STICKER_COLOURS[sign.sticker.colour])
    if sign.glare:
        light = np.linspace(0, sign.glare, plate.width)[None, :, None]
        pixels = np.asarray(plate, np.float32)
        plate = Image.fromarray((pixels + light * (255 - pixels)).astype(np.uint8))
    return plate


def draw_shape(
    brush: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    """A sticker with its centre at x, y."""
    if shape == "circle":
        brush.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape == "square":
        brush.rectangle((x - 0.85 * radius, y - 0.85 * radius, x + 0.85 * radius, y + 0.85 * radius), fill=colour)
    else:
        points = 3 if shape == "triangle" else 10
        reach = [radius if points == 3 or number % 2 == 0 else 0.42 * radius for number in range(points)]
        turns = [2 * math.pi * number / points - math.pi / 2 for number in range(points)]
        brush.polygon(
            [(x + r * math.cos(t), y + r * math.sin(t)) for r, t in zip(reach, turns, strict=True)], fill=colour
        )


def _font_of(sign: Sign, letter: int):  # type: ignore[no-untyped-def]
    _, high = text_size(sign.text, load_font(sign.font, 40))
    return load_font(sign.font, max(6, round(40 * letter / high)))


def text_span(sign: Sign) -> tuple[float, float]:
    """Where the text starts and ends on its plate, as shares of the plate's width."""
    wide, high = text_size(sign.text, load_font(sign.font, 40))
    share = wide / high * sign.letter / sign.width
    sticker = 1.8 * sign.letter / sign.width if sign.sticker else 0.0
    start = (1 - share - sticker) / 2 + (sticker if sign.sticker and sign.sticker.side == "left" else 0.0)
    return start, start + share


def _paste_sign(image: Image.Image, sign: Sign, box: Box, scale_x: float, scale_y: float) -> None:
    shown = sign.letter * min(scale_x, scale_y)
    letter = max(DRAWN, math.ceil(shown / 4) * 4)
    flat = _flat(sign, letter)
    if shown < letter:  # the transform below takes no means: shrink first
        shrink = shown / letter
        flat = flat.resize(
            (max(2, round(flat.width * shrink)), max(2, round(flat.height * shrink))), Image.Resampling.BOX
        )
    quad = (sign.quad - (box.left, box.top)) * (scale_x, scale_y)
    low, high = np.floor(quad.min(0)).astype(int) - 1, np.ceil(quad.max(0)).astype(int) + 1
    target = flat.width * np.array([0, 1, 1, 0]), flat.height * np.array([0, 0, 1, 1])
    coefficients = perspective(quad - low, np.stack(target, 1))
    size = int(high[0] - low[0]), int(high[1] - low[1])
    padded = Image.new("RGBA", flat.size, (0, 0, 0, 255))
    padded.paste(flat)
    seen = padded.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
    image.paste(seen, (int(low[0]), int(low[1])), seen)


def perspective(source: np.ndarray, target: np.ndarray) -> tuple[float, ...]:
    """The eight numbers (Pillow's order) that take the corners `source` [4, 2] to `target` [4, 2]."""
    rows, right = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        right += [u, v]
    return tuple(float(value) for value in np.linalg.solve(np.array(rows), np.array(right)))


# ── what lies where ────────────────────────────────────────────────────────────────────────────
def labels_under(scene: Scene, assets: Assets, box: Box, size: Size) -> tuple[np.ndarray, np.ndarray]:
    """codes, order [rows, columns] of patches of the part `box` shown at `size`, as in pages.Crop."""
    columns, rows = size.width // PATCH, size.height // PATCH
    across = box.left + (np.arange(columns) + 0.5) * box.size.width / columns
    down = box.top + (np.arange(rows) + 0.5) * box.size.height / rows
    x, y = np.meshgrid(across, down)
    codes, order = np.zeros((rows, columns), np.uint8), np.zeros((rows, columns), np.uint8)
    for thing in scene.things:
        codes[_under_thing(thing, assets, x, y)] = THING_LABEL[thing.kind]
    for sign in scene.signs:
        if not box.intersection(sign.box):
            continue
        a, b, c, d, e, f, g, h = perspective(sign.quad, np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
        depth = g * x + h * y + 1
        u, v = (a * x + b * y + c) / depth, (d * x + e * y + f) / depth
        on_plate = (u >= 0) & (u < 1) & (v >= 0) & (v < 1)
        legible = sign.letter * size.width / box.size.width >= LEGIBLE
        codes[on_plate] = 0 if legible else SIGN
        if legible:
            number = _character_at(sign, u)
            inked = on_plate & (number > 0) & (np.abs(v - 0.5) <= 0.5 * sign.letter / sign.height)
            codes[inked] = np.array([0, *(CODES[letter] for letter in sign.text.upper())], np.uint8)[number[inked]]
            order[inked] = number[inked]
            if sign.sticker:
                codes[on_plate & _on_sticker(sign, u, v)] = STICKER[sign.sticker.colour, sign.sticker.shape]
        elif not on_plate.any():  # so small that it lies between centres: the nearest patch has it
            near = np.abs(x - sign.centre[0]) / (box.size.width / columns) + np.abs(y - sign.centre[1]) / (
                box.size.height / rows
            )
            codes[np.unravel_index(near.argmin(), near.shape)] = SIGN
    return codes, order


def centres_under(scene: Scene, box: Box, codes: np.ndarray) -> np.ndarray:
    """Crop.centres of the part `box`, of whose patches `codes` says what they show."""
    rows, columns = codes.shape[0] // MERGE, codes.shape[1] // MERGE
    centres = np.full((rows, columns, 2), np.nan)
    for thing in scene.things:
        shown = (codes == THING_LABEL[thing.kind]).reshape(rows, MERGE, columns, MERGE).any((1, 3))
        centres[shown] = _share(thing.centre, box)
    for sign in scene.signs:
        x, y = _share(sign.centre, box)
        if 0 <= x < 1 and 0 <= y < 1 and (codes == SIGN).any():
            centres[int(y * rows), int(x * columns)] = x, y
    return centres


def _share(point: tuple[float, float], box: Box) -> tuple[float, float]:
    return (point[0] - box.left) / box.size.width, (point[1] - box.top) / box.size.height


def patches_in(crop: Crop, box: Box, part: Box) -> np.ndarray:
    """[rows, columns]: whether the patch's centre is in `part` (SOURCE pixels); the crop shows `box`."""
    rows, columns = crop.codes.shape
    x = box.left + (np.arange(columns) + 0.5) * box.size.width / columns
    y = box.top + (np.arange(rows) + 0.5) * box.size.height / rows
    inside: np.ndarray = ((y >= part.top) & (y < part.bottom))[:, None] & ((x >= part.left) & (x < part.right))
    return inside


def _character_at(sign: Sign, u: np.ndarray) -> np.ndarray:
    """Number, from 1, of the character at share `u` of the plate's width; 0 beside the text."""
    font = load_font(sign.font, 40)
    start, end = text_span(sign)
    widths = np.cumsum([0.0, *(font.getlength(letter) for letter in sign.text)])
    edges = start + widths / widths[-1] * (end - start)
    number = np.searchsorted(edges, u, side="right")
    number[number > len(sign.text)] = 0
    return np.asarray(number)


def _on_sticker(sign: Sign, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Whether shares u, v of the plate's sides are in the square around its sticker."""
    left, right = STICKER_PLACE * sign.letter, sign.width - STICKER_PLACE * sign.letter
    middle = left if sign.sticker and sign.sticker.side == "left" else right
    reach = STICKER_RADIUS * sign.letter
    inside: np.ndarray = (np.abs(u * sign.width - middle) <= reach) & (np.abs(v - 0.5) * sign.height <= reach)
    return inside


def _under_thing(thing: Thing, assets: Assets, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    turn = math.radians(thing.angle)
    dx, dy = x - thing.centre[0], y - thing.centre[1]
    across = (dx * math.cos(turn) - dy * math.sin(turn)) / thing.width + 0.5
    down = (dx * math.sin(turn) + dy * math.cos(turn)) / thing.height + 0.5
    inside = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
    alpha = np.asarray(assets.things[thing.kind].getchannel("A"))
    column = np.clip((across * alpha.shape[1]).astype(int), 0, alpha.shape[1] - 1)
    row = np.clip((down * alpha.shape[0]).astype(int), 0, alpha.shape[0] - 1)
    return np.asarray(inside & (alpha[row, column] > 100))
