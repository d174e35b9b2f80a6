"""A model that knows little is held to what it knows: whatever else it says becomes "I cannot tell", with a line."""

import math

import pytest
from PIL import Image

from ergo.backends.scripted import ScriptedBackend
from ergo.core.flows import Answer, LookConfig, Question, coarse_to_fine, one_look
from ergo.core.geometry import TokenBudget
from ergo.core.messages import Completion
from ergo.core.runner import drive
from ergo.families import ERGO_TINY, FAMILIES, QWEN2_5_VL
from ergo.families.base import ModelFamily
from ergo.families.caution import CANNOT_TELL, believable
from ergo.images.picture import Picture
from ergo.traces.answers import remark
from ergo.traces.rows import trace_to_dict

PICTURE = Picture(Image.new("RGB", (1000, 500)))
REGION = "<think>blue tree 400 340</think><zoom>[100, 100, 300, 200]</zoom>"


def answered(family: ModelFamily, *replies: str) -> Answer:
    config = LookConfig(family, TokenBudget(100), TokenBudget(100))
    trace = drive(
        (None, lambda: family.careful(coarse_to_fine(PICTURE, Question("Which pattern?"), config))),
        ScriptedBackend(list(replies)),
    )
    assert trace.answer is not None
    return trace.answer


def test_what_it_says_in_form_is_its_answer() -> None:
    answer = answered(ERGO_TINY, REGION, "<answer>waves</answer>")
    assert (answer.text, answer.caution, answer.region is not None) == ("waves", "", True)


@pytest.mark.parametrize(
    "replies",
    [
        ("<zoom>[240, seen</think><zoom>[240, 280, 380, 380 340 640", "<answer>waves</answer>"),
        (REGION, "<zoom>[240, seen</think><zoom>[240, 280"),
        (REGION, "white, orange waves, black slashes, white,"),
        (REGION, "<answer>waves"),
        (REGION, "<think>white 440 white, white"),
        (REGION, ""),
        ("", ""),
        ("<answer>", "<answer></answer>"),
        ("<think><think><think>", "<think><zoom><answer>"),
    ],
)
def test_whatever_else_it_says_is_no_answer_and_shows_no_tag(replies: tuple[str, str]) -> None:
    answer = answered(ERGO_TINY, *replies)
    assert answer.text == CANNOT_TELL
    assert "--model" in answer.caution
    assert "<" not in answer.text + answer.thought


def test_other_families_are_not_held_to_form() -> None:
    assert answered(QWEN2_5_VL, REGION, "It has waves.").text == "It has waves."
    assert [name for name, family in FAMILIES.items() if family.knows] == ["ergo_tiny", "ergo_photo"]


@pytest.mark.parametrize(("least", "believed"), [(0.1, False), (0.3, True)])
def test_an_unsure_answer_is_none(least: float, believed: bool) -> None:
    replies = [Completion("", logprobs=(-5.0,)), Completion("", logprobs=(-0.01, math.log(least)))]
    assert believable(Answer("waves", "exact", region_reading="exact"), replies, 0.2) == believed
    assert believable(Answer("waves", "exact"), [Completion("")], 0.2)


def test_a_trace_of_it_says_so_wherever_traces_go() -> None:
    config = LookConfig(ERGO_TINY, TokenBudget(100), TokenBudget(100))
    trace = drive(
        (None, lambda: ERGO_TINY.careful(one_look(PICTURE, Question("A car?"), config))),
        ScriptedBackend(["white white"]),
    )
    assert remark(trace) == "cannot_tell"
    assert trace_to_dict(trace)["caution"] == ERGO_TINY.knows


def test_a_reply_is_no_longer_than_the_family_can_mean() -> None:
    from ergo.backends import Model

    model = Model.of(ScriptedBackend([""]), ERGO_TINY)
    assert model.look_config(100).sampling.max_tokens == ERGO_TINY.max_reply
    assert Model.of(ScriptedBackend([""]), QWEN2_5_VL).look_config(100).sampling.max_tokens == 1024
