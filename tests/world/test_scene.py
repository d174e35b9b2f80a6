"""A scene: laid out from one seed, everything inside the picture, plates that say nothing from afar."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.view import View
from ergo.world.scene import (
    COLOURS,
    KINDS,
    PATTERNS,
    REACH,
    SPACING,
    SPLITS,
    Scene,
    compose,
    draw,
    home_split,
    pattern_wave,
)

SEEDS = range(40)
PINNED = (
    (Size(width=1178, height=989), 5, 4),
    [
        ("orange barn", "waves", "yellow", "[448, 440, 513, 504]"),
        ("black tent", "waves", "cyan", "[952, 488, 1016, 552]"),
        ("blue mill", "slashes", "orange", "[355, 687, 420, 752]"),
        ("yellow tent", "grid", "black", "[298, 595, 363, 660]"),
        ("cyan barn", "dots", "black", "[906, 274, 971, 339]"),
    ],
)  # seed 7 of the test split: size, number of landmarks and decoys; then name, pattern, ball and plate of each landmark


def parts(scene: Scene) -> list[Box]:
    return [
        *(mark.box for mark in scene.landmarks),
        *(mark.plate for mark in scene.landmarks),
        *(b for b, _ in scene.decoys),
    ]


# ── layout ─────────────────────────────────────────────────────────────────────────────────────


def test_the_layout_of_a_seed_is_pinned() -> None:
    """Whoever changes these numbers changes the data set, and every figure measured on it."""
    scene = compose(7, "test")
    assert (scene.size, len(scene.landmarks), len(scene.decoys)) == PINNED[0]
    assert [(mark.name, mark.pattern, mark.ball, str(mark.plate)) for mark in scene.landmarks] == PINNED[1]


def test_the_same_seed_draws_the_same_bytes_and_another_does_not() -> None:
    def drawn(seed: int, split: str) -> str:
        return hashlib.sha256(draw(compose(seed, split)).pixels.tobytes()).hexdigest()  # type: ignore[arg-type]

    assert drawn(3, "test") == drawn(3, "test")
    assert len({drawn(3, split) for split in SPLITS} | {drawn(4, "test")}) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_everything_is_inside_the_picture_and_landmarks_keep_apart(split: str) -> None:
    for seed in SEEDS:
        scene = compose(seed, split)  # type: ignore[arg-type]
        assert 4 <= len(scene.landmarks) <= 6
        assert all(part.clamped(scene.size) == part for part in parts(scene))
        for number, mark in enumerate(scene.landmarks):
            for other in scene.landmarks[:number]:
                apart = np.hypot(mark.centre[0] - other.centre[0], mark.centre[1] - other.centre[1])
                assert apart >= SPACING * scene.unit


def test_names_are_unique_in_a_scene_and_balls_are_of_another_landmark() -> None:
    for seed in SEEDS:
        scene = compose(seed, "train")
        colours = [mark.colour for mark in scene.landmarks]
        assert len(set(colours)) == len(colours)
        assert all(mark.ball in colours and mark.ball != mark.colour for mark in scene.landmarks)


def test_a_plate_hangs_where_its_kind_says() -> None:
    for seed in SEEDS:
        scene = compose(seed, "train")
        for mark in scene.landmarks:
            x = ((mark.plate.left + mark.plate.right) / 2 - mark.centre[0]) / scene.unit / REACH
            y = ((mark.plate.top + mark.plate.bottom) / 2 - mark.centre[1]) / scene.unit / REACH
            assert any(abs(x - a) < 0.6 and abs(y - b) < 0.6 for a, b in mark.kind.places), (mark.name, x, y)
            if mark.kind.ambiguity == 0:
                assert min(abs(x - a) + abs(y - b) for a, b in mark.kind.places) < 0.2


def test_scenes_look_alike_at_one_and_at_sixteen_megapixels() -> None:
    small, large = compose(5, "test", (1.0, 1.0)), compose(5, "test", (16.0, 16.0))
    assert large.size.area / small.size.area == pytest.approx(16, rel=0.01)
    for one, other in zip(small.landmarks, large.landmarks, strict=True):
        assert (one.name, one.pattern) == (other.name, other.pattern)
        assert np.array(one.plate.corners) * 4 == pytest.approx(np.array(other.plate.corners), abs=5)


# ── splits ─────────────────────────────────────────────────────────────────────────────────────


def test_splits_share_no_asked_combination() -> None:
    homes = {(colour, kind): home_split(colour, kind) for colour in COLOURS for kind in KINDS}
    shares = {split: list(homes.values()).count(split) / len(homes) for split in SPLITS}
    assert shares == {"train": 0.75, "validation": 0.125, "test": 0.125}
    for split in SPLITS:  # each kind and, but for training, several colours
        assert {kind for (_, kind), home in homes.items() if home == split} == set(KINDS)
        for seed in SEEDS:
            scene = compose(seed, split)
            assert homes[scene.landmarks[0].colour, scene.landmarks[0].kind.name] == split
            assert all(homes[other.colour, other.kind.name] == "train" for other in scene.landmarks[1:])


def test_the_same_seed_is_another_scene_in_each_split() -> None:
    assert len({str([mark.plate for mark in compose(1, split).landmarks]) for split in SPLITS}) == 3


# ── patterns ───────────────────────────────────────────────────────────────────────────────────

PHASE = np.array([0.3, 0.7])


@pytest.mark.parametrize("side", [62, 85])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_pattern_makes_its_plate_brighter(pattern: str, side: int) -> None:
    wave = pattern_wave(pattern, Size(side, side), side / 13, PHASE)
    assert wave.shape == (side, side)
    assert abs(float(wave.mean())) < 1e-3
    assert 0.5 < float(wave.std()) <= 1
    assert float(abs(wave).max()) < 1.4


def test_patterns_are_told_apart_by_form() -> None:
    waves = [pattern_wave(pattern, Size(72, 72), 5.5, PHASE).ravel() for pattern in PATTERNS]
    likeness = np.abs(np.corrcoef(waves)) - np.eye(len(PATTERNS))
    assert likeness.max() < 0.8


def test_an_unknown_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="no pattern is called"):
        pattern_wave("tartan", Size(9, 9), 5.0, PHASE)


def plates(count: int, budget: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Numbers of the patterns, and the grey levels of the inside of each plate as a view of `budget` shows it."""
    numbers, shown = [], []
    for seed in range(count):
        scene = compose(seed, "train")
        view = View.of(draw(scene), TokenBudget(budget))
        grey = np.asarray(view.pixels, float).mean(2)
        for mark in scene.landmarks:
            x1, y1, x2, y2 = (round(side) for side in view.from_source(mark.plate))
            numbers.append(PATTERNS.index(mark.pattern))
            shown.append(grey[y1 + 2 : y2 - 1, x1 + 2 : x2 - 1])
    return np.array(numbers), shown


