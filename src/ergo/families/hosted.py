"""Any model whose frame is not known, hosted ones above all: the prompt says what the numbers count, and names them.

Pinned to 0..1000 a region was usable in 21 of 21 models; named fields had their axes swapped in 0 of 13 cells, a
list of four in 11 of 26. What a picture costs there is the vendor's secret: our count is Qwen2.5-VL's.
"""

from ergo.families.base import ModelFamily
from ergo.families.prompts import THOUSANDTHS, pinned

FAMILY = ModelFamily(
    "hosted",
    pinned('{"x1": ..., "y1": ..., "x2": ..., "y2": ...}', THOUSANDTHS),
    "thousandths",
    patch=28,
    budget=640,
    served=(
        r"(chat)?gpt-(4o|4\.1|5)([.-][a-z0-9.-]+)?",
        r"o[34](-[a-z0-9.-]+)?",
        r"claude-[a-z0-9.-]+",
        r"gemini-[a-z0-9.-]+",
    ),
)
