"""What the cold start is taught to say: where the landmark stands, where its plate must hang, the box.

Coordinates are snapped to GRID thousandths (centres to the nearest, boxes outward): the model's
tokenizer then knows each as one word, and a coarse token is about six of them wide.
"""

from __future__ import annotations

import math

from ergo.geometry import Box
from ergo.image import View
from ergo.world.questions import Asked
from ergo.world.scene import Landmark, Scene

GRID = 20  # thousandths of the view's side


def snapped(box: Box, view: View) -> Box:
    """The smallest box on the grid that holds `box`; SOURCE pixels."""
    width, height = view.box.size.width, view.box.size.height
    step_x, step_y = width * GRID / 1000, height * GRID / 1000
    left, top = math.floor(box.left / step_x), math.floor(box.top / step_y)
    right, bottom = math.ceil(box.right / step_x), math.ceil(box.bottom / step_y)
    return Box(
        round(left * step_x),
        round(top * step_y),
        min(round(right * step_x), width),
        min(round(bottom * step_y), height),
    )


def zoom(box: Box, view: View) -> str:
    """`<zoom>[x1, y1, x2, y2]</zoom>` with grid thousandths of the view."""
    width, height = view.box.size.width, view.box.size.height
    numbers = (box.left / width, box.top / height, box.right / width, box.bottom / height)
    x1, y1, x2, y2 = (round(number * 1000 / GRID) * GRID for number in numbers)
    return f"<zoom>[{x1}, {y1}, {x2}, {y2}]</zoom>"


def place(mark: Landmark, view: View) -> str:
    """Where a landmark stands, as `red 420 360`: the colour last, so that the word before the place
    is the one to look for."""
    x = round(mark.centre[0] / view.box.size.width * 1000 / GRID) * GRID
    y = round(mark.centre[1] / view.box.size.height * 1000 / GRID) * GRID
    return f"{mark.colour} {x} {y}"


def say_region(asked: Asked, view: View, box: Box) -> str:
    """The first look's reply, region `box` (on the grid)."""
    seen = ", ".join(place(mark, view) for mark in asked.marks)
    return f"<think> {seen}, {asked.thought}</think>{zoom(box, view)}"


def say_places(scene: Scene, view: View) -> str:
    """Every landmark with its place and its ball's colour."""
    return "".join(f" {place(mark, view)} {mark.ball}," for mark in scene.landmarks)


def say_patterns(scene: Scene) -> str:
    """Every landmark with the pattern on its plate."""
    return "".join(f" {mark.colour} {mark.pattern}," for mark in scene.landmarks)


def say_answer(asked: Asked) -> str:
    """The second look's reply, and that of a direct look."""
    return f"<answer>{asked.answer}</answer>"
