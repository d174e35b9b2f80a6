"""Qwen2-VL: boxes count thousandths, though it shares the processor of Qwen2.5-VL, whose boxes count pixels.

Held by tests/families/test_registry.py (QwenLM/Qwen3-VL#866).
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, XYXY, pinned

FAMILY = ModelFamily(
    "qwen2_vl",
    pinned(XYXY, THOUSANDTHS),
    "thousandths",
    patch=28,
    budget=640,
    model_types=("qwen2_vl",),
    served=(r"qwen2-?vl-(2b|7b|72b)(-instruct)?",),
)
