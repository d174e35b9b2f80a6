"""What is said of an answer beside its text: confidence, by hand. (Remarks: tests/test_api.py.)"""

from __future__ import annotations

import math

import pytest
from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError
from ergo.core.flows import Question, one_look
from ergo.core.messages import Completion
from ergo.core.runner import Trace, drive
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture
from ergo.traces.answers import confidence


def answered(reply: Completion | BackendError) -> Trace:
    picture = Picture(Image.new("RGB", (100, 50)))
    model = Model.of(ScriptedBackend([reply]), QWEN2_5_VL)
    return drive((None, lambda: one_look(picture, Question("Which?"), model.look_config(64))), model.backend)


def reply(*tokens: tuple[str, float]) -> Completion:
    """Of these texts, each with its probability."""
    pieces, probabilities = zip(*tokens, strict=True)
    return Completion("".join(pieces), logprobs=tuple(map(math.log, probabilities)), pieces=pieces)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([("B", 0.7)], 0.7),
        ([("B", 0.7), ("<|im_end|>", 0.5)], 0.7),
        ([("<answer>", 0.1), ("B", 0.7), ("</answer>", 0.2)], 0.7),
        ([("<answer>", 0.1), ("a", 0.7), ("</answer>", 0.2)], 0.7),  # not the a of the tag
        ([("<think>B", 0.1), ("</think>", 0.1), ("<answer>", 0.1), ("B", 0.9), ("</answer>", 0.1)], 0.9),
        ([("<answer>A</answer>", 0.2), ("<answer>", 0.1), ("A", 0.9), ("</answer>", 0.1)], 0.9),  # the last
        ([("B?", 0.1), ("</think>", 0.1), ("\n", 0.1), ("B", 0.8)], 0.8),
        ([("<answer>", 1.0), ("dark", 0.9), (" blue", 0.4), ("</", 0.1), ("answer>", 1.0)], math.sqrt(0.9 * 0.4)),
        ([("<answer>r", 0.5), ("ed</answer>", 0.5)], 0.5),  # tokens that hold more than the answer
        ([("<answer>", 1.0), ("", 0.25), ("é", 1.0), ("</answer>", 1.0)], 1.0),
        ([("<|begin_of_box|>", 0.1), ("A", 0.6), ("<|end_of_box|>", 0.1)], 0.6),
    ],
)
def test_confidence_is_the_mean_probability_of_the_answers_own_tokens(
    tokens: list[tuple[str, float]], expected: float
) -> None:
    assert confidence(answered(reply(*tokens))) == pytest.approx(expected)


def test_where_it_is_not_known_there_is_none() -> None:
    assert confidence(answered(Completion("<answer>B</answer>"))) is None
    assert confidence(answered(Completion("<answer>B</answer>", logprobs=(-1.0,)))) is None
    assert confidence(answered(reply(("<answer></answer>", 0.5)))) is None
    assert confidence(answered(BackendError("gone"))) is None
