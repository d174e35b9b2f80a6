"""How a model is asked, and how its reply is read."""

import random
import time
from collections import Counter
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ergo.backends.scripted import ScriptedBackend
from ergo.core.flows import LookConfig, Question, coarse_to_fine
from ergo.core.geometry import Box, TokenBudget
from ergo.core.reading import AnswerReading, RegionReading
from ergo.core.view import View
from ergo.families import ERGO_TINY, QWEN2_5_VL, QWEN3_VL
from ergo.families.base import with_choices
from ergo.families.prompts import PUBLISHED
from ergo.images.picture import Picture
from ergo.traces.run import run

PICTURE = Picture(Image.new("RGB", (2800, 1400)))
VIEW = View.of(PICTURE, TokenBudget(200))  # 560 x 280: one view pixel is five source pixels


def test_the_view_of_these_tests() -> None:
    assert (VIEW.size.width, VIEW.size.height) == (560, 280)


UNREAD = ("none_given", "not_numbers", "empty", "outside", "other_frame")
HERE = Box(50, 100, 150, 200)  # [10, 20, 30, 40] of the view


def test_a_region_on_a_close_view_is_found_in_the_source() -> None:
    close = View.of(PICTURE, TokenBudget(200), Box(1000, 500, 1560, 780))  # shown pixel for pixel
    assert close.size == VIEW.size
    assert QWEN2_5_VL.read_region("<zoom>[10, 20, 30, 40]</zoom>", close).box == Box(1010, 520, 1030, 540)
    assert QWEN3_VL.read_region("<zoom>[0, 500, 1000, 1000]</zoom>", close).box == Box(1000, 640, 1560, 780)


@given(st.integers(0, 2790), st.integers(0, 1390), st.integers(5, 2800), st.integers(5, 1400))
def test_writing_and_reading_a_region_are_inverse_up_to_rounding(x: int, y: int, width: int, height: int) -> None:
    box = Box(x, y, min(x + width, 2800), min(y + height, 1400))
    for family in (QWEN2_5_VL, QWEN3_VL, ERGO_TINY):
        region = family.read_region(f"<zoom>{family.write_region(box, VIEW)}</zoom>", VIEW)
        if region.box is not None:  # thinner than half a coordinate: rounds to nothing, and says `empty`
            assert region.reading == "exact"
            assert all(abs(a - b) <= 3 for a, b in zip(region.box.corners, box.corners, strict=True))
        else:
            assert region.reading == "empty"


@given(st.text(alphabet="[]()<>/zoom 0123456789.,;-+eE\n", max_size=60))
def test_any_text_between_the_tags_is_a_box_in_the_picture_or_a_name(text: str) -> None:
    for family in (QWEN2_5_VL, QWEN3_VL):
        region = family.read_region(f"<zoom>{text}</zoom>", VIEW)
        assert region.reading in get_args(RegionReading)
        assert region.box is None or region.box.clamped(PICTURE.size) == region.box
        assert (region.box is None) == (region.reading in UNREAD)


# nota-github/ERGO src/ergo/const.py @ c6d6742, as kept in facts/paper.md section 2; {Question} is ours in lower case
SYSTEM_PROMPT = "You are a helpful assistant. Given an image and one question. First, identify the coordinates of the key image area relevant to solving the problem. Append the coordinates in [x1, y1, x2, y2] format at the end of your response and stop. This will trigger cropping of the corresponding area in the original image and enlarge it for improved clarity. Once the enlarged image is available, provide the final answer."
QUESTION_TEMPLATE1 = "{Question} First, consider how to zoom in on the image to include only the region containing all the information necessary to answer the question. Output the thinking process in <think> </think> tags and then output the region's bounding box coordinates in the following format <zoom>[x1, y1, x2, y2]</zoom> tags."
QUESTION_TEMPLATE2 = "{Question}\nCarefully analyze both the original image and the enlarged sub-image to solve the question step by step. Present your reasoning clearly the following format strictly <think> ... <think>, and provide the final answer enclosed within <answer> ... </answer>"


def test_the_released_prompts_are_verbatim() -> None:
    assert PUBLISHED.system == SYSTEM_PROMPT
    assert PUBLISHED.region == QUESTION_TEMPLATE1.replace("{Question}", "{question}")
    assert PUBLISHED.answer == QUESTION_TEMPLATE2.replace("{Question}", "{question}")
    assert QWEN2_5_VL.prompts is PUBLISHED


def test_the_conversation_is_the_papers() -> None:
    system, first = QWEN2_5_VL.ask_region(VIEW, "Which cup?")
    assert (system.role, system.parts) == ("system", (SYSTEM_PROMPT,))
    assert (first.role, first.parts) == ("user", (VIEW, QUESTION_TEMPLATE1.replace("{Question}", "Which cup?")))
    close = View.of(PICTURE, TokenBudget(200), HERE)
    reply, second = QWEN2_5_VL.ask_answer("<zoom>...</zoom>", close, "Which cup?", ("red", "blue"))
    assert (reply.role, reply.parts) == ("assistant", ("<zoom>...</zoom>",))
    asked = QUESTION_TEMPLATE2.replace("{Question}", "Which cup?\n(A) red\n(B) blue")
    assert (second.role, second.parts) == ("user", (close, asked))


