"""What the reader is shown and taught to say, made from scenes by a step's number.

    words     a crop with one text: what does it say
    places    a coarse view: which things and signs are where, and the regions of several questions
    crops     close views alone, each with its question
    looks     coarse views with questions, and the close view of every other one
    empty     a small photograph of nothing and questions in vain: cheap, it teaches to say what was asked about

The first look says where things stand and names the region: `<think> bus 240 280 sign 260 340</think><zoom>[...]`.
What it cannot find it says too: `<think> bus no</think><answer>cannot tell</answer>`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ergo.core.geometry import Box, Size, TokenBudget
from ergo.photo_world.assets import Assets
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.lettering import develop
from ergo.photo_world.model import GRID
from ergo.photo_world.pages import MERGE, PATCH, STICKER, THING, Crop, a_ground, make_page, make_word
from ergo.photo_world.paint import centres_under, labels_under, paint, patches_in
from ergo.photo_world.questions import (
    CATEGORIES,
    CHOICE,
    COLOUR,
    READ,
    RELATION,
    SHAPE,
    PosedQuestion,
    kinds_questioned_in,
    pose,
    pose_unanswerable,
    questioned_things,
    region_of,
)
from ergo.photo_world.rows import Piece, Talk, Turn, tokens_with
from ergo.photo_world.scene import Scene, Sign, Thing, compose
from ergo.photo_world.texts import CANNOT_TELL

NEED_CLOSE = tuple(category for category in CATEGORIES if category not in ("coarse", "none"))
GROUPS = ("word", "places", "region", "answer", "empty")
SIDE = PATCH * MERGE
COARSE = TokenBudget(100, 4, SIDE)
CLOSE = TokenBudget(120, 28, SIDE)
LESS_CLOSE = TokenBudget(72, 28, SIDE)
PAGE = (196, 140)
WORD_SHAPES = ((252, 112), (224, 84), (308, 84), (196, 140), (252, 84), (336, 84), (280, 112))
TIGHT_SHAPES = ((140, 56), (168, 56), (196, 56), (224, 56), (168, 84))
TIGHT = 0.6  # of the steps with words: crops with little beside the word cost a third of the others'


WHERE = "Where is the {kind}?"
FINDS = 3  # talks about where a thing is, of each coarse view
SECOND_LOOKS = 0.7  # share of the talks of the lesson of looks that have one

NOT_THERE = Piece(" no", what="nothing")


@dataclass(frozen=True)
class Mix:
    """Shares of the lessons, and how hard pictures are, 0..1. pages: beside every step, for the tower."""

    words: float
    places: float
    looks: float
    hardness: float = 0.7
    empty: float = 0.0
    crops: float = 0.0
    pages: int = 0


def make_talks(assets: Assets, mix: Mix, seed: int, step: int) -> list[list[Talk]]:
    """A step's conversations: a list of rows, each of talks over one first view."""
    rng = np.random.default_rng([seed, step])
    draw = rng.random() * (mix.words + mix.places + mix.looks + mix.empty + mix.crops)
    if draw < mix.words:
        tight = rng.random() < TIGHT
        return words_lesson(rng, assets, mix.hardness, 56 if tight else 28, TIGHT_SHAPES if tight else WORD_SHAPES)
    if draw >= mix.words + mix.places + mix.looks + mix.empty:
        return crops_lesson(rng, assets, mix.hardness, seed * 10**7 + step * 10)
    if draw >= mix.words + mix.places + mix.looks:
        return empty_lesson(rng, assets, 48)
    rows = []
    close = draw >= mix.words + mix.places
    for number in range(2 if close else 6):
        scene = compose(seed * 10**7 + step * 10 + number, assets)
        rows.append(scene_lesson(rng, assets, scene, mix.hardness, 6, close))
    return rows


def make_pages(assets: Assets, mix: Mix, seed: int, step: int) -> list[Crop]:
    """Pages full of words, which only the vision tower learns from: most of their patches have a character under them,
    against a sixth of those of a crop with one word."""
    rng = np.random.default_rng([seed, step, 1])
    return [make_page(rng, assets, PAGE, mix.hardness) for _ in range(mix.pages)]


