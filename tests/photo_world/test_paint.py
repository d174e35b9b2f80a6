"""Painting: parts look like the whole, and labels say what lies there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ergo.core.geometry import Box, TokenBudget
from ergo.photo_world.assets import Assets
from ergo.photo_world.lessons import CLOSE, COARSE, snapped
from ergo.photo_world.pages import SIGN, STICKER, THING
from ergo.photo_world.paint import labels_under, paint
from ergo.photo_world.questions import region_of
from ergo.photo_world.scene import STICKER_COLOURS, compose
from ergo.photo_world.texts import CHARACTERS


@pytest.mark.parametrize("seed", [0, 3])
def test_a_coarse_view_looks_like_the_whole_picture_shrunk(seed: int, test_assets: Assets) -> None:
    scene = compose(seed, test_assets, megapixels=(2.0, 2.5))
    whole = Box.whole(scene.size)
    size = COARSE.fit(scene.size)
    shrunk = paint(scene, test_assets, whole, scene.size).resize((size.width, size.height), Image.Resampling.BICUBIC)
    painted = paint(scene, test_assets, whole, size)
    apart = np.abs(np.asarray(shrunk, np.int16) - np.asarray(painted, np.int16)).mean()
    other = compose(seed + 1, test_assets, megapixels=(2.0, 2.5))
    unlike = paint(other, test_assets, Box.whole(other.size), size)
    assert apart < 6
    assert apart < 0.3 * np.abs(np.asarray(shrunk, np.int16) - np.asarray(unlike, np.int16)).mean()


@pytest.mark.parametrize("seed", range(6))
def test_the_labels_of_a_close_view_spell_the_text(seed: int, test_assets: Assets) -> None:
    scene = compose(seed, test_assets)
    sign = scene.things[0].sign
    assert sign
    box = snapped(region_of(scene, sign.box), scene.size)
    codes, order = labels_under(scene, test_assets, box, TokenBudget(400, 300, 28).fit(box.size))
    spelt = {}
    for number in range(1, len(sign.text) + 1):
        under = codes[order == number]
        if len(under):
            assert len(set(under.tolist())) == 1
            spelt[number] = CHARACTERS[under[0] - 1]
    assert len(spelt) >= 0.8 * len(sign.text)
    assert all(sign.text.upper()[number - 1] == letter for number, letter in spelt.items())


def test_the_letters_are_dark_on_light_or_light_on_dark_where_the_labels_say(test_assets: Assets) -> None:
    """The patches that have letters under them vary in brightness; the plate beside the text does not."""
    busy = calm = 0.0
    for seed in range(12):
        scene = compose(seed, test_assets)
        sign = scene.things[0].sign
        assert sign
        size = TokenBudget(400, 300, 28).fit(sign.box.size)
        pixels = np.asarray(paint(scene, test_assets, sign.box, size).convert("L"), np.float32)
        codes, order = labels_under(scene, test_assets, sign.box, size)
        spread = pixels.reshape(codes.shape[0], 14, codes.shape[1], 14).std((1, 3))
        busy += float(spread[order > 0].mean())
        calm += float(spread[(order == 0) & (codes == 0)].mean()) if ((order == 0) & (codes == 0)).any() else 0.0
    assert busy > 1.5 * calm


def test_a_coarse_view_labels_every_thing_and_every_text_as_unreadable(test_assets: Assets) -> None:
    scene = compose(1, test_assets)
    codes, order = labels_under(scene, test_assets, Box.whole(scene.size), COARSE.fit(scene.size))
    assert not order.any()
    assert (codes == SIGN).sum() >= len(scene.signs)
    assert {THING[thing.kind] for thing in scene.things} <= set(codes.ravel().tolist())


def test_a_thing_is_where_its_label_is(test_assets: Assets) -> None:
    """Without the thing, the picture changes under its labels and nowhere far from it."""
    from dataclasses import replace

    scene = compose(2, test_assets)
    whole, size = Box.whole(scene.size), COARSE.fit(scene.size)
    bare = replace(scene, things=scene.things[1:])
    change = np.abs(
        np.asarray(paint(scene, test_assets, whole, size), np.int16)
        - np.asarray(paint(bare, test_assets, whole, size), np.int16)
    ).sum(2)
    codes, _ = labels_under(scene, test_assets, whole, size)
    under = np.repeat(np.repeat(codes == THING[scene.things[0].kind], 14, 0), 14, 1)
    assert change[under].mean() > 20 * max(change[~under].mean(), 0.5)


def test_close_views_cost_what_they_may(test_assets: Assets) -> None:
    for seed in range(10):
        scene = compose(seed, test_assets)
        for sign in scene.signs:
            box = snapped(region_of(scene, sign.box), scene.size)
            size = CLOSE.fit(box.size)
            assert CLOSE.cost(size) <= CLOSE.max_tokens
            assert sign.letter * size.height / box.size.height >= 11


def test_a_sticker_is_where_its_label_is(test_assets: Assets) -> None:
    """Its colour is under its label, and hardly anywhere else on the plate."""
    from dataclasses import replace

    seen = 0
    for seed in range(12):
        scene = compose(seed, test_assets)
        for sign in scene.signs:
            if not sign.sticker:
                continue
            apart = np.abs(np.subtract(STICKER_COLOURS[sign.sticker.colour], [sign.ground, sign.ink])).mean(1)
            if apart.min() < 60:  # hardly to be seen on its plate, or of the colour of the letters
                continue
            box, bare = sign.box, replace(scene, things=(), strays=(replace(sign, sticker=None, glare=0.0),))
            with_it = replace(scene, things=(), strays=(replace(sign, glare=0.0),))
            size = TokenBudget(200, 100, 28).fit(box.size)
            codes, _ = labels_under(with_it, test_assets, box, size)
            label = STICKER[sign.sticker.colour, sign.sticker.shape]
            assert (codes == label).any()
            assert not (labels_under(bare, test_assets, box, size)[0] == label).any()
            pixels = np.asarray(paint(with_it, test_assets, box, size), np.float32)
            under = np.repeat(np.repeat(codes == label, 14, 0), 14, 1)
            colour = np.array(STICKER_COLOURS[sign.sticker.colour], np.float32)
            far = np.abs(pixels - colour).mean(2)
            assert (far[under] < 40).mean() > 0.2, (seed, sign.sticker)  # a star fills a third of its square
            assert (far[under] < 40).mean() > 3 * (far[~under] < 40).mean(), (seed, sign.sticker)
            seen += 1
    assert seen > 3
