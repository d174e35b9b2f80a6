"""MiniCPM-V 4.6 and 4.7: an overview and up to nine slices, which follow the picture's shape.

Its frame, 0..1000, is inferred from replies and not documented: `ergo probe` before you rely on it. Held by
tests/families/test_sizing.py.
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, XYXY, pinned
from ergo.families.sizing import Sliced

FAMILY = ModelFamily(
    "minicpmv",
    pinned(XYXY, THOUSANDTHS),
    "thousandths",
    patch=56,
    budget=640,
    min_tokens=64,
    max_tokens=720,
    sizing=Sliced,
    model_types=("minicpmv4_6", "minicpmv4_7"),
    served=(r"minicpm-v-?4[._][67]",),
)
