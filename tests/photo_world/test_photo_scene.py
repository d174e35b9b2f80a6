"""Scenes and questions: the same from the same seed, disjoint splits, a truth that is true."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ergo.core.geometry import Box
from ergo.photo_world.assets import BUNDLE, SPLITS, Assets, split_of
from ergo.photo_world.kinds import KINDS
from ergo.photo_world.questions import CATEGORIES, pose, questioned_things, region_of
from ergo.photo_world.scene import STICKER_APART, STICKER_COLOURS, compose, habit_of, split_questioned_in
from ergo.photo_world.texts import CANNOT_TELL, CHARACTERS, TEXT_KINDS, change_one, make_text

SCENES = 60


def test_a_seed_makes_the_same_scene_again(train_assets: Assets) -> None:
    assert compose(5, train_assets) == compose(5, train_assets)
    assert compose(5, train_assets) != compose(6, train_assets)


def test_splits_share_no_photograph_font_word_or_combination() -> None:
    of = {split: Assets(split, BUNDLE) for split in SPLITS}
    for one in SPLITS:
        assert of[one].grounds, f"{one} has no photograph"
        assert of[one].fonts, f"{one} has no font"
        assert of[one].words, f"{one} has no word"
        for other in SPLITS:
            if one < other:
                photographs = [{name.split("--")[0] for name in of[split].ground_names} for split in (one, other)]
                assert not photographs[0] & photographs[1]
                assert not set(of[one].fonts) & set(of[other].fonts)
                assert not {w.lower() for w in of[one].words} & {w.lower() for w in of[other].words}
    held_out = [kind for kind in KINDS if split_questioned_in(kind, habit_of(kind).noun) != "train"]
    assert {split_questioned_in(kind, habit_of(kind).noun) for kind in held_out} == {"validation", "test"}
    assert len(held_out) >= 8
    for seed in range(20):
        scene = compose(seed, of["train"])
        assert all(thing.kind not in held_out for thing in questioned_things(scene))


def test_what_hangs_where_follows_from_the_kind(train_assets: Assets) -> None:
    above = below = 0
    for seed in range(SCENES):
        for thing in compose(seed, train_assets).things:
            if thing.sign and habit_of(thing.kind).group == "building":
                above += 1
                assert thing.sign.centre[1] < thing.box.top
            if thing.sign and habit_of(thing.kind).group in ("food", "vehicle"):
                below += 1
                assert thing.sign.centre[1] > thing.centre[1]
    assert above
    assert below


def test_everything_lies_in_the_picture_and_nothing_on_anything_else(train_assets: Assets) -> None:
    for seed in range(SCENES):
        scene = compose(seed, train_assets)
        whole = Box.whole(scene.size)
        assert scene.things[0].sign
        for sign in scene.signs:
            assert sign.box.clamped(scene.size) == sign.box
        spaces = [thing.box for thing in scene.things]
        for number, space in enumerate(spaces):
            assert whole.coverage_of(space) == 1
            assert all(space.intersection(other) == 0 for other in spaces[number + 1 :])


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_asked_and_its_truth_holds(category: str, train_assets: Assets) -> None:
    rng = np.random.default_rng(0)
    found = 0
    for seed in range(SCENES):
        scene = compose(seed, train_assets)
        posed = pose(scene, rng, category, scene.things[0])
        if posed is None:
            continue
        found += 1
        assert posed.category == category
        assert "{" not in posed.question
        if category == "none":
            assert posed.answer == CANNOT_TELL
            assert posed.region is None
            named = [kind for kind in KINDS if f" {kind}" in posed.question.replace("?", "").replace(".", "")]
            assert named
            there = {thing.kind: thing for thing in scene.things}
            assert all(kind not in there or there[kind].sign is None for kind in posed.question.strip("?.").split() if kind in KINDS)  # fmt: skip
            continue
        assert posed.region is not None
        assert posed.region.clamped(scene.size) == posed.region
        assert region_of(scene, posed.region).coverage_of(posed.region) == 1
        if posed.choices:
            assert posed.choices.count(posed.answer) == 1
        if category in ("read", "vague", "two_hop", "choice"):
            assert posed.sign
            assert posed.answer == posed.sign.text.upper()
            assert posed.answer.lower() not in posed.question.lower()
            assert posed.region.area < 0.02 * scene.size.area
    assert found >= 8


def test_texts_are_spelt_with_characters_that_have_labels() -> None:
    rng = np.random.default_rng(0)
    for kind in TEXT_KINDS:
        for _ in range(200):
            text = make_text(rng, kind, ["harbour", "Mill"])
            assert 2 <= len(text) <= 9
            assert set(text.upper()) <= set(CHARACTERS)
            other = change_one(rng, text)
            assert other is None or (
                len(other) == len(text) and sum(a != b for a, b in zip(text, other, strict=True)) == 1
            )


def test_every_bundled_file_has_an_author_and_a_permissive_licence() -> None:
    licences = json.loads((BUNDLE / "LICENCES.json").read_text("utf-8"))
    for path in [*(BUNDLE / "grounds").iterdir(), *(BUNDLE / "fonts").iterdir()]:
        entry = licences[str(path.relative_to(BUNDLE))]
        assert entry["author"]
        assert entry["licence"] in ("CC0-1.0", "CC-BY-4.0", "OFL-1.1")
    assert sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()) <= 3_000_000


def test_a_name_belongs_to_one_split_for_ever() -> None:
    assert [split_of(name) for name in ("seeding_by_Clements_Engelhardt", "friends_by_Aitzol_Berasategi")] == ["train", "validation"]  # fmt: skip


def test_a_sticker_can_be_told_from_its_plate(train_assets: Assets) -> None:
    signs = [sign for seed in range(SCENES) for sign in compose(seed, train_assets).signs if sign.sticker]
    colours = {sign.sticker.colour for sign in signs if sign.sticker}
    assert colours == set(STICKER_COLOURS)
    for sign in signs:
        assert sign.sticker
        apart = np.abs(np.subtract(STICKER_COLOURS[sign.sticker.colour], sign.ground)).mean()
        assert apart >= STICKER_APART
