"""ergo-photo, which ships: reads small texts beside things on photographs; asked as ergo-tiny is. Close views are
enlarged to 28 tokens at least, for it learnt to read letters of 18 pixels and more."""

from ergo.families.base import ModelFamily
from ergo.families.prompts import TERSE

KNOWS = (
    "ergo-photo, the bundled model, reads short texts on photographs (on the sign, tag or plate beside one of 80 kinds of "
    "things, as `ergo world` makes them); for all else, name a real model: --model hf:FOLDER, openai:URL or ollama:NAME"
)
FAMILY = ModelFamily(
    "ergo_photo",
    TERSE,
    "thousandths",
    28,
    100,
    min_tokens=28,
    served=("ergo-photo(-cold)?",),
    knows=KNOWS,
    sure=0.4,  # of 160 validation samples 1 of 73 right answers is lost, and 21 of 58 wrong ones are
    max_reply=64,
    several_pictures=False,
    spells=True,
)
