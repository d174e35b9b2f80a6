"""The world asks what it claims to ask."""

from itertools import pairwise

import numpy as np
import pytest

from ergo.geometry import Size, TokenBudget
from ergo.image import Picture, View
from ergo.world.questions import CATEGORIES, ask, generate, honest_region
from ergo.world.scene import COLOURS, KINDS, PATTERNS, SPLITS, compose, draw, home_split, pattern_wave

SEEDS = range(40)


def test_the_same_seed_gives_the_same_bytes() -> None:
    for first, second in zip(generate("test", 3), generate("test", 3), strict=True):
        assert isinstance(first.image, Picture)
        assert isinstance(second.image, Picture)
        assert first.image.pixels.tobytes() == second.image.pixels.tobytes()
        assert (first.question, first.choices, first.region) == (second.question, second.choices, second.region)


def test_splits_share_no_asked_combination() -> None:
    for split in SPLITS:
        for seed in SEEDS:
            scene = compose(seed, split)
            mark = scene.landmarks[0]
            assert home_split(mark.colour, mark.kind.name) == split
            assert all(home_split(other.colour, other.kind.name) == "train" for other in scene.landmarks[1:])
    assert {home_split(colour, kind) for colour in COLOURS for kind in KINDS} == set(SPLITS)


def test_sizes_are_one_to_two_megapixels() -> None:
    budget = TokenBudget(16384)
    for seed in SEEDS:
        size = compose(seed, "test").size
        assert 1.0e6 < size.area < 2.05e6
        assert 1200 < budget.cost(budget.fit(size)) < 2700


def test_every_plate_hangs_inside_the_picture_where_its_kind_allows() -> None:
    for seed in SEEDS:
        scene = compose(seed, "train")
        for mark in scene.landmarks:
            assert mark.plate.clamped(scene.size) == mark.plate
            assert honest_region(scene, mark).coverage_of(mark.plate) == 1


def test_vaguer_references_have_larger_honest_regions() -> None:
    areas: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for seed in SEEDS:
        scene = compose(seed, "train")
        for mark in scene.landmarks:
            areas[mark.kind.ambiguity].append(honest_region(scene, mark).area / scene.size.area)
    means = [np.mean(areas[level]) for level in (0, 1, 2)]
    assert all(small < large for small, large in pairwise(means))


def test_questions_come_in_turn_and_hold_their_answer_once() -> None:
    samples = list(generate("validation", 20))
    assert [sample.category for sample in samples[:5]] == list(CATEGORIES)
    for sample in samples:
        assert sample.choices.count(sample.answer) == 1
        assert sample.region is not None


def test_an_honest_region_holds_the_true_one() -> None:
    rng = np.random.default_rng(0)
    for seed in SEEDS:
        scene = compose(seed, "train")
        for category in CATEGORIES:
            asked = ask(scene, rng, category, scene.landmarks[0])
            if asked:
                assert asked.honest.coverage_of(asked.region) == 1


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_differ_in_form_only(pattern: str) -> None:
    wave = pattern_wave(pattern, Size(72, 72), 5.5, np.array([0.3, 0.7]))
    assert abs(float(wave.mean())) < 1e-3
    assert 0.55 < float(wave.std()) < 1.05


def test_the_pattern_is_gone_in_the_coarse_view_and_there_at_full_size() -> None:
    coarse, full = [], []
    for seed in range(12):
        scene = compose(seed, "test")
        picture, plate = draw(scene), scene.landmarks[0].plate
        for budget, into in ((100, coarse), (16384, full)):
            view = View.of(picture, TokenBudget(budget))
            x1, y1, x2, y2 = (round(side) for side in view.from_source(plate))
            inner = np.asarray(view.pixels.convert("L"), float)[y1 + 3 : y2 - 2, x1 + 3 : x2 - 2]
            into.append(inner.std())
    assert np.mean(full) > 45
    assert np.mean(coarse) < 0.3 * np.mean(full)
