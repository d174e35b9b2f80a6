"""Trace -> dict, the one vocabulary for the command line, run folders and the server."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ergo.core.geometry import Box
from ergo.core.runner import Trace, Turn
from ergo.core.view import View


def trace_to_row(trace: Trace) -> dict[str, Any]:
    """A trace as JSON: no pixels, boxes as [left, top, right, bottom] in SOURCE pixels."""
    answer = trace.answer
    return {
        "turns": [turn_to_row(turn) for turn in trace.turns],
        "answer": answer.text if answer else None,
        "answer_reading": answer.reading if answer else None,
        "region": list(answer.region.corners) if answer and answer.region else None,
        "region_reading": answer.region_reading if answer else None,
        "fallback": bool(answer and answer.fallback),
        "thought": answer.thought if answer else "",
        "error": {"kind": trace.error.kind, "message": str(trace.error)} if trace.error else None,
        "vision_tokens": trace.vision_tokens,
        "seconds": trace.seconds,
    }


def turn_to_row(turn: Turn) -> dict[str, Any]:
    """One exchange: what was newly shown, the reply as it came, tokens and seconds by part (None: not known)."""
    return {
        "views": [_view_to_row(view) for view in turn.views],
        "text": turn.text,
        "usage": asdict(turn.usage),
        "seconds": asdict(turn.seconds),
        "finish": turn.finish,
    }


def _view_to_row(view: View) -> dict[str, Any]:
    return {
        "source": [view.picture.size.width, view.picture.size.height],
        "box": list(view.box.corners),
        "shown": [view.size.width, view.size.height],
        "tokens": view.tokens,
    }


def read_box(corners: list[int] | None) -> Box | None:
    """Inverse of how boxes are written in rows."""
    return Box(*corners) if corners else None
