"""InternVL3 and 3.5: a picture costs whole tiles of 256 tokens, and an overview where there are several.

Held by tests/families/test_sizing.py.
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, XYXY, pinned
from ergo.families.sizing import MAX_TILES, TILE_TOKENS, Tiled

FAMILY = ModelFamily(
    "internvl",
    pinned(XYXY, THOUSANDTHS),
    "thousandths",
    patch=28,
    budget=5 * TILE_TOKENS,
    min_tokens=TILE_TOKENS,
    max_tokens=(MAX_TILES + 1) * TILE_TOKENS,
    sizing=Tiled,
    model_types=("internvl", "internvl_chat"),
    served=(r"internvl3([_.-]5)?-\d+b(-a\d+b)?(-(instruct|hf|mpo|pretrained|preview))*",),
)