def words_lesson(
    rng: np.random.Generator,
    assets: Assets,
    hardness: float,
    count: int,
    shapes: Sequence[tuple[int, int]] = WORD_SHAPES,
) -> list[list[Talk]]:
    """Crops of one of the shapes, with one text each."""
    shape = shapes[int(rng.integers(len(shapes)))]
    names = list(KINDS)
    rows: list[list[Talk]] = []
    for _ in range(count):
        crop = make_word(rng, assets, shape, hardness)
        kind = names[int(rng.integers(len(names)))]
        question = READ[int(rng.integers(len(READ)))].format(noun="sign", kind=kind)
        rows.append([(Turn(crop, question, spell(crop.text, crop), "word"),)])
    return rows


def empty_lesson(rng: np.random.Generator, assets: Assets, count: int) -> list[list[Talk]]:
    """Questions about what is not there."""
    names = kinds_questioned_in(assets.split)
    rows: list[list[Talk]] = []
    for _ in range(count):
        nothing = np.zeros((4, 6), np.uint8)
        crop = Crop(np.asarray(a_ground(rng, assets, 6 * PATCH, 4 * PATCH)), nothing, nothing)
        posed = pose_unanswerable(rng, names[int(rng.integers(len(names)))], in_vain(rng))
        rows.append([(Turn(crop, f"{posed.question} Where?", say_absence(posed), "empty"),)])
    return rows


def crops_lesson(rng: np.random.Generator, assets: Assets, hardness: float, first: int) -> list[list[Talk]]:
    """Close views alone, each with its question: what the true region alone answers."""
    rows: list[list[Talk]] = []
    for number in range(6):
        scene = compose(first + number, assets)
        for _ in range(12):
            posed = pose_any(rng, scene, NEED_CLOSE)
            if posed and posed.region and len(rows) < 3 * (number + 1):
                good = region_of(scene, posed.region)
                box = snapped(good if rng.random() < 0.5 else shaken(rng, good, scene.size), scene.size)
                crop = view(rng, assets, scene, box, a_budget(rng).fit(box.size), hardness)
                rows.append([(Turn(crop, with_options(posed), say_answer(scene, posed, crop, box), "answer"),)])
    return rows


def pose_any(rng: np.random.Generator, scene: Scene, categories: Sequence[str]) -> PosedQuestion | None:
    """A question of any of the categories about any thing that may be asked about; None where it cannot be posed."""
    things = questioned_things(scene)
    category = categories[int(rng.integers(len(categories)))]
    return pose(scene, rng, category, things[int(rng.integers(len(things)))])


def spell(text: str, crop: Crop, within: np.ndarray | None = None) -> tuple[Piece, ...]:
    """The answer, each character read from where it stands in the crop. within: patches of the text that is meant."""
    order = crop.order if within is None else np.where(within, crop.order, 0)
    letters = (Piece(letter, tokens_with(crop, order == number)) for number, letter in enumerate(text, 1))
    return Piece("<answer>"), *letters, Piece("</answer>")


def a_budget(rng: np.random.Generator) -> TokenBudget:
    """Of a close view: letters are learnt at several heights."""
    return CLOSE if rng.random() < 0.65 else LESS_CLOSE


def view(rng: np.random.Generator, assets: Assets, scene: Scene, box: Box, size: Size, hardness: float) -> Crop:
    """A part of a scene as the model is shown it, with a camera's faults."""
    image = develop(rng, paint(scene, assets, box, size), 0.6 * hardness)
    codes, order = labels_under(scene, assets, box, size)
    return Crop(np.asarray(image), codes, order, centres=centres_under(scene, box, codes))


def scene_lesson(
    rng: np.random.Generator, assets: Assets, scene: Scene, hardness: float, questions: int, close: bool
) -> list[Talk]:
    """One coarse view: what is where, and questions; every other one with its second look if `close`."""
    whole = Box.whole(scene.size)
    coarse = view(rng, assets, scene, whole, COARSE.fit(scene.size), hardness)
    talks: list[Talk] = [(Turn(coarse, "What is where?", say_places(scene, coarse), "places"),)]
    finds = [find(rng, scene) for _ in range(FINDS)]
    talks += [talk_about(rng, assets, scene, coarse, posed, hardness, False) for posed in finds]
    for _ in range(4 * questions):
        posed = pose_any(rng, scene, CATEGORIES)
        if posed is None:
            continue
        again = close and rng.random() < SECOND_LOOKS
        talks.append(talk_about(rng, assets, scene, coarse, posed, hardness, again))
        if len(talks) > questions + FINDS:
            break
    return talks


