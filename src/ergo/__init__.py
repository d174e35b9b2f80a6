"""ERGO: ask vision-language models about pictures too large to look at all at once.

import ergo
result = ergo.ask("harbour.jpg", "What is written on the red boat?", model="openai:http://localhost:8000/v1")
print(result.answer, result.vision_tokens)

Names are imported when they are first used, so that `import ergo` and `ergo --help` cost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ergo.api import ChosenOption, Inquiry, Result, aask, ask, ask_many
    from ergo.backends import Model, open_backend
    from ergo.backends.scripted import ScriptedBackend
    from ergo.core.errors import (
        BackendError,
        DataError,
        ErgoError,
        MissingExtra,
        PictureError,
        TrainingStopped,
        UsageError,
    )
    from ergo.core.flows import Answer, LookConfig, Question, as_needed, coarse_to_fine, crop_only, one_look
    from ergo.core.geometry import Box, Size, TokenBudget
    from ergo.core.messages import Completion, Message, Request, Sampling, Seconds, Usage
    from ergo.core.runner import Backend, Trace, Turn
    from ergo.core.view import View
    from ergo.families.base import ModelFamily
    from ergo.families.prompts import Prompts
    from ergo.images.decode import load_image
    from ergo.images.picture import Picture
    from ergo.samples.sample import Sample
    from ergo.traces.run import run

__version__ = "0.2.0"
__all__ = [
    "Answer",
    "Backend",
    "BackendError",
    "Box",
    "ChosenOption",
    "Completion",
    "DataError",
    "ErgoError",
    "Inquiry",
    "LookConfig",
    "Message",
    "MissingExtra",
    "Model",
    "ModelFamily",
    "Picture",
    "PictureError",
    "Prompts",
    "Question",
    "Request",
    "Result",
    "Sample",
    "Sampling",
    "ScriptedBackend",
    "Seconds",
    "Size",
    "TokenBudget",
    "Trace",
    "TrainingStopped",
    "Turn",
    "Usage",
    "UsageError",
    "View",
    "aask",
    "as_needed",
    "ask",
    "ask_many",
    "coarse_to_fine",
    "crop_only",
    "load_image",
    "one_look",
    "open_backend",
    "run",
]

_HOMES = {
    "ergo.api": "ChosenOption Inquiry Result aask ask ask_many",
    "ergo.backends": "Model open_backend",
    "ergo.backends.scripted": "ScriptedBackend",
    "ergo.core.errors": "BackendError DataError ErgoError MissingExtra PictureError TrainingStopped UsageError",
    "ergo.core.flows": "Answer LookConfig Question as_needed coarse_to_fine crop_only one_look",
    "ergo.core.geometry": "Box Size TokenBudget",
    "ergo.core.messages": "Completion Message Request Sampling Seconds Usage",
    "ergo.core.runner": "Backend Trace Turn",
    "ergo.core.view": "View",
    "ergo.families.base": "ModelFamily",
    "ergo.families.prompts": "Prompts",
    "ergo.images.decode": "load_image",
    "ergo.images.picture": "Picture",
    "ergo.samples.sample": "Sample",
    "ergo.traces.run": "run",
}
"""The imports above once more, for `__getattr__`; tests/test_api.py holds the three lists together."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            globals()[name] = getattr(import_module(module), name)
            return globals()[name]
    raise AttributeError(f"module 'ergo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
