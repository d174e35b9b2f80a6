"""What the cold start is taught to say, and what it should be looking at while it says it.

A reply is a row of pieces. A piece that is read off the picture carries where: the first look says
where landmarks stand (`red 420 360`), what follows from that, and the box; the second reads the
pattern. Coordinates are snapped to GRID thousandths (centres to the nearest, boxes outward): the
model's tokenizer knows each as one word, and a coarse token is about six of them wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ergo.geometry import Box
from ergo.image import View
from ergo.world.questions import Asked
from ergo.world.scene import Landmark, Scene

GRID = 20  # thousandths of the view's side


@dataclass(frozen=True)
class Piece:
    """Some words of a reply. look: what they are read from, SOURCE pixels; empty if from no picture."""

    text: str
    look: tuple[Box, ...] = ()


Reply = tuple[Piece, ...]


def text_of(reply: Reply) -> str:
    """The reply as the model says it."""
    return "".join(piece.text for piece in reply)


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


def place(mark: Landmark, view: View) -> Reply:
    """Where a landmark stands, as ` red 420 360`: the word before the place is the one to look for."""
    x = round(mark.centre[0] / view.box.size.width * 1000 / GRID) * GRID
    y = round(mark.centre[1] / view.box.size.height * 1000 / GRID) * GRID
    return Piece(f" {mark.colour}"), Piece(f" {x} {y}", (mark.box,))


def say_region(asked: Asked, view: View, box: Box) -> Reply:
    """The first look's reply, region `box` (on the grid)."""
    pieces = [Piece("<think>")]
    for number, mark in enumerate(asked.marks):
        pieces += [Piece(",")] * (number > 0)
        pieces += place(mark, view)
    return *pieces, Piece(f", {asked.thought}</think>{zoom(box, view)}")


def say_answer(asked: Asked) -> Reply:
    """The second look's reply, and that of a direct look."""
    return Piece("<answer>"), Piece(asked.answer, asked.evidence), Piece("</answer>")


def say_places(scene: Scene, view: View) -> Reply:
    """Every landmark with its place and its ball's colour."""
    return tuple(
        piece
        for mark in scene.landmarks
        for piece in (*place(mark, view), Piece(f" {mark.ball}", (mark.box,)), Piece(","))
    )


def say_patterns(scene: Scene) -> Reply:
    """Every landmark with the pattern on its plate."""
    return tuple(
        piece
        for mark in scene.landmarks
        for piece in (Piece(f" {mark.colour}"), Piece(f" {mark.pattern}", (mark.plate,)), Piece(","))
    )