def in_vain(rng: np.random.Generator) -> tuple[str, ...]:
    """Forms for a question in vain: of every category, for a category that is never asked in vain is never refused, and
    one that often is, too often."""
    return () if rng.random() < 0.5 else (CHOICE, COLOUR, SHAPE, *RELATION)


def find(rng: np.random.Generator, scene: Scene) -> PosedQuestion:
    """Where a thing is, of any kind, or that there is none. Without this the kinds that only other splits ask about were
    never looked for because of a question, and were said not to be there."""
    there = {thing.kind: thing for thing in scene.things}
    kinds = list(there) if rng.random() < 0.5 else [kind for kind in KINDS if kind not in there]
    kind = kinds[int(rng.integers(len(kinds)))]
    question = WHERE.format(kind=kind)
    if kind not in there:
        return PosedQuestion("none", question, CANNOT_TELL, (), None, (), None, 0, missing=kind)
    box = there[kind].box.clamped(scene.size)
    return PosedQuestion("coarse", question, "", (), box, (there[kind],), None, 0)


def talk_about(
    rng: np.random.Generator,
    assets: Assets,
    scene: Scene,
    coarse: Crop,
    posed: PosedQuestion,
    hardness: float,
    close: bool,
) -> Talk:
    """The conversation about one question. Half of the second looks see a region a little off, and the first look
    is not taught then: reading is learnt from regions as the model will name them."""
    if posed.region is None:
        if posed.missing and posed.question != WHERE.format(kind=posed.missing):
            posed = pose_unanswerable(rng, posed.missing, in_vain(rng))
        first = Turn(coarse, f"{posed.question} Where?", say_absence(posed, scene, coarse), "region")
        if not close:
            return (first,)
        again = view(rng, assets, scene, Box.whole(scene.size), a_budget(rng).fit(scene.size), hardness)
        return first, Turn(again, posed.question, (Piece(f"<answer>{CANNOT_TELL}</answer>"),), "answer")
    exact = not close or rng.random() < 0.5
    good = region_of(scene, posed.region)
    box = snapped(good if exact else shaken(rng, good, scene.size), scene.size)
    first = Turn(coarse, f"{posed.question} Where?", say_region(scene, posed, coarse, box), "region", taught=exact)
    if not close:
        return (first,)
    crop = view(rng, assets, scene, box, a_budget(rng).fit(box.size), hardness)
    return first, Turn(crop, with_options(posed), say_answer(scene, posed, crop, box), "answer")


def with_options(posed: PosedQuestion) -> str:
    """The question as the second look asks it (ergo's own form for options)."""
    options = (f"({chr(65 + number)}) {choice}" for number, choice in enumerate(posed.choices))
    return "\n".join([posed.question, *options])


# ── replies ────────────────────────────────────────────────────────────────────────────────────
def spot(x: float, y: float, size: Size) -> str:
    """A point of SOURCE pixels as ` 420 360`, grid thousandths of the whole picture."""
    return "".join(
        f" {round(min(max(share, 0), 1) * 1000 / GRID) * GRID}" for share in (x / size.width, y / size.height)
    )


def say_thing(scene: Scene, thing: Thing, coarse: Crop) -> tuple[Piece, ...]:
    """` bus 240 280`"""
    under = tokens_with(coarse, coarse.codes == THING[thing.kind])
    return Piece(f" {thing.kind}"), Piece(spot(*thing.centre, scene.size), under, "thing")


def say_sign(scene: Scene, sign: Sign, coarse: Crop) -> tuple[Piece, ...]:
    """` sign 260 340`"""
    rows, columns = coarse.codes.shape
    x, y = sign.centre[0] / scene.size.width * columns, sign.centre[1] / scene.size.height * rows
    mask = np.zeros((rows, columns), bool)
    mask[min(int(y), rows - 1), min(int(x), columns - 1)] = True
    return Piece(" sign"), Piece(spot(*sign.centre, scene.size), tokens_with(coarse, mask), "sign")


