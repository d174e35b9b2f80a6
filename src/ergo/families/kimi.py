"""Kimi-VL and Kimi K2.5, K2.6: boxes count fractions of the sides, 0..1. Never enlarges; no side over 256 tokens.

Held by tests/families/test_families.py (frame) and test_sizing.py (sides).
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import FRACTIONS, XYXY, pinned
from ergo.families.sizing import SideLimited

FAMILY = ModelFamily(
    "kimi",
    pinned(XYXY, FRACTIONS),
    "fractions",
    patch=28,
    budget=640,
    min_tokens=1,
    max_tokens=4096,
    sizing=SideLimited,
    model_types=("kimi_vl", "kimi_k25"),
    served=(r"kimi-vl-a3b(-(instruct|thinking))?(-\d{4})?", r"kimi-k2\.[56]"),
    no_thinking='{"chat_template_kwargs": {"thinking": false}}',
)
