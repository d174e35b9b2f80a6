"""What can be posed about a scene, and what an honest answerer would look at.

`region` of a sample is the smallest box that shows the answer. `honest` is what can be known before
looking closely: everywhere the plate may hang, plus a margin. It is larger where the reference is
vague, and it is what the cold start teaches; the score never uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ergo.core.geometry import Box
from ergo.images.picture import Picture
from ergo.samples.sample import Sample
from ergo.world.scene import LANDMARK, PATTERNS, PLATE, REACH, SPLITS, Landmark, Scene, Split, compose, draw

MARGIN = 50  # added on each side of an honest region, 1/1000 of the picture
CATEGORIES = ("attribute", "vague", "two_hop", "relation", "coarse")


@dataclass(frozen=True)
class PosedQuestion:
    """A question with its truth and with what the teacher would say while looking for it.

    marks: the landmarks in the order in which one thinks of them. thought: how it goes on.
    evidence: what the answer is read from; `region` is the smallest box that holds it.
    compared: landmarks whose plates are found by their pattern before the answer is known.
    placed: the answer is a place that the first look has already named.
    """

    question: str
    choices: tuple[str, ...]
    answer: str
    category: str
    evidence: tuple[Box, ...]
    honest: Box
    marks: tuple[Landmark, ...]
    thought: str
    compared: tuple[Landmark, ...] = ()
    placed: bool = False

    @property
    def region(self) -> Box:
        return reduce(Box.union, self.evidence)


def honest_region(scene: Scene, mark: Landmark) -> Box:
    """Everywhere the plate of `mark` may hang, as far as its kind tells, plus the margin."""
    x, y = mark.centre
    reach = REACH * (1.0 if mark.kind.ambiguity < 2 else 1.22)
    half = (PLATE + MARGIN) * scene.unit
    spots = [(x + a * reach * scene.unit, y + b * reach * scene.unit) for a, b in mark.kind.places]
    box = Box(
        round(min(a for a, _ in spots) - half),
        round(min(b for _, b in spots) - half),
        round(max(a for a, _ in spots) + half),
        round(max(b for _, b in spots) + half),
    )
    inside = box.clamped(scene.size)
    assert inside is not None  # plates are laid out inside the picture
    return inside


def _landmark_region(scene: Scene, *marks: Landmark) -> Box:
    """The named landmarks themselves, with the margin."""
    box = marks[0].box
    for mark in marks[1:]:
        box = box.union(mark.box)
    margin = round(MARGIN * scene.unit)
    grown = Box(box.left - margin, box.top - margin, box.right + margin, box.bottom + margin)
    return grown.clamped(scene.size) or box


def _options(rng: np.random.Generator, answer: str, others: list[str], count: int) -> tuple[str, ...]:
    wrong = [str(other) for other in rng.permutation([o for o in others if o != answer])[: count - 1]]
    return tuple(str(choice) for choice in rng.permutation([answer, *wrong]))


def _attribute(scene: Scene, rng: np.random.Generator, mark: Landmark) -> PosedQuestion | None:
    return PosedQuestion(
        question=f"What pattern is on the {mark.kind.target} of the {mark.name}?",
        choices=_options(rng, mark.pattern, list(PATTERNS), 4),
        answer=mark.pattern,
        category="attribute" if mark.kind.ambiguity == 0 else "vague",
        evidence=(mark.plate,),
        honest=honest_region(scene, mark),
        marks=(mark,),
        thought=f"{mark.kind.target} {mark.kind.rule}",
    )


def _two_hop(scene: Scene, rng: np.random.Generator, mark: Landmark) -> PosedQuestion | None:
    """The landmark in question is named only by the ball that another one carries."""
    signposts = [other for other in scene.landmarks if other.ball == mark.colour]
    if not signposts:
        return None
    post = signposts[int(rng.integers(len(signposts)))]
    return PosedQuestion(
        question=f"The ball at the {post.name} has the colour of a {mark.kind.name}. "
        f"What pattern is on the {mark.kind.target} of that {mark.kind.name}?",
        choices=_options(rng, mark.pattern, list(PATTERNS), 4),
        answer=mark.pattern,
        category="two_hop",
        evidence=(mark.plate,),
        honest=honest_region(scene, mark),
        marks=(post, mark),
        thought=f"{mark.kind.target} {mark.kind.rule}",
    )


def _relation(scene: Scene, rng: np.random.Generator, mark: Landmark) -> PosedQuestion | None:
    """Which of two plates lies where: two small things, one region that holds both."""
    rivals = [
        other
        for other in scene.landmarks
        if other is not mark
        and other.pattern != mark.pattern
        and max(other.kind.ambiguity, mark.kind.ambiguity) < 2
        and honest_region(scene, mark).union(honest_region(scene, other)).area <= 0.2 * scene.size.area
    ]
    if not rivals:
        return None
    other = rivals[int(rng.integers(len(rivals)))]
    dx = (mark.plate.left - other.plate.left) / scene.unit
    dy = (mark.plate.top - other.plate.top) / scene.unit
    if max(abs(dx), abs(dy)) < 2 * PLATE:
        return None
    first, second = (mark, other) if rng.integers(2) else (other, mark)
    side, choices = (
        ("left" if dx < 0 else "right", ("left", "right"))
        if abs(dx) >= abs(dy)
        else ("above" if dy < 0 else "below", ("above", "below"))
    )
    return PosedQuestion(
        question=f"One plate is at the {first.name}, one at the {second.name}. "
        f"Where is the one with {mark.pattern}, seen from the one with {other.pattern}?",
        choices=tuple(str(choice) for choice in rng.permutation(choices)),
        answer=side,
        category="relation",
        evidence=(mark.plate, other.plate),
        honest=honest_region(scene, mark).union(honest_region(scene, other)),
        marks=(first, second),
        thought="both",
        compared=(mark, other),
    )


def _coarse(scene: Scene, rng: np.random.Generator, mark: Landmark) -> PosedQuestion | None:
    """Questions that the coarse view answers alone."""
    if rng.integers(2):
        x, y = mark.centre[0] / scene.size.width, mark.centre[1] / scene.size.height
        if min(abs(x - 0.5), abs(y - 0.5)) < 0.06:
            return None
        answer = f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"
        return PosedQuestion(
            question=f"In which quarter of the picture is the {mark.name}?",
            choices=_options(rng, answer, ["top left", "top right", "bottom left", "bottom right"], 4),
            answer=answer,
            category="coarse",
            evidence=(mark.box,),
            honest=_landmark_region(scene, mark),
            marks=(mark,),
            thought="seen",
            placed=True,
        )
    return PosedQuestion(
        question=f"What colour is the ball at the {mark.name}?",
        choices=_options(rng, mark.ball, [other.colour for other in scene.landmarks if other is not mark], 4),
        answer=mark.ball,
        category="coarse",
        evidence=(mark.ball_box,),
        honest=_landmark_region(scene, mark),
        marks=(mark,),
        thought="seen",
    )


MAKERS: dict[str, Callable[[Scene, np.random.Generator, Landmark], PosedQuestion | None]] = {
    "attribute": _attribute,
    "vague": _attribute,
    "two_hop": _two_hop,
    "relation": _relation,
    "coarse": _coarse,
}


def ask(scene: Scene, rng: np.random.Generator, category: str, mark: Landmark) -> PosedQuestion | None:
    """A question of this category about `mark`; None where the scene has none."""
    if category in ("attribute", "vague") and (category == "vague") != (mark.kind.ambiguity > 0):
        return None
    return MAKERS[category](scene, rng, mark)


def generate(
    split: Split, count: int, first_seed: int = 0, megapixels: tuple[float, float] = (1.05, 2.0)
) -> Iterator[Sample]:
    """`count` samples of a split, categories alternated, one question per scene, pictures drawn as they come.

    The n-th sample of a split is always the same, to the byte.
    """
    seed, made = first_seed, 0
    while made < count:
        category = CATEGORIES[made % len(CATEGORIES)]
        scene = compose(seed, split, megapixels)
        rng = np.random.default_rng([11, SPLITS.index(split), seed])
        posed = ask(scene, rng, category, scene.landmarks[0])
        seed += 1
        if posed is not None:
            yield to_sample(scene, posed, draw(scene))
            made += 1


def to_sample(scene: Scene, posed: PosedQuestion, picture: Picture) -> Sample:
    """A question about a scene as a row of a data set."""
    return Sample(
        id=f"world-{scene.split}-{scene.seed}",
        image=picture,
        question=posed.question,
        answer=posed.answer,
        choices=posed.choices,
        region=posed.region,
        category=posed.category,
        info={
            "ambiguity": posed.marks[-1].kind.ambiguity,
            "target_side": posed.marks[-1].plate.size.width,
            "landmark_side": round(2 * LANDMARK * scene.unit),
            "seed": scene.seed,
        },
    )