def test_the_pattern_all_but_vanishes_in_the_coarse_view_and_is_there_at_full_size() -> None:
    """Grey levels of 255, inside the plates."""
    _, coarse = plates(10, 64)
    _, full = plates(10, 16384)
    assert np.mean([plate.std() for plate in full]) > 45
    assert np.mean([plate.std() for plate in coarse]) < 2


def test_the_brightness_of_a_plate_says_nothing_of_its_pattern() -> None:
    """One scene drawn with each pattern on all of its plates: ground and phases stay the same."""
    scene = compose(2, "train", (1.05, 1.05))
    seen = []
    for pattern in PATTERNS:
        marks = tuple(replace(mark, pattern=pattern) for mark in scene.landmarks)
        view = View.of(draw(replace(scene, landmarks=marks)), TokenBudget(64))
        boxes = [tuple(round(side) for side in view.from_source(mark.plate)) for mark in marks]
        grey = np.asarray(view.pixels, float).mean(2)
        seen.append([grey[y1 + 2 : y2 - 1, x1 + 2 : x2 - 1].mean() for x1, y1, x2, y2 in boxes])
    assert np.std(seen, axis=0).max() < 2  # grey levels of one plate, over the patterns


@pytest.mark.slow
@pytest.mark.xfail(
    strict=True,
    reason="the ground has no grain, so what is left of a pattern (0.3 to 7 grey levels) can be read: 90 % of eight "
    "patterns at 64 tokens, 99 % at 100, by one who knows where the plate is (measured 2026-11-23)",
)
@pytest.mark.parametrize("budget", [64, 100])
def test_no_reader_of_the_coarse_view_tells_the_patterns_apart(budget: int) -> None:
    numbers, shown = plates(200, budget)
    texture = np.array([_texture(plate) for plate in shown])
    texture = (texture - texture.mean(0)) / texture.std(0)
    learnt = np.arange(len(numbers)) < len(numbers) * 2 // 3
    distance = ((texture[~learnt, None] - texture[None, learnt]) ** 2).sum(2)
    nearest = numbers[learnt][distance.argsort(1)[:, :5]]
    read = np.array([np.bincount(row, minlength=len(PATTERNS)).argmax() for row in nearest])
    accuracy = float((read == numbers[~learnt]).mean())
    assert accuracy < 0.25, f"{accuracy:.0%} read; chance is 12.5 %"


def _texture(plate: np.ndarray) -> list[float]:
    """Deviation and autocorrelation: what any small convolution could find."""
    rest = plate - plate.mean()
    power = rest.var() + 0.01
    height, width = rest.shape
    shifts = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 2)]
    found = [float((rest[y:, x:] * rest[: height - y, : width - x]).mean() / power) for y, x in shifts]
    return [*found, float((rest[:-1, 1:] * rest[1:, :-1]).mean() / power), float(np.log(rest.std() + 0.05))]