def test_options_have_letters() -> None:
    assert with_choices("Which?", ("red", "blue")) == "Which?\n(A) red\n(B) blue"
    assert with_choices("Which?", ()) == "Which?"


def test_a_question_with_braces_is_asked_as_it_is() -> None:
    chat = QWEN2_5_VL.ask_region(VIEW, "What is {this}?")
    assert chat[-1].text.startswith("What is {this}?")


MEGABYTES = [
    "[" * 1_000_000, "1 " * 500_000, "<zoom>" * 170_000, "<zoom>[" + "9" * 1_000_000, "[1, 2, 3, " * 100_000,
    "<zoom>1" + " " * 1_000_000 + "x", "<answer>" * 125_000, "<think>" * 140_000, "<zoom>" + "1e" * 500_000,
    "<zoom>[1,2,3" + ";" * 1_000_000 + "4]</zoom>", "</answer>" * 110_000, "<think>" + "<" * 1_000_000,
]  # fmt: skip


@pytest.mark.parametrize("reply", MEGABYTES, ids=lambda reply: reply[:14])
def test_a_megabyte_of_nonsense_is_read_in_linear_time(reply: str) -> None:
    started = time.process_time()
    assert QWEN2_5_VL.read_region(reply, VIEW).box is None
    QWEN2_5_VL.read_answer(reply)
    QWEN2_5_VL.read_thought(reply)
    assert time.process_time() - started < 2


# ── fuzz ───────────────────────────────────────────────────────────────────────────────────────

WORDS = ["<zoom>", "</zoom>", "[", "]", "(", ",", ", ", " ", "1", "20", "-3", "4.5", "1e9", "1e400", "nan", "inf",
         "<think>", "</think>", "<answer>", "</answer>", "B", "é", "\n", "\0", "<|image_pad|>", "<|im_end|>", "٣",
         "\ud800", "9" * 21]  # fmt: skip
WELL = ["<think>the cup is left</think><zoom>[5, 5, 60, 60]</zoom>", "<think> it is red <think> <answer>B</answer>"]


def mutated(rng: random.Random) -> str:
    """A good reply with a few cuts and insertions, four odd numbers, or a row of words that mean nothing."""
    if rng.random() < 0.3:
        return "".join(rng.choices(WORDS, k=rng.randrange(14)))
    if rng.random() < 0.2:
        return rng.choice(
            [
                "<zoom>[5%, 5%, 60%, 60%]</zoom>",
                "<zoom>[.1, .1, .6, .6]</zoom>",
                "<zoom>[5, 5, 60, 60], [1, 2, 3, 4]</zoom>",
            ]
        )
    if rng.random() < 0.3:
        return f"<zoom>[{', '.join(rng.choices(['1', '5', '60', '70.5', '-3', '1e9', '1e400', '999', '150', '200', '0.5', '9 %'], k=4))}]</zoom>"
    text = rng.choice(WELL)
    for _ in range(rng.randrange(4)):
        start = rng.randrange(len(text) + 1)
        end = start + rng.choice((0, 0, 1, 3, 20))
        text = text[:start] + rng.choice(["", *WORDS]) + text[end:]
    return text


def fuzz(count: int) -> None:
    rng = random.Random(0)
    small = Picture(Image.new("RGB", (300, 200)))
    looking = LookConfig(QWEN2_5_VL, TokenBudget(16), TokenBudget(16))
    backend = ScriptedBackend(lambda request: mutated(rng))
    jobs = ((number, lambda: coarse_to_fine(small, Question("q", ("a", "b")), looking)) for number in range(count))
    outcomes: Counter[str | None] = Counter()
    for trace in run(jobs, backend):
        backend.requests.clear()
        assert trace.error is None
        assert trace.answer is not None
        assert trace.answer.region_reading in get_args(RegionReading)
        assert trace.answer.reading in get_args(AnswerReading)
        assert (trace.answer.region is None) == trace.answer.fallback
        assert all(view.tokens <= 16 for turn in trace.turns for view in turn.views)
        outcomes[trace.answer.region_reading] += 1
    assert outcomes.total() == count
    assert set(outcomes) == set(get_args(RegionReading)), "the fuzz reaches every outcome"


def test_fuzzed_replies_are_all_named_and_within_budget() -> None:
    fuzz(2000)


@pytest.mark.slow
def test_twenty_thousand_fuzzed_replies() -> None:
    fuzz(20_000)


def test_the_shipped_models_dialect_is_terse() -> None:
    assert ERGO_TINY.ask_region(VIEW, "What?")[0].text == "What? Where?"
