"""Accuracy against vision tokens, as SVG that needs nothing else and follows the page's theme."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from ergo.evals.summary import Figures
from ergo.viz.palette import FLOW_COLOURS, LIGHT

WIDTH, HEIGHT = 640, 440
LEFT, RIGHT, TOP, BOTTOM = 90, 24, 40, 56


def plot(figures: Sequence[Figures]) -> str:
    """One point per condition, one line per flow; tokens on a logarithmic axis, intervals as bars.

    Conditions whose tokens are not known (nothing was answered) are left out.
    """
    shown = [one for one in figures if one.vision_tokens]
    if not shown:
        return ""
    tokens = [one.vision_tokens or 1.0 for one in shown]
    low, high = math.log10(min(tokens)) - 0.1, math.log10(max(tokens)) + 0.1

    def across(value: float) -> float:
        return LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = list(_axes(across, 10**low, 10**high))
    legend = LEFT
    for flow in dict.fromkeys(_flow(one) for one in shown):
        mine = ((across(one.vision_tokens or 1.0), one) for one in shown if _flow(one) == flow)
        points = sorted(mine, key=lambda point: point[0])
        parts += _line(flow, points, legend)
        legend += 26 + 12 * len(flow)  # telephones show its text larger
    label = "accuracy against vision tokens"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{label}" font-family="system-ui, sans-serif" font-size="13">{"".join(parts)}</svg>'
    )


def ticks(low: float, high: float) -> list[int]:
    """Round numbers between low and high, about five of them: at least two wherever there are two.

    >>> ticks(70, 2500)
    [100, 200, 500, 1000, 2000]
    >>> ticks(140, 230)
    [140, 160, 180, 200, 220]
    """
    decades = range(math.ceil(math.log10(high)) + 1)
    round_ones = [step * 10**decade for decade in decades for step in (1, 2, 5)]
    inside = [value for value in round_ones if low <= value <= high]
    if len(inside) >= 3:
        return inside
    step = max((value for value in round_ones if value <= (high - low) / 3), default=1)
    return list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))


def _flow(one: Figures) -> str:
    return one.condition.split("@")[0]


def _height(accuracy: float) -> float:
    return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)


def _colour(name: str) -> str:
    """A colour of the page, with its light value where there is no page around."""
    return f"var(--{name}, {getattr(LIGHT, name)})"


def _axes(across: Callable[[float], float], low: float, high: float) -> Iterator[str]:
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tenth in range(0, 11, 2):
        y = _height(tenth / 10)
        yield f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_colour("line")}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>'
    for tick in ticks(low, high):
        x = across(tick)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="{_colour("quiet")}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle">{tick:,}</text>'
    yield f'<text x="{(LEFT + right) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">vision tokens per sample</text>'
    middle = (TOP + bottom) / 2
    yield f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">accuracy</text>'


def _line(flow: str, points: Sequence[tuple[float, Figures]], legend: int) -> Iterator[str]:
    colour = _colour(FLOW_COLOURS.get(flow, "quiet"))
    path = " ".join(f"{x:.1f},{_height(one.accuracy):.1f}" for x, one in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    for x, one in points:
        low, high = (_height(end) for end in one.accuracy_interval)
        title = f"{one.condition}: {one.accuracy:.1%}, {one.vision_tokens:,.0f} tokens"
        y = _height(one.accuracy)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>'
    yield f'<circle cx="{legend + 4}" cy="12" r="4" fill="{colour}"/>'
    yield f'<text x="{legend + 14}" y="16">{escape(flow)}</text>'
