"""The world asks what it claims to ask, and every answer can be checked against the layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from ergo.core.errors import UsageError
from ergo.core.geometry import TokenBudget
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample
from ergo.world.dataset import write
from ergo.world.questions import CATEGORIES, PosedQuestion, ask, generate, honest_region
from ergo.world.scene import COLOURS, PATTERNS, SPLITS, Scene, compose, home_split

SEEDS = range(40)
SMALL = (0.15, 0.2)  # megapixels: quick to draw
SAMPLES = list(generate("validation", 50, megapixels=SMALL))


def posed(category: str, count: int = 60) -> Iterator[tuple[Scene, PosedQuestion]]:
    """Questions of one category about training scenes."""
    rng = np.random.default_rng(0)
    scenes = (compose(seed, "train") for seed in range(10_000))
    pairs = ((scene, ask(scene, rng, category, scene.landmarks[0])) for scene in scenes)
    return islice(((scene, one) for scene, one in pairs if one), count)


# ── samples ────────────────────────────────────────────────────────────────────────────────────


def test_the_same_sample_is_the_same_to_the_byte() -> None:
    for first, second in zip(generate("test", 4), generate("test", 4), strict=True):
        assert isinstance(first.image, Picture)
        assert isinstance(second.image, Picture)
        assert first.image.pixels.tobytes() == second.image.pixels.tobytes()
        assert (first.question, first.choices, first.region, first.info) == (
            second.question, second.choices, second.region, second.info,
        )  # fmt: skip


def test_a_longer_data_set_begins_like_a_shorter_one() -> None:
    def ids(count: int) -> list[str]:
        return [sample.id for sample in generate("test", count, megapixels=SMALL)]

    assert ids(12)[:5] == ids(5)
    assert len(set(ids(12))) == 12


def test_sizes_are_one_to_two_megapixels() -> None:
    budget = TokenBudget(16384)
    for seed in SEEDS:
        size = compose(seed, "test").size
        assert 1.0e6 < size.area < 2.05e6
        assert 1200 < budget.cost(budget.fit(size)) < 2700


def test_categories_come_in_turn() -> None:
    assert [sample.category for sample in SAMPLES] == list(CATEGORIES) * 10


def test_options_hold_the_answer_once_and_anywhere() -> None:
    places = Counter(sample.choices.index(sample.answer) for sample in SAMPLES)
    assert set(places) == {0, 1, 2, 3}
    for sample in SAMPLES:
        assert sample.choices.count(sample.answer) == 1
        assert len(set(sample.choices)) == len(sample.choices)
        # balls have the colours of landmarks in the picture, and there may be only three others
        assert len(sample.choices) in {"relation": (2,), "coarse": (3, 4)}.get(sample.category, (4,))


def test_answers_are_balanced() -> None:
    """No answer is right so often that guessing it would pay."""
    patterns = Counter(one.answer for _, one in posed("attribute", 400))
    assert set(patterns) == set(PATTERNS)
    assert max(patterns.values()) < 2 * 400 / len(PATTERNS)
    sides = Counter(one.answer for _, one in posed("relation", 120))
    assert set(sides) == {"left", "right", "above", "below"}
    assert max(sides.values()) < 0.5 * 120


def test_splits_share_no_picture_and_no_asked_combination() -> None:
    named: dict[str, set[tuple[str, str]]] = {}
    for split in SPLITS:
        samples = list(generate(split, 20, megapixels=SMALL))
        assert {sample.id.split("-")[1] for sample in samples} == {split}
        marks = [compose(sample.info["seed"], split, SMALL).landmarks[0] for sample in samples]
        named[split] = {(mark.colour, mark.kind.name) for mark in marks}
        assert all(home_split(*pair) == split for pair in named[split])
    assert not named["train"] & named["test"]
    assert not named["train"] & named["validation"]
    assert not named["validation"] & named["test"]


# ── regions ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_true_region_lies_inside_the_honest_one_and_that_inside_the_picture(category: str) -> None:
    for scene, one in posed(category):
        assert one.honest.coverage_of(one.region) == 1
        assert one.honest.clamped(scene.size) == one.honest
        assert one.region.area < one.honest.area < 0.5 * scene.size.area


def test_an_honest_region_holds_the_plate_wherever_its_kind_lets_it_hang() -> None:
    for seed in SEEDS:
        scene = compose(seed, "train")
        for mark in scene.landmarks:
            assert honest_region(scene, mark).coverage_of(mark.plate) == 1


def test_vaguer_references_have_larger_honest_regions() -> None:
    areas: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for seed in SEEDS:
        scene = compose(seed, "train")
        for mark in scene.landmarks:
            areas[mark.kind.ambiguity].append(honest_region(scene, mark).area / scene.size.area)
    for small, large in pairwise(areas[level] for level in (0, 1, 2)):
        assert max(small) < min(large)


# ── truth ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("category", ["attribute", "vague"])
def test_the_attribute_asked_for_is_that_of_the_named_landmark(category: str) -> None:
    for scene, one in posed(category):
        [mark] = [mark for mark in scene.landmarks if f"the {mark.name}?" in one.question]
        assert one.answer == mark.pattern
        assert one.region == mark.plate
        assert (mark.kind.ambiguity > 0) == (category == "vague") == (one.category == "vague")


def test_two_hops_lead_by_a_ball_to_one_landmark_only() -> None:
    for scene, one in posed("two_hop"):
        post, mark = one.marks
        assert post.ball == mark.colour
        assert f"The ball at the {post.name} " in one.question
        assert mark.colour not in one.question.replace(post.name, "")  # never named
        [meant] = [m for m in scene.landmarks if m.colour == post.ball and m.kind is mark.kind]
        assert (meant, one.answer, one.region) == (mark, mark.pattern, mark.plate)


def test_relations_are_as_the_plates_lie() -> None:
    for _, one in posed("relation"):
        first, second = one.marks
        parts = one.question.split("the one with ")
        here, there = (next(mark for mark in (first, second) if part.startswith(mark.pattern)) for part in parts[1:])
        dx, dy = here.plate.left - there.plate.left, here.plate.top - there.plate.top
        across = "left" if dx < 0 else "right"
        down = "above" if dy < 0 else "below"
        assert one.answer == (across if abs(dx) >= abs(dy) else down)
        assert one.region.coverage_of(here.plate) == one.region.coverage_of(there.plate) == 1
        assert here.pattern != there.pattern


def test_coarse_questions_are_about_what_can_be_seen_from_afar() -> None:
    kinds = set()
    for scene, one in posed("coarse"):
        [mark] = one.marks
        kinds.add(one.answer in COLOURS)
        if one.answer in COLOURS:
            assert one.answer == mark.ball
        else:
            x, y = mark.centre[0] / scene.size.width, mark.centre[1] / scene.size.height
            assert one.answer == f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"
    assert kinds == {True, False}


# ── files ──────────────────────────────────────────────────────────────────────────────────────


def test_the_world_as_files_is_the_same_world(tmp_path: Path) -> None:
    assert write(tmp_path, "test", 5, SMALL) == 5
    for kept, drawn in zip(
        read_samples(tmp_path / "samples.jsonl"), generate("test", 5, megapixels=SMALL), strict=True
    ):
        assert isinstance(drawn.image, Picture)
        assert load_image(kept.image).pixels.tobytes() == drawn.image.pixels.tobytes()
        assert facts(kept) == facts(drawn)


def facts(sample: Sample) -> tuple[object, ...]:
    return (sample.id, sample.question, sample.choices, sample.answer, sample.region, sample.category, sample.info)


@pytest.mark.parametrize(
    ("count", "megapixels"), [(0, (1.0, 2.0)), (1, (2.0, 1.0)), (1, (0.0, 1.0)), (1, (1.0, 100.0))]
)
def test_a_world_that_cannot_be_is_refused(count: int, megapixels: tuple[float, float], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the world wants"):
        write(tmp_path, "test", count, megapixels)
