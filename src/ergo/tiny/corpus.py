"""What the tokenizer of ergo-tiny is made from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from ergo.core.geometry import Box, TokenBudget
from ergo.core.view import View
from ergo.families import ERGO_TINY
from ergo.families.base import with_choices
from ergo.images.picture import Picture
from ergo.tiny.teacher import GRID, say_answer, say_patterns, say_places, say_region, snapped, text_of
from ergo.world.questions import CATEGORIES, ask
from ergo.world.scene import compose


def corpus(scenes: int = 200) -> Iterator[str]:
    """Every question and reply of the world, and each coordinate often enough to become one token."""
    rng = np.random.default_rng(0)
    for seed in range(scenes):
        scene = compose(seed, "train")
        view = _blank(scene.size.width, scene.size.height)
        yield from (
            "What is where?",
            "What is on each?",
            text_of(say_places(scene, view)),
            text_of(say_patterns(scene)),
        )
        for category in CATEGORIES:
            for mark in scene.landmarks:
                posed = ask(scene, rng, category, mark)
                if posed is not None:
                    yield ERGO_TINY.prompts.region.format(question=posed.question)
                    yield with_choices(posed.question, posed.choices)
                    yield text_of(say_region(posed, view, snapped(posed.honest, view)))
                    yield text_of(say_answer(posed, view))
    for number in range(0, 1001, GRID):
        yield from [f"[{number}, {number}"] * 200


def _blank(width: int, height: int) -> View:
    """A view of nothing: the corpus needs its frame only."""
    picture = Picture(Image.new("RGB", (width, height)))
    return View.of(picture, TokenBudget(64), Box.whole(picture.size))
