"""ergo-photo: reads small texts beside things on photographs; asked as ergo-tiny is. Close views are enlarged to 28
tokens at least, for it learnt to read letters of 18 pixels and more."""

from ergo.families.base import ModelFamily
from ergo.families.prompts import TERSE

KNOWS = (
    "ergo-photo, a model of 5 million parameters, knows 80 kinds of things and reads short texts next to them, poorly; "
    "for anything else, name a real model: --model hf:FOLDER, openai:URL or ollama:NAME"
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
    max_reply=64,
    spells=True,
)
