"""A scene: things on a photograph, most of them with a small text that belongs to them.

Things are large enough to be recognised in a coarse view. Their texts are not: letters are about a hundredth of the
picture high, 3 pixels where the picture is shown as 100 tokens. Where a text hangs follows from the kind: a
vehicle's plate at its bumper, a price under the fruit, a sign above the door, an animal's tag on one of two
sides, everything else anywhere around. Everything follows from one seed, and nothing is drawn here.

Lengths in the constants are in units: 1/1000 of the geometric mean of the picture's sides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from ergo.core.geometry import Box, Size
from ergo.photo_world.assets import SPLITS, Assets, Split, split_of
from ergo.photo_world.kinds import ANIMALS, BUILDINGS, FOOD, KINDS, VEHICLES
from ergo.photo_world.lettering import Colour, load_font, text_size, two_colours
from ergo.photo_world.texts import TextKind, make_text

THING = (150, 230)  # longer side of a thing, units
LETTER = (9.0, 14.0)  # height of a text's ink, units
GAP = 12  # units between a thing and its text
AROUND = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0))
STICKER_COLOURS: dict[str, Colour] = {
    "red": (214, 40, 40),
    "blue": (38, 84, 220),
    "green": (30, 150, 60),
    "yellow": (246, 208, 30),
    "black": (24, 24, 28),
    "white": (246, 246, 246),
}
STICKER_APART = 60  # of 255, the mean over red, green and blue: a sticker from its plate
STICKER_SHAPES = ("circle", "square", "triangle", "star")


@dataclass(frozen=True)
class Habit:
    """How a group of kinds wears its text. noun: what the text is called. places: directions it may hang in."""

    group: str
    noun: str
    texts: tuple[TextKind, ...]
    places: tuple[tuple[int, int], ...]

    @property
    def ambiguity(self) -> int:
        """0 one place, 1 one of two, 2 anywhere around."""
        return min(len(self.places) - 1, 2)


VEHICLE = Habit("vehicle", "plate", ("plate",), ((0, 1),))
FRUITS = Habit("food", "price tag", ("price",), ((0, 1),))
BUILDING = Habit("building", "sign", ("word", "name"), ((0, -1),))
ANIMAL = Habit("animal", "tag", ("name",), ((-1, 0), (1, 0)))
OTHER = Habit("other", "label", ("word", "number", "time"), AROUND)


def habit_of(kind: str) -> Habit:
    """How this kind wears its text."""
    for names, habit in ((VEHICLES, VEHICLE), (FOOD, FRUITS), (BUILDINGS, BUILDING), (ANIMALS, ANIMAL)):
        if kind in names:
            return habit
    return OTHER


@dataclass(frozen=True)
class Sticker:
    """A small coloured shape on one side of a text."""

    colour: str
    shape: str
    side: str


@dataclass(frozen=True)
class Sign:
    """A text on its plate. centre, width, height, letter (height of the ink): SOURCE pixels. tilt: radians.
    keystone: how much taller the right side is than the left, -0.2..0.2."""

    text: str
    text_kind: TextKind
    font: str
    centre: tuple[float, float]
    width: float
    height: float
    letter: float
    tilt: float
    keystone: float
    ground: Colour
    ink: Colour
    glare: float
    sticker: Sticker | None

    @property
    def quad(self) -> np.ndarray:
        """Corners [4, 2] in SOURCE pixels: upper left, upper right, lower right, lower left."""
        across, down = self.width / 2, self.height / 2
        left, right = down * (1 - self.keystone), down * (1 + self.keystone)
        flat = np.array([[-across, -left], [across, -right], [across, right], [-across, left]])
        cos, sin = math.cos(self.tilt), math.sin(self.tilt)
        return np.asarray(flat @ np.array([[cos, sin], [-sin, cos]]) + np.array(self.centre))

    @property
    def box(self) -> Box:
        """The smallest box around the plate."""
        low, high = self.quad.min(0), self.quad.max(0)
        return Box(math.floor(low[0]), math.floor(low[1]), math.ceil(high[0]), math.ceil(high[1]))


@dataclass(frozen=True)
class Thing:
    """One thing. centre, width, height before it is turned by `angle` degrees: SOURCE pixels. light: brightness."""

    kind: str
    centre: tuple[float, float]
    width: float
    height: float
    angle: float
    light: float
    sign: Sign | None

    @property
    def box(self) -> Box:
        """Around the thing as it would lie unturned."""
        x, y = self.centre
        return Box(
            round(x - self.width / 2), round(y - self.height / 2), round(x + self.width / 2), round(y + self.height / 2)
        )


@dataclass(frozen=True)
class Scene:
    """What is where. ground: index of the photograph in the split's assets; piece: the part of it that is shown.
    unit: SOURCE pixels per unit."""

    seed: int
    split: Split
    size: Size
    unit: float
    ground: int
    piece: Box
    things: tuple[Thing, ...]
    strays: tuple[Sign, ...]

    @property
    def signs(self) -> list[Sign]:
        return [*(thing.sign for thing in self.things if thing.sign), *self.strays]


def split_questioned_in(kind: str, noun: str) -> Split:
    """The one split in which this kind is asked about: combinations of the others are held out."""
    return split_of(f"{kind} {noun}")


def compose(seed: int, assets: Assets, megapixels: tuple[float, float] = (4.0, 10.0)) -> Scene:
    """Lay a scene out. Its first thing is one that this split may ask about, and has a text."""
    rng = np.random.default_rng([SPLITS.index(assets.split), seed])
    ground = int(rng.integers(len(assets.grounds)))
    high, wide = assets.grounds[ground].shape[:2]
    aspect = math.exp(rng.uniform(math.log(0.75), math.log(1.5)))
    share = rng.uniform(0.6, 1.0)
    width = min(wide, high * aspect) * share
    piece_size = int(width), int(width / aspect)
    left, top = int(rng.integers(wide - piece_size[0] + 1)), int(rng.integers(high - piece_size[1] + 1))
    piece = Box(left, top, left + piece_size[0], top + piece_size[1])
    area = rng.uniform(*megapixels) * 1e6
    size = Size(round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect)))
    unit = math.sqrt(size.area) / 1000
    kinds = [str(kind) for kind in rng.permutation(list(KINDS))]
    first = next(kind for kind in kinds if split_questioned_in(kind, habit_of(kind).noun) == assets.split)
    kinds = [first, *(kind for kind in kinds if kind != first)]
    things: list[Thing] = []
    taken: list[Box] = []
    for kind in kinds[: int(rng.integers(3, 7))]:
        for _ in range(12):
            thing = _place(rng, assets, kind, size, unit, with_sign=not things or rng.random() < 0.8)
            space = grown(thing.box.union(thing.sign.box) if thing.sign else thing.box, 8 * unit)
            if space.clamped(size) == space and all(space.intersection(other) == 0 for other in taken):
                things.append(thing)
                taken.append(space)
                break
        else:
            if not things:  # the first must be there: an emptier picture is tried
                return compose(seed + 1_000_003, assets, megapixels)
    strays = []
    for _ in range(int(rng.integers(0, 3))):
        kind_of_text: TextKind = ("word", "number", "name")[int(rng.integers(3))]
        centre = rng.uniform(0.06, 0.94) * size.width, rng.uniform(0.04, 0.96) * size.height
        stray = _sign(rng, assets, kind_of_text, centre, unit)
        space = grown(stray.box, 8 * unit)
        if space.clamped(size) == space and all(space.intersection(other) == 0 for other in taken):
            strays.append(stray)
            taken.append(space)
    return Scene(seed, assets.split, size, unit, ground, piece, tuple(things), tuple(strays))


def _place(rng: np.random.Generator, assets: Assets, kind: str, size: Size, unit: float, with_sign: bool) -> Thing:
    picture = assets.things[kind]
    longest = rng.uniform(*THING) * unit / max(picture.size)
    width, height = picture.width * longest, picture.height * longest
    centre = rng.uniform(0.05, 0.95) * size.width, rng.uniform(0.05, 0.95) * size.height
    sign = None
    if with_sign:
        habit = habit_of(kind)
        text_kind = habit.texts[int(rng.integers(len(habit.texts)))]
        if kind == "clock":
            text_kind = "time"
        sign = _sign(rng, assets, text_kind, (0.0, 0.0), unit)
        x, y = habit.places[int(rng.integers(len(habit.places)))]
        gap = GAP * unit if habit is not VEHICLE else -0.12 * height - sign.height
        jitter = rng.uniform(-10, 10, 2) * unit
        at = (
            centre[0] + x * (width / 2 + sign.width / 2 + GAP * unit) + jitter[0],
            centre[1] + y * (height / 2 + sign.height / 2 + gap) + jitter[1] * (0.3 if y else 1.0),
        )
        sign = replace(sign, centre=(float(at[0]), float(at[1])))
    angle = 0.0 if rng.random() < 0.4 else float(rng.normal(0, 6))
    return Thing(kind, centre, width, height, angle, float(rng.uniform(0.75, 1.15)), sign)


def _sign(rng: np.random.Generator, assets: Assets, kind: TextKind, centre: tuple[float, float], unit: float) -> Sign:
    text = make_text(rng, kind, assets.words)
    font = assets.fonts[int(rng.integers(len(assets.fonts)))]
    wide, high = text_size(text, load_font(font, 40))
    letter = rng.uniform(*LETTER) * unit
    sticker = None
    if rng.random() < 0.4:
        names = list(STICKER_COLOURS)
        sticker = Sticker(
            names[int(rng.integers(len(names)))],
            STICKER_SHAPES[int(rng.integers(len(STICKER_SHAPES)))],
            ("left", "right")[int(rng.integers(2))],
        )
    ground, ink = two_colours(rng, 0.6)
    if sticker:
        sticker = replace(sticker, colour=_seen_on(ground, sticker.colour))
    pad = rng.uniform(0.5, 0.9) * letter
    return Sign(
        text=text,
        text_kind=kind,
        font=font,
        centre=centre,
        width=wide / high * letter + 2 * pad + (1.8 * letter if sticker else 0),
        height=letter + 2 * rng.uniform(0.35, 0.6) * letter,
        letter=letter,
        tilt=float(rng.normal(0, 0.045)),
        keystone=float(np.clip(rng.normal(0, 0.05), -0.15, 0.15)),
        ground=ground,
        ink=ink,
        glare=float(rng.uniform(0.2, 0.5)) if rng.random() < 0.1 else 0.0,
        sticker=sticker,
    )


def _seen_on(ground: Colour, colour: str) -> str:
    """`colour`, or the next of the stickers' colours that can be told from the plate."""
    names = list(STICKER_COLOURS)
    start = names.index(colour)
    apart = {name: float(np.abs(np.subtract(STICKER_COLOURS[name], ground)).mean()) for name in names}
    return next(name for name in names[start:] + names[:start] if apart[name] >= STICKER_APART)


def grown(box: Box, by: float) -> Box:
    """`box` with `by` SOURCE pixels more on every side; it may leave the picture."""
    return Box(round(box.left - by), round(box.top - by), round(box.right + by), round(box.bottom + by))
