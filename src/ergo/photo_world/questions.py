"""Questions about a scene, in plain English, with their truth.

read       what a text says: words, names, numbers, prices, times and plates
choice     which of four texts that look alike it is
attribute  colour or shape of the small sticker beside a text
relation   on which side of the text the sticker is
two_hop    the text of whatever is nearest to something
vague      the text of "the animal", where there is one animal
coarse     what the coarse view answers alone: halves of the picture, neighbours
none       what nothing in the picture answers: no such thing, or no text on it
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ergo.core.geometry import Box
from ergo.photo_world.assets import Split
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.scene import (
    STICKER_COLOURS,
    STICKER_SHAPES,
    Scene,
    Sign,
    Thing,
    grown,
    habit_of,
    split_questioned_in,
)
from ergo.photo_world.texts import CANNOT_TELL, change_one

CATEGORIES = ("read", "choice", "attribute", "relation", "two_hop", "vague", "coarse", "none")
MARGIN = 28  # units around a text that belong to a good region

READ = (
    "What is written on the {noun} of the {kind}?",
    "What is written on the {noun} next to the {kind}?",
    "What does the {noun} by the {kind} say?",
    "Read the {noun} of the {kind}.",
    "What text is on the {noun} of the {kind}?",
)
READ_BY_TEXT: dict[str, tuple[str, ...]] = {
    "plate": ("What is the number plate of the {kind}?", "Which plate does the {kind} have?"),
    "price": ("How much is the {kind}?", "What does the {kind} cost?", "What is the price of the {kind}?"),
    "name": ("What is the name on the {noun} of the {kind}?", "What is the {kind} called?"),
    "word": ("Which word is on the {noun} of the {kind}?",),
    "number": ("Which number is on the {noun} of the {kind}?",),
    "time": ("What time does the {noun} of the {kind} show?",),
}
CHOICE = "Which of these is written on the {noun} of the {kind}?"
COLOUR = "What colour is the sticker on the {noun} of the {kind}?"
SHAPE = "Which shape is the sticker on the {noun} of the {kind}?"
RELATION = (
    "On which side of the text is the sticker on the {noun} of the {kind}?",
    "Is the sticker left or right of the text on the {noun} of the {kind}?",
)
VAGUE = {
    "vehicle": ("What is the number plate of the vehicle?", "What is written on the vehicle?"),
    "food": ("How much is the food?", "What is the price of the food?"),
    "building": ("What is written on the building?", "What does the sign of the building say?"),
    "animal": ("What is the animal called?", "What is the name of the animal?"),
}
TWO_HOP = (
    "What is written on the thing nearest to the {kind}?",
    "What does the text of the thing that is nearest to the {kind} say?",
)


@dataclass(frozen=True)
class PosedQuestion:
    """A question with its truth.

    choices: option texts; the answer is one of them. region: the smallest box that answers, SOURCE pixels; None where
    nothing does. mentioned: what is found in the coarse view on the way, in order. sign: the text that is read, if one is.
    missing: the kind that is asked about and is not there.
    """

    category: str
    question: str
    answer: str
    choices: tuple[str, ...]
    region: Box | None
    mentioned: tuple[Thing, ...]
    sign: Sign | None
    ambiguity: int
    missing: str = ""


def pose(scene: Scene, rng: np.random.Generator, category: str, thing: Thing) -> PosedQuestion | None:
    """A question of `category` about `thing` (which the scene's split may ask about); None where there is none."""
    maker: Callable[[Scene, np.random.Generator, Thing], PosedQuestion | None] = _MAKERS[category]
    return maker(scene, rng, thing)


def questioned_things(scene: Scene) -> list[Thing]:
    """The things that this split may ask about."""
    return [
        thing for thing in scene.things if split_questioned_in(thing.kind, habit_of(thing.kind).noun) == scene.split
    ]


def kinds_questioned_in(split: Split) -> list[str]:
    """The kinds that this split may ask about. In vain too: a kind whose only questions in training are in vain is
    learnt to be absent."""
    return [kind for kind in KINDS if split_questioned_in(kind, habit_of(kind).noun) == split]


def region_of(scene: Scene, box: Box) -> Box:
    """`box` with a margin, inside the picture: the region a good first look names."""
    return grown(box, MARGIN * scene.unit).clamped(scene.size) or box


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _about_text(scene: Scene, category: str, question: str, thing: Thing, mentioned: tuple[Thing, ...], answer: str = "",
                choices: tuple[str, ...] = ()) -> PosedQuestion | None:  # fmt: skip
    sign = thing.sign
    if sign is None:
        return None
    text = question.format(noun=habit_of(thing.kind).noun, kind=mentioned[0].kind)
    return PosedQuestion(
        category, text, answer or sign.text.upper(), choices, sign.box, mentioned, sign, habit_of(thing.kind).ambiguity
    )


def _read(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    if thing.sign is None:
        return None
    return _about_text(scene, "read", _pick(rng, READ + 2 * READ_BY_TEXT[thing.sign.text_kind]), thing, (thing,))


def _choice(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    if thing.sign is None:
        return None
    right = thing.sign.text.upper()
    options = {right}
    for _ in range(24):
        other = change_one(rng, right)
        if other:
            options.add(other)
        if len(options) == 4:
            shuffled = tuple(str(option) for option in rng.permutation(sorted(options)))
            return _about_text(scene, "choice", CHOICE, thing, (thing,), right, shuffled)
    return None


def _attribute(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    if thing.sign is None or thing.sign.sticker is None:
        return None
    if rng.random() < 0.5:
        question, answer, options = COLOUR, thing.sign.sticker.colour, tuple(STICKER_COLOURS)
    else:
        question, answer, options = SHAPE, thing.sign.sticker.shape, STICKER_SHAPES
    shuffled = tuple(str(option) for option in rng.permutation(list(options))) if rng.random() < 0.3 else ()
    return _about_text(scene, "attribute", question, thing, (thing,), answer, shuffled)


def _relation(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    if thing.sign is None or thing.sign.sticker is None:
        return None
    return _about_text(scene, "relation", _pick(rng, RELATION), thing, (thing,), thing.sign.sticker.side)


def _nearest(scene: Scene, thing: Thing) -> Thing | None:
    """The nearest other thing, if it is clearly the nearest."""
    others = sorted(
        (math.dist(thing.centre, other.centre), number)
        for number, other in enumerate(scene.things)
        if other is not thing
    )
    if not others or (len(others) > 1 and others[1][0] < 1.2 * others[0][0]):
        return None
    return scene.things[others[0][1]]


def _two_hop(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    """`thing` has the text; the question names a neighbour to which it is nearest."""
    for number in rng.permutation(len(scene.things)):
        other = scene.things[int(number)]
        if other is not thing and _nearest(scene, other) is thing:
            return _about_text(scene, "two_hop", _pick(rng, TWO_HOP), thing, (other, thing))
    return None


def _vague(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    group = habit_of(thing.kind).group
    alone = sum(habit_of(other.kind).group == group for other in scene.things) == 1
    if group not in VAGUE or not alone:
        return None
    return _about_text(scene, "vague", _pick(rng, VAGUE[group]), thing, (thing,))


def _coarse(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    x, y = thing.centre[0] / scene.size.width, thing.centre[1] / scene.size.height
    mentioned: tuple[Thing, ...] = (thing,)
    kind = int(rng.integers(3))
    if kind == 0 and abs(x - 0.5) > 0.06:
        question, answer = "Is the {kind} in the left or right half of the picture?", "left" if x < 0.5 else "right"
    elif kind == 1 and abs(y - 0.5) > 0.06:
        question, answer = "Is the {kind} in the upper or lower half of the picture?", "upper" if y < 0.5 else "lower"
    elif (near := _nearest(scene, thing)) is not None:
        question, answer, mentioned = "What is nearest to the {kind}?", near.kind, (thing, near)
    else:
        return None
    box = mentioned[-1].box.clamped(scene.size)
    return PosedQuestion("coarse", question.format(kind=thing.kind), answer, (), box, mentioned, None, 0)


def _none(scene: Scene, rng: np.random.Generator, thing: Thing) -> PosedQuestion | None:
    """About a thing that is not there, or one of the picture's that has no text."""
    bare = [other for other in questioned_things(scene) if other.sign is None]
    if bare and rng.random() < 0.5:
        other = bare[int(rng.integers(len(bare)))]
        question = _pick(rng, READ).format(noun=habit_of(other.kind).noun, kind=other.kind)
        return PosedQuestion("none", question, CANNOT_TELL, (), None, (other,), None, 0)
    there = {other.kind for other in scene.things}
    absent = [kind for kind in kinds_questioned_in(scene.split) if kind not in there]
    return pose_unanswerable(rng, absent[int(rng.integers(len(absent)))])


def pose_unanswerable(rng: np.random.Generator, kind: str, forms: tuple[str, ...] = ()) -> PosedQuestion:
    """A question about a kind that is not there. forms: of the question (default: those that read a text)."""
    habit = habit_of(kind)
    options = forms or READ + 2 * READ_BY_TEXT[habit.texts[0]]
    question = _pick(rng, options).format(noun=habit.noun, kind=kind)
    return PosedQuestion("none", question, CANNOT_TELL, (), None, (), None, 0, missing=kind)


_MAKERS: dict[str, Callable[[Scene, np.random.Generator, Thing], PosedQuestion | None]] = {
    "read": _read,
    "choice": _choice,
    "attribute": _attribute,
    "relation": _relation,
    "two_hop": _two_hop,
    "vague": _vague,
    "coarse": _coarse,
    "none": _none,
}


def all_words() -> list[str]:
    """Every sentence the world says, for the tokenizer's words."""
    fixed = [
        *READ,
        *(q for group in READ_BY_TEXT.values() for q in group),
        *(q for g in VAGUE.values() for q in g),
        *TWO_HOP,
    ]
    fixed += [
        "Which of these is written on the {noun} of the {kind}?",
        "What colour is the sticker on the",
        "Which shape is the sticker on the",
        "On which side of the text is the sticker. Is the sticker left or right of the text on the",
        "Is the {kind} in the left or right half of the picture? upper or lower What is nearest to the",
        "Where? What is where?",
        "vehicle food building animal",
        " ".join((*STICKER_COLOURS, *STICKER_SHAPES)),
    ]
    nouns = [" plate price tag sign label"]
    return [*fixed, *(" " + text for text in fixed), *nouns, *(" " + kind for kind in KINDS)]
