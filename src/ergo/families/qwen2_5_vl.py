"""Qwen2.5-VL, and what was trained from it: ERGO-7B, MiMo-VL. Boxes count pixels of the RESIZED view.

The only family whose boxes do; the prompts are ERGO's, to the byte (tests/families/test_families.py).
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import PUBLISHED

FAMILY = ModelFamily(
    "qwen2_5_vl",
    PUBLISHED,
    "pixels",
    patch=28,
    budget=640,  # the paper's headline setting
    model_types=("qwen2_5_vl",),
    served=(r"qwen-?2[.p]5-?vl(-(3b|7b|32b|72b)(-instruct)?)?", r"ergo-7b", r"mimo-vl-7b(-(sft|rl))?(-\d{4})?"),
)
