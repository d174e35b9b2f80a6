"""The colours of every drawn picture, plot and page, light and dark, in one place."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageColor

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Palette:
    """Colours as CSS writes them. accent: regions named by a model, and two looks. truth: true regions."""

    paper: str
    panel: str
    ink: str
    quiet: str
    line: str
    accent: str
    truth: str
    direct: str
    failure: str


LIGHT = Palette(
    paper="#fbfaf7",
    panel="#f1efe9",
    ink="#1c1c20",
    quiet="#65656d",
    line="#e0ded8",
    accent="#c8430a",
    truth="#14703a",
    direct="#2563a8",
    failure="#b41824",
)
DARK = Palette(
    paper="#161614",
    panel="#232320",
    ink="#efeee8",
    quiet="#a4a299",
    line="#3a3934",
    accent="#ff8a4c",
    truth="#7fce95",
    direct="#7db3f0",
    failure="#ff7d86",
)

FLOW_COLOURS = {
    "coarse_to_fine": "accent",
    "as_needed": "failure",
    "one_look": "direct",
    "crop_only": "truth",
}
"""Which colour of a palette a flow has in plots."""


def rgb(colour: str) -> Rgb:
    """For Pillow.

    >>> rgb("#c8430a")
    (200, 67, 10)
    """
    return ImageColor.getrgb(colour)[:3]
