"""ERGO: ask vision-language models about pictures too large to look at all at once.

    import ergo
    trace = ergo.ask("harbour.jpg", "What is written on the red boat?", model="openai:http://localhost:8000/v1")
    print(trace.answer.text, trace.answer.region, trace.vision_tokens)
"""

from ergo.asking import AskOptions, ask
from ergo.backends import Opened, open_backend
from ergo.errors import ErgoError
from ergo.geometry import Box, Size, TokenBudget
from ergo.image import Picture, View, load_image
from ergo.pipeline import Answer, Looking, Question, Trace, Turn, coarse_to_fine, crop_only, one_look, run
from ergo.sample import Sample

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "AskOptions",
    "Box",
    "ErgoError",
    "Looking",
    "Opened",
    "Picture",
    "Question",
    "Sample",
    "Size",
    "TokenBudget",
    "Trace",
    "Turn",
    "View",
    "ask",
    "coarse_to_fine",
    "crop_only",
    "load_image",
    "one_look",
    "open_backend",
    "run",
]
