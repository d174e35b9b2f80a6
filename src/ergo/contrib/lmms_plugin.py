"""ERGO inside lmms-eval: what its registry loads, and how its prompts become our questions.

Registered as an entry point of group `lmms_eval.models`. This file imports nothing of lmms-eval until
its registry asks; the model itself is in lmms_model.py.
"""

from __future__ import annotations

from typing import Any

from ergo.core.flows import Question
from ergo.samples.options import split_prompt

CLASS = "ergo.contrib.lmms_model.Ergo"  # imported by name when it is asked for


def manifest() -> Any:
    """The entry point: one model, called `ergo`."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id="ergo", simple_class_path=CLASS)


def question_of(prompt: str) -> Question:
    """A task's prompt, taken apart: the question is what stands before lines lettered A, B, ...

    The first look must not see the options, and what follows them ("answer with the letter") is
    added by the model family in its own way. A prompt without lettered lines is a question as a whole.

    >>> question_of("What colour?\\nA. red\\nB. blue\\nAnswer directly.")
    Question(text='What colour?', choices=('red', 'blue'))
    """
    found = split_prompt(prompt)
    return Question(found.question, found.options)
