"""What was looked at, for a person: one picture or one HTML page per Trace."""

from __future__ import annotations

from PIL import Image

from ergo.core.flows import Question
from ergo.core.runner import Trace
from ergo.images.picture import Picture
from ergo.viz.html import render
from ergo.viz.sheet import sheet
from ergo.viz.story import Story


def picture_of(trace: Trace, picture: Picture, question: Question, compared: Trace | None = None) -> Image.Image:
    """The story as one RGB image, SHEET_WIDTH pixels wide and as high as its text needs."""
    return sheet(Story.of(trace, picture, question, compared))


def page_of(trace: Trace, picture: Picture, question: Question, compared: Trace | None = None) -> str:
    """The story as one HTML page that needs nothing else: pictures are data URIs, every text is escaped."""
    return render("card.html", story=Story.of(trace, picture, question, compared))
