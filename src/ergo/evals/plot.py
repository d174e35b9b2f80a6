"""Accuracy against vision tokens, as SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ergo.evals.summary import Figures

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 16, 46
COLOURS = {"coarse_to_fine": "#de5214", "one_look": "#2563a8", "crop_only": "#149646"}


def plot(figures: Sequence[Figures]) -> str:
    """One point per condition, one line per flow; tokens on a logarithmic axis, intervals as bars.

    Conditions whose tokens are not known (nothing was answered) are left out.
    """
    shown = [one for one in figures if one.vision_tokens]
    if not shown:
        return ""
    tokens = [one.vision_tokens or 1.0 for one in shown]
    low, high = math.log2(min(tokens)) - 0.3, math.log2(max(tokens)) + 0.3

    def place(one: Figures) -> tuple[float, float]:
        across = (math.log2(one.vision_tokens or 1.0) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), _height(one.accuracy)

    flows = dict.fromkeys(one.condition.split("@")[0] for one in shown)
    parts = [*_axes(low, high)]
    for number, flow in enumerate(flows):
        mine = ((place(one), one) for one in shown if one.condition.split("@")[0] == flow)
        parts += _line(flow, sorted(mine, key=lambda pair: pair[0]), number)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy against vision tokens">{"".join(parts)}</svg>'


def _height(accuracy: float) -> float:
    return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)


def _axes(low: float, high: float) -> list[str]:
    """A line per tenth, and a mark per doubling."""
    parts = []
    for tenth in range(0, 11, 2):
        y = _height(tenth / 10)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e0da"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth * 10} %</text>')
    for power in range(math.ceil(low), math.floor(high) + 1):
        x = LEFT + (power - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 5}" stroke="#888"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{2**power:,}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">vision tokens per sample</text>')
    return parts


def _line(flow: str, points: Sequence[tuple[tuple[float, float], Figures]], number: int) -> list[str]:
    colour = COLOURS.get(flow, "#555")
    path = " ".join(f"{x:.1f},{y:.1f}" for (x, y), _ in points)
    parts = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>']
    for (x, y), one in points:
        low, high = (_height(end) for end in one.accuracy_interval)
        title = f"{one.condition}: {one.accuracy:.1%}, {one.vision_tokens:,.0f} tokens"
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"><title>{escape(title)}</title></circle>')
    y = TOP + 16 + 20 * number
    parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{y - 4}" r="4" fill="{colour}"/>')
    parts.append(f'<text x="{WIDTH - RIGHT + 26}" y="{y}">{escape(flow)}</text>')
    return parts
