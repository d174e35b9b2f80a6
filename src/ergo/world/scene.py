"""A scene: landmarks that can be distinguished from afar, and plates whose pattern cannot.

The problem of the paper in its smallest honest form. Landmarks differ in colour and shape and are
about one token wide in a coarse view. Every landmark owns one plate, painted in the tint of the
ground with a fine pattern that averages out when the picture is shrunk: in the coarse view it is
not merely small, it is not there. Where it hangs follows from the landmark's kind: a tower's flag
is above it, a house's plate to its right, a tent's sign on one of two sides, a tree's label
anywhere around. So a policy can know where to look without seeing what it looks for.

Lengths in the constants are in units of 1/1000 of the geometric mean of the picture's sides, so a
scene looks alike at 1 and at 16 megapixels. Everything follows from one seed, to the byte.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from ergo.core.geometry import Box, Size
from ergo.images.picture import Picture

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "blue": (38, 84, 220),
    "yellow": (246, 208, 30),
    "purple": (140, 44, 176),
    "white": (246, 246, 246),
    "black": (24, 24, 28),
    "cyan": (30, 200, 214),
    "orange": (244, 126, 22),
}
PATTERNS = ("stripes", "bars", "slashes", "checks", "dots", "rings", "waves", "grid")

LANDMARK = 54  # half side of a landmark, 1/1000 of the picture
PLATE = 30  # half side of a plate
REACH = 98  # distance from a landmark's centre to its plate's centre
BALL = 30  # radius of a ball, whose centre is the landmark's upper left corner
PERIOD = 4.7  # period of the pattern on a plate
SPACING = 265  # least distance between landmarks


@dataclass(frozen=True)
class Kind:
    """A kind of landmark: what its plate is called and in which directions it may hang.

    ambiguity: 0 one place, 1 one of two, 2 anywhere around.
    """

    name: str
    target: str
    places: tuple[tuple[int, int], ...]
    rule: str

    @property
    def ambiguity(self) -> int:
        return 0 if len(self.places) == 1 else 1 if len(self.places) == 2 else 2


AROUND = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("tower", "flag", ((0, -1),), "above"),
        Kind("house", "plate", ((1, 0),), "right"),
        Kind("mill", "label", ((-1, 0),), "left"),
        Kind("barn", "board", ((0, 1),), "below"),
        Kind("tent", "sign", ((-1, 0), (1, 0)), "left or right"),
        Kind("tree", "tag", AROUND, "around"),
    )
}


@dataclass(frozen=True)
class Landmark:
    """One landmark; `centre` and boxes in SOURCE pixels. ball: colour of the ball it carries."""

    colour: str
    kind: Kind
    centre: tuple[float, float]
    box: Box
    plate: Box
    pattern: str
    ball: str

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind.name}"

    @property
    def ball_box(self) -> Box:
        """SOURCE pixels."""
        return _square(self.box.left, self.box.top, BALL * self.box.size.width / (2 * LANDMARK))


@dataclass(frozen=True)
class Scene:
    """What is where. unit: SOURCE pixels per 1/1000 of the geometric mean of the sides."""

    seed: int
    split: Split
    size: Size
    unit: float
    landmarks: tuple[Landmark, ...]
    decoys: tuple[tuple[Box, str], ...]


def home_split(colour: str, kind: str) -> Split:
    """The one split in which this kind may be asked about in this colour: 6/8, 1/8 and 1/8."""
    code = (list(COLOURS).index(colour) + 3 * list(KINDS).index(kind)) % len(COLOURS)
    return "test" if code == 0 else "validation" if code == 4 else "train"


def compose(
    seed: int, split: Split, megapixels: tuple[float, float] = (1.05, 2.0), landmarks: tuple[int, int] = (4, 6)
) -> Scene:
    """Lay a scene out. Splits are disjoint by seed and by (colour, kind) of what is asked.

    In validation and test scenes the first landmark is of a held-out combination and is the one
    that is asked about; training scenes hold no held-out combination at all. landmarks: fewest and
    most of them.
    """
    rng = np.random.default_rng([SPLITS.index(split), seed])
    area = rng.uniform(*megapixels) * 1e6
    aspect = math.exp(rng.uniform(math.log(0.72), math.log(1.4)))
    size = Size(round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect)))
    unit = math.sqrt(size.area) / 1000
    centres = _spread(rng, size, unit, int(rng.integers(landmarks[0], landmarks[1] + 1)))
    questioned = [(c, k) for c in COLOURS for k in KINDS if home_split(c, k) == split]
    first = questioned[int(rng.integers(len(questioned)))]
    colours = [str(c) for c in rng.permutation(list(COLOURS))]
    used = [first[0], *(c for c in colours if c != first[0])][: len(centres)]
    marks = []
    for index, (colour, centre) in enumerate(zip(used, centres, strict=True)):
        common = [name for name in KINDS if home_split(colour, name) == "train"]
        kind = KINDS[first[1] if index == 0 else str(rng.choice(common))]
        place = kind.places[int(rng.integers(len(kind.places)))]
        reach = REACH * (1.0 if kind.ambiguity < 2 else rng.uniform(1.0, 1.45)) * unit
        jitter = rng.uniform(-8, 8, 2) * unit
        plate = _square(
            centre[0] + place[0] * reach + jitter[0], centre[1] + place[1] * reach + jitter[1], PLATE * unit
        )
        others = [other for other in used if other != colour]
        marks.append(
            Landmark(
                colour=colour,
                kind=kind,
                centre=centre,
                box=_square(*centre, LANDMARK * unit),
                plate=plate,
                pattern=str(rng.choice(PATTERNS)),
                ball=str(rng.choice(others or [c for c in COLOURS if c != colour])),
            )
        )
    decoys = []
    for _ in range(int(rng.integers(2, 5))):
        spot = _free_spot(rng, size, unit, centres)
        if spot is not None:
            decoys.append((_square(*spot, PLATE * unit), str(rng.choice(PATTERNS))))
    return Scene(seed, split, size, unit, tuple(marks), tuple(decoys))


def _square(x: float, y: float, half: float) -> Box:
    return Box(round(x - half), round(y - half), round(x + half), round(y + half))


def _spread(rng: np.random.Generator, size: Size, unit: float, count: int) -> list[tuple[float, float]]:
    """`count` centres at least SPACING apart, far enough from the rim for any plate; fewer if cramped."""
    rim = (REACH * 1.45 + PLATE + 10) * unit
    centres: list[tuple[float, float]] = []
    for _ in range(400):
        if len(centres) == count:
            break
        x, y = rng.uniform(rim, size.width - rim), rng.uniform(rim, size.height - rim)
        if all(math.hypot(x - a, y - b) >= SPACING * unit for a, b in centres):
            centres.append((float(x), float(y)))
    return centres


def _free_spot(
    rng: np.random.Generator, size: Size, unit: float, centres: list[tuple[float, float]]
) -> tuple[float, float] | None:
    """A place for a plate that belongs to nobody."""
    rim = (PLATE + 6) * unit
    for _ in range(30):
        x, y = rng.uniform(rim, size.width - rim), rng.uniform(rim, size.height - rim)
        if all(math.hypot(x - a, y - b) >= (REACH * 1.45 + 2.9 * PLATE) * unit for a, b in centres):
            return float(x), float(y)
    return None


# ── drawing ────────────────────────────────────────────────────────────────────────────────────

Points = list[tuple[float, float]]
SHAPES: dict[str, list[Points]] = {  # in units of LANDMARK around the centre
    "tower": [
        [(-0.55, 1), (-0.55, -0.7), (-0.75, -0.7), (-0.75, -1), (0.75, -1), (0.75, -0.7), (0.55, -0.7), (0.55, 1)]
    ],
    "house": [[(-0.9, 1), (-0.9, -0.1), (0, -1), (0.9, -0.1), (0.9, 1)]],
    "mill": [
        [(-0.45, 1), (-0.25, -0.4), (0.25, -0.4), (0.45, 1)],
        [(-1, -0.9), (-0.85, -1), (1, 0.5), (0.85, 0.65)],
        [(1, -0.9), (0.85, -1), (-1, 0.5), (-0.85, 0.65)],
    ],
    "barn": [[(-1, 1), (-1, -0.3), (-0.6, -0.95), (0.6, -0.95), (1, -0.3), (1, 1)]],
    "tent": [[(-1, 0.95), (0, -0.95), (1, 0.95)]],
    "tree": [[(math.cos(a * math.pi / 8) * 0.95, math.sin(a * math.pi / 8) * 0.95) for a in range(16)]],
}


def draw(scene: Scene) -> Picture:
    """Paint the scene: ground, landmarks with their balls, then the plates."""
    rng = np.random.default_rng([7, SPLITS.index(scene.split), scene.seed])
    image = _ground(rng, scene.size)
    pen = ImageDraw.Draw(image)
    for mark in scene.landmarks:
        _draw_landmark(pen, mark, scene.unit)
    for mark in scene.landmarks:
        _paint_plate(rng, image, mark.plate, mark.pattern, PERIOD * scene.unit)
    for box, pattern in scene.decoys:
        _paint_plate(rng, image, box, pattern, PERIOD * scene.unit)
    return Picture(image, f"world:{scene.split}/{scene.seed}")


def _ground(rng: np.random.Generator, size: Size) -> Image.Image:
    """Soft mottled ground of low saturation and middle lightness."""
    base = rng.uniform(105, 150) + rng.uniform(-18, 18, 3)
    broad = rng.normal(0, 13, (7, 7, 3))
    fine = rng.normal(0, 5, (48, 48, 1)) + rng.normal(0, 2, (48, 48, 3))
    small = np.asarray(
        Image.fromarray(np.clip(base + broad, 0, 255).astype(np.uint8)).resize((48, 48), Image.Resampling.BICUBIC)
    )
    ground = Image.fromarray(np.clip(small + fine, 0, 255).astype(np.uint8))
    return ground.resize((size.width, size.height), Image.Resampling.BILINEAR)


def _draw_landmark(pen: ImageDraw.ImageDraw, mark: Landmark, unit: float) -> None:
    x, y = mark.centre
    half = LANDMARK * unit
    red, green, blue = COLOURS[mark.colour]
    for shape in SHAPES[mark.kind.name]:
        pen.polygon([(x + a * half, y + b * half) for a, b in shape], fill=(red, green, blue))
    dark = (red * 6 // 10, green * 6 // 10, blue * 6 // 10) if mark.colour != "black" else (70, 70, 76)
    pen.rectangle((x - half * 0.14, y + half * 0.55, x + half * 0.14, y + half * 0.95), fill=dark)
    ball = BALL * unit
    bx, by = x - half, y - half
    pen.ellipse(
        (bx - ball, by - ball, bx + ball, by + ball),
        fill=COLOURS[mark.ball],
        outline=(60, 60, 60),
        width=max(1, round(unit)),
    )


def _paint_plate(rng: np.random.Generator, image: Image.Image, box: Box, pattern: str, period: float) -> None:
    """A pattern of mean 0 and one contrast for all kinds, added to the mean tint of the ground there."""
    under = np.asarray(image.crop(box.corners), dtype=np.float32).reshape(-1, 3).mean(0)
    tint = np.clip(under, 84, 172)
    wave = pattern_wave(pattern, box.size, period, rng.uniform(0, 1, 2))
    plate = np.clip(tint + 74 * wave[..., None], 0, 255).astype(np.uint8)
    image.paste(Image.fromarray(plate), (box.left, box.top))


def pattern_wave(pattern: str, size: Size, period: float, phase: np.ndarray) -> np.ndarray:
    """The pattern as an array [height, width] of mean 0, deviation 1, cut at +-1.2.

    period: SOURCE pixels. phase: two shares of a period.
    """
    turn = 2 * math.pi / period
    y, x = np.mgrid[0 : size.height, 0 : size.width].astype(np.float32)
    u, v = x * turn + 2 * math.pi * phase[0], y * turn + 2 * math.pi * phase[1]
    if pattern == "stripes":
        wave = np.sin(u)
    elif pattern == "bars":
        wave = np.sin(v)
    elif pattern == "slashes":
        wave = np.sin((u + v) * 0.72)
    elif pattern == "checks":
        wave = np.sin(u * 0.8) * np.sin(v * 0.8)
    elif pattern == "dots":
        wave = np.maximum(np.sin(u * 0.85), 0) * np.maximum(np.sin(v * 0.85), 0)
    elif pattern == "rings":
        wave = np.sin(np.hypot(x - size.width / 2, y - size.height / 2) * turn + 2 * math.pi * phase[0])
    elif pattern == "waves":
        wave = np.sin(v + 1.6 * np.sin(u * 0.4))
    elif pattern == "grid":
        wave = np.maximum(np.sin(u * 0.85), np.sin(v * 0.85))
    else:
        raise ValueError(f"no pattern is called {pattern!r}")
    wave = wave - wave.mean()
    wave = np.clip(wave / wave.std(), -1.2, 1.2)
    centred: np.ndarray = (wave - wave.mean()).astype(np.float32)
    return centred
