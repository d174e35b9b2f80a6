"""Qwen3-VL, dense and mixture of experts, Instruct and Thinking: no picture costs fewer than 64 tokens of 32 x 32.

A 100 x 80 crop is 6 tokens by size and 70 to its processor (tests/families/test_sizing.py). Thinking is a
checkpoint of its own and cannot be switched off; it often sends only the closing </think>.
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, XYXY, pinned

FAMILY = ModelFamily(
    "qwen3_vl",
    pinned(XYXY, THOUSANDTHS),
    "thousandths",
    patch=32,
    budget=640,
    min_tokens=64,
    model_types=("qwen3_vl", "qwen3_vl_moe"),
    served=(
        r"qwen3-?vl(-(2b|4b|8b|32b|30b(-a3b)?|235b(-a22b)?))?(-(instruct|thinking))?",
        r"qwen3-vl-(plus|flash)(-\d{4}-\d{2}-\d{2})?",
        r"zwz-(4b|8b)",
    ),
)
