"""What the cold start is taught to reply, and what it should attend to while it does.

A reply is a row of pieces. A piece that is read off the picture carries where: the first look says
where landmarks stand (`red 420 360`), what follows from that, and the box; the second reads the
pattern. Coordinates are snapped to GRID thousandths (centres to the nearest, boxes outward): the
model's tokenizer knows each as one word, and a coarse token is about six of them wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ergo.core.geometry import Box
from ergo.core.view import View
from ergo.world.questions import PosedQuestion
from ergo.world.scene import Landmark, Scene

GRID = 20  # thousandths of the view's side


@dataclass(frozen=True)
class Piece:
    """Some words of a reply. look: what they are read from, SOURCE pixels; empty if from no picture.

    coarsely: read from the conversation's first view, not the latest.
    """

    text: str
    look: tuple[Box, ...] = ()
    coarsely: bool = False


LabelledReply = tuple[Piece, ...]


def text_of(reply: LabelledReply) -> str:
    """The reply as the model generates it."""
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


def place(mark: Landmark, view: View) -> LabelledReply:
    """Where a landmark stands, as ` red 420 360`: the word before the place is the one to look for."""
    return Piece(f" {mark.colour}"), Piece(f" {_spot(*mark.centre, view)}", (mark.box,))


def _spot(x: float, y: float, view: View) -> str:
    """A point of SOURCE pixels as `420 360`, grid thousandths of the view."""
    shares = (x - view.box.left) / view.box.size.width, (y - view.box.top) / view.box.size.height
    return " ".join(str(round(min(max(share, 0), 1) * 1000 / GRID) * GRID) for share in shares)


def say_region(posed: PosedQuestion, view: View, box: Box) -> LabelledReply:
    """The first look's reply, region `box` (on the grid)."""
    return *_thought_of(posed, view), Piece(f", {posed.thought}</think>{zoom(box, view)}")


def say_early(posed: PosedQuestion, view: View) -> LabelledReply:
    """The answer at the first look, after the same thought, whether or not the view shows it."""
    evidence = posed.evidence if posed.category == "coarse" and not posed.placed else ()
    opening = Piece(f", {posed.thought}</think><answer>")
    return *_thought_of(posed, view), opening, Piece(posed.answer, evidence), Piece("</answer>")


def _thought_of(posed: PosedQuestion, view: View) -> list[Piece]:
    """Where the landmarks stand. In two hops the second one's colour is read off the first one's ball."""
    pieces = [Piece("<think>")]
    for number, mark in enumerate(posed.marks):
        colour, spot = place(mark, view)
        if number and posed.category == "two_hop":
            colour = Piece(colour.text, _around_ball(posed.marks[0]))
        pieces += [*[Piece(",")] * (number > 0), colour, spot]
    return pieces


def _around_ball(mark: Landmark) -> tuple[Box, ...]:
    """In a coarse view the ball's colour may stand out in either token."""
    return mark.ball_box, mark.box


def _plate(pattern: str, plate: Box, view: View) -> LabelledReply:
    """Where a plate hangs, as ` stripes 420 360`."""
    x, y = (plate.left + plate.right) / 2, (plate.top + plate.bottom) / 2
    return Piece(f" {pattern}"), Piece(f" {_spot(x, y, view)}", (plate,))


def say_answer(posed: PosedQuestion, view: View, whole: View | None = None) -> LabelledReply:
    """The second look's reply, and that of a direct look; what is compared is found in `view` first.

    whole: a view of the whole picture, if a place in the picture is to be repeated before the answer: left to
    itself the model finds its way back to the x of what it wrote, and not to the y (docs/log.md).
    """
    pieces: list[Piece] = []
    if posed.placed and whole:
        colour, spot = place(posed.marks[0], whole)
        pieces += [Piece("<think>"), colour, replace(spot, coarsely=True)]
    for number, mark in enumerate(posed.compared):
        pieces += [Piece("," if number else "<think>"), *_plate(mark.pattern, mark.plate, view)]
    opening = "</think><answer>" if pieces else "<answer>"
    evidence = () if posed.placed or posed.compared else posed.evidence
    return *pieces, Piece(opening), Piece(posed.answer, evidence), Piece("</answer>")


def say_places(scene: Scene, view: View) -> LabelledReply:
    """Every landmark with its place and its ball's colour."""
    return tuple(
        piece
        for mark in scene.landmarks
        for piece in (*place(mark, view), Piece(f" {mark.ball}", _around_ball(mark)), Piece(","))
    )


def say_patterns(scene: Scene) -> LabelledReply:
    """Every landmark with the pattern on its plate."""
    return tuple(
        piece
        for mark in scene.landmarks
        for piece in (Piece(f" {mark.colour}"), Piece(f" {mark.pattern}", (mark.plate,)), Piece(","))
    )


def say_plates(scene: Scene, view: View) -> LabelledReply:
    """Every plate that lies wholly in the view, with its place."""
    plates = [
        *((mark.pattern, mark.plate) for mark in scene.landmarks),
        *((pattern, box) for box, pattern in scene.decoys),
    ]
    seen = [(pattern, box) for pattern, box in plates if view.box.coverage_of(box) == 1]
    return tuple(piece for pattern, box in seen for piece in (*_plate(pattern, box, view), Piece(",")))
