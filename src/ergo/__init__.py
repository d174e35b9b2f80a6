"""ERGO: ask vision-language models about pictures too large to look at all at once.

import ergo
trace = ergo.ask("harbour.jpg", "What is written on the red boat?", model="openai:http://localhost:8000/v1")
print(trace.answer.text, trace.answer.region, trace.vision_tokens)
"""

from ergo.api import AskOptions, ask
from ergo.backends import Model, open_backend
from ergo.core.errors import ErgoError
from ergo.core.flows import Answer, LookConfig, Question, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.runner import Trace, Turn
from ergo.core.view import View
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.samples.sample import Sample
from ergo.traces.run import run

__version__ = "0.2.0"
__all__ = [
    "Answer",
    "AskOptions",
    "Box",
    "ErgoError",
    "LookConfig",
    "Model",
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
