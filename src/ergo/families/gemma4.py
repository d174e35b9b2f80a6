"""Gemma 4: y comes first, [y1, x1, y2, x2], and every picture is scaled to fill the server's budget, 280 unless set.

Held by tests/families/test_families.py (order) and test_sizing.py (fill).
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, pinned
from ergo.families.sizing import FILLED_TOKENS, Filled

FAMILY = ModelFamily(
    "gemma4",
    pinned("[y1, x1, y2, x2]", "Note the order: y before x. " + THOUSANDTHS),
    "thousandths",
    patch=48,
    budget=280,
    min_tokens=FILLED_TOKENS[0],
    max_tokens=FILLED_TOKENS[-1],
    y_first=True,
    sizing=Filled,
    model_types=("gemma4", "gemma4_unified"),
    served=(r"gemma-?4(-(e2b|e4b|\d+b(-a\d+b)?))?(-it)?(-qat)?",),
)
