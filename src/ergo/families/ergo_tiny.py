"""ergo-tiny: terse prompts, for reading the published ones would cost it more than looking."""

from ergo.families.base import ModelFamily
from ergo.families.prompts import TERSE

KNOWS = (
    "ergo-tiny knows only the drawn pictures of `ergo world --kind drawn` (6 kinds of things in 8 colours, with "
    "8 patterns on their tags); for photographs, name a real model: --model hf:FOLDER, openai:URL or ollama:NAME"
)
FAMILY = ModelFamily(
    "ergo_tiny",
    TERSE,
    "thousandths",
    28,
    100,
    served=("ergo-tiny(-cold)?",),
    knows=KNOWS,
    max_reply=64,
    several_pictures=False,
)