def say_places(scene: Scene, coarse: Crop) -> tuple[Piece, ...]:
    """Every thing with its sign, from left to right."""
    pieces: list[Piece] = []
    for thing in sorted(scene.things, key=lambda thing: thing.centre[0]):
        pieces += say_thing(scene, thing, coarse)
        pieces += say_sign(scene, thing.sign, coarse) if thing.sign else (Piece(" sign"), NOT_THERE)
        pieces.append(Piece(","))
    return tuple(pieces)


def say_region(scene: Scene, posed: PosedQuestion, coarse: Crop, box: Box) -> tuple[Piece, ...]:
    """Where what is asked about stands, where its sign hangs, and the region."""
    pieces = [Piece("<think>")]
    for number, thing in enumerate(posed.mentioned):
        pieces += [*[Piece(",")] * (number > 0), *say_thing(scene, thing, coarse)]
    if posed.sign:
        pieces += say_sign(scene, posed.sign, coarse)
    corners = zip(box.corners, (scene.size.width, scene.size.height) * 2, strict=True)
    numbers = ", ".join(str(round(corner / side * 1000 / GRID) * GRID) for corner, side in corners)
    return *pieces, Piece(f"</think><zoom>[{numbers}]</zoom>")


def say_absence(posed: PosedQuestion, scene: Scene | None = None, coarse: Crop | None = None) -> tuple[Piece, ...]:
    """What is missing, and that it cannot be answered. It is named first: where it is looked for by its name, it turns
    out not to be there."""
    if posed.mentioned and scene and coarse:
        found: Sequence[Piece] = (*say_thing(scene, posed.mentioned[0], coarse), Piece(" sign"))
    else:
        found = (Piece(f" {posed.missing}"),)
    return Piece("<think>"), *found, NOT_THERE, Piece(f"</think><answer>{CANNOT_TELL}</answer>")


def say_answer(scene: Scene, posed: PosedQuestion, crop: Crop, box: Box) -> tuple[Piece, ...]:
    """The second look's reply. A text that the region has cut is read as far as the model may: it cannot tell."""
    if posed.sign and box.coverage_of(posed.sign.box) < 0.9:
        return (Piece(f"<answer>{CANNOT_TELL}</answer>"),)
    if posed.sign and posed.answer == posed.sign.text.upper():
        return spell(posed.answer, crop, patches_in(crop, box, posed.sign.box))
    under: tuple[int, ...] = ()
    if posed.sign and posed.sign.sticker and posed.category in ("attribute", "relation"):
        label = STICKER[posed.sign.sticker.colour, posed.sign.sticker.shape]
        under = tokens_with(crop, (crop.codes == label) & patches_in(crop, box, posed.sign.box))
    return Piece("<answer>"), Piece(f" {posed.answer}", under), Piece("</answer>")  # with a space it is one token


# ── regions ────────────────────────────────────────────────────────────────────────────────────
def snapped(box: Box, size: Size) -> Box:
    """The smallest box on the grid of coordinates that holds `box`."""
    step_x, step_y = size.width * GRID / 1000, size.height * GRID / 1000
    return Box(
        round(math.floor(box.left / step_x) * step_x),
        round(math.floor(box.top / step_y) * step_y),
        min(round(math.ceil(box.right / step_x) * step_x), size.width),
        min(round(math.ceil(box.bottom / step_y) * step_y), size.height),
    )


def shaken(rng: np.random.Generator, box: Box, size: Size) -> Box:
    """`box` as the model may name it: each edge up to a grid step off, as often at random as all to one side."""
    step_x, step_y = size.width * GRID / 1000, size.height * GRID / 1000
    left, right = rng.uniform(-1.2, 1.2, 2) if rng.random() < 0.5 else np.repeat(rng.uniform(-1.2, 1.2), 2)
    top, bottom = rng.uniform(-1.2, 1.2, 2) if rng.random() < 0.5 else np.repeat(rng.uniform(-1.2, 1.2), 2)
    moved = Box(
        round(box.left + left * step_x),
        round(box.top + top * step_y),
        round(max(box.right + right * step_x, box.left + (left + 1) * step_x)),
        round(max(box.bottom + bottom * step_y, box.top + (top + 1) * step_y)),
    )
    return moved.clamped(size) or box
