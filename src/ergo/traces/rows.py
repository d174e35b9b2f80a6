"""Trace -> dict: the one vocabulary of `ask --json`, run folders, the server's `ergo` field and batch's shards.

Of a trace
    answer          text; None where the flow failed. answer_reading: how it was read (core/reading.py)
    confidence      0 to 1 (traces/answers.py); None where the backend reports no log-probabilities
    remark          empty, cut, refused, cannot_tell (traces/answers.py); None where there is nothing to know first
    sampling        how replies were decoded: max_tokens, temperature, top_p, seed, stop, response_format; None: not asked
    region          [left, top, right, bottom], half-open, SOURCE pixels of the upright picture; None for none.
                    region_reading: how it was read. fallback: no region could be read, the whole picture was shown
    regions         all that were looked at together last (as_needed names several); region is the last of them
    thought         what stood between <think> tags, all turns
    caution         a line for whoever reads the answer, where the model is not to be believed; empty otherwise
    error           {kind, message}, or None
    vision_tokens   of all views, each once. direct_vision_tokens: of one look at full size. generated_tokens: of all
                    replies. seconds: wall time of all requests
    turns           one exchange each: text (the reply as it came), finish (stop, length), usage (prompt_tokens,
                    vision_tokens, cached_tokens, generated_tokens) and seconds (total, image, vision, prefill, decode);
                    None where the backend cannot tell
    turns.views     what was newly shown: source [width, height] of the upright picture, box (the part shown, SOURCE
                    pixels), shown [width, height] in pixels after scaling, read_from [width, height] of the level of
                    the file that was scaled (a pyramid has several; of other files their size), tokens; asked: the
                    region that was asked for, only where it was thinner than 1:200 and box is it widened or cut
"""

from __future__ import annotations

from typing import Any

from ergo.core.geometry import Box
from ergo.core.messages import Sampling
from ergo.core.runner import Trace, Turn
from ergo.traces.answers import confidence, remark


def trace_to_dict(trace: Trace) -> dict[str, Any]:
    """A trace as JSON has it, without pixels."""
    answer = trace.answer
    return {
        "answer": answer.text if answer else None,
        "answer_reading": answer.reading if answer else None,
        "confidence": confidence(trace),
        "remark": remark(trace),
        "sampling": sampling_to_dict(trace.requests[-1].sampling) if trace.requests else None,
        "region": list(answer.region.corners) if answer and answer.region else None,
        "regions": [list(box.corners) for box in answer.regions] if answer else [],
        "region_reading": answer.region_reading if answer else None,
        "fallback": bool(answer and answer.fallback),
        "thought": answer.thought if answer else "",
        "caution": answer.caution if answer else "",
        "error": {"kind": trace.error.kind, "message": str(trace.error)} if trace.error else None,
        "vision_tokens": trace.vision_tokens,
        "direct_vision_tokens": trace.direct_vision_tokens,
        "generated_tokens": trace.generated_tokens,
        "seconds": trace.seconds,
        "turns": [turn_to_dict(turn) for turn in trace.turns],
    }


def sampling_to_dict(sampling: Sampling) -> dict[str, Any]:
    """How a reply was decoded, as JSON has it."""
    return vars(sampling) | {"stop": list(sampling.stop)}


def turn_to_dict(turn: Turn) -> dict[str, Any]:
    """One exchange, as soon as it is over."""
    views = [
        {
            "source": [view.picture.size.width, view.picture.size.height],
            "box": list(view.box.corners),
            "shown": [view.size.width, view.size.height],
            "read_from": [read.width, read.height],
            "tokens": view.tokens,
            **({"asked": list(view.asked.corners)} if view.asked else {}),
        }
        for view in turn.views
        for read in [view.picture.read_size(view.box, view.size)]
    ]
    spent = {"usage": dict(vars(turn.usage)), "seconds": dict(vars(turn.seconds))}  # asdict is 40 times as slow
    return {"views": views, "text": turn.text, "finish": turn.finish, **spent}


def read_box(corners: list[int] | None) -> Box | None:
    """A region as it stands in a trace's dictionary."""
    return Box(*corners) if corners else None
