"""`ergo.ask`: from anything that names a picture to a Trace, or one line that says what to do."""

from __future__ import annotations

import base64
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_images import corrupted, odd_files, saved

import ergo
from ergo import Box, Model, Picture
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, PictureError, UsageError
from ergo.core.messages import Request, Sampling
from ergo.families import QWEN2_5_VL, QWEN3_VL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # TIFF and MPO readers talk of broken files
GREEN = Image.new("RGB", (3000, 2000), "green")
SCRIPTED = "scripted:<zoom>[0, 0, 200, 200]</zoom><answer>B</answer>"


def fake(script: Any = ("<zoom>[0, 0, 50, 50]</zoom>", "<answer>blue</answer>"), family: Any = QWEN2_5_VL) -> Model:
    return Model(ScriptedBackend(script), family, family.patch, "fake")


def asked_of(opened: Model) -> list[Request]:
    assert isinstance(opened.backend, ScriptedBackend)
    return opened.backend.requests


def test_anything_that_names_a_picture_can_be_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    GREEN.save(path)
    uri = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    for source in (path, str(path), path.read_bytes(), uri, Picture(GREEN)):
        trace = ergo.ask(source, "Which?", model=fake())
        assert trace.answer is not None
        assert (trace.answer.text, trace.answer.region_reading) == ("blue", "exact")


def test_options_are_shown_in_the_second_look_only() -> None:
    opened = fake()
    ergo.ask(Picture(GREEN), "Which?", ["red", "blue"], model=opened)
    first, second = asked_of(opened)
    assert "red" not in first.chat[-1].text
    assert "(A) red\n(B) blue" in second.chat[-1].text


@pytest.mark.parametrize(("family", "patch"), [(QWEN2_5_VL, 28), (QWEN3_VL, 32)])
def test_a_budget_holds_for_each_look(family: Any, patch: int) -> None:
    trace = ergo.ask(Picture(GREEN), "Which?", model=fake(family=family), budget=70)
    assert [turn.views[0].patch for turn in trace.turns] == [patch, patch]
    assert all(0 < turn.views[0].tokens <= 70 for turn in trace.turns)
    usual = ergo.ask(Picture(GREEN), "Which?", model=fake(family=family))
    assert 500 < usual.turns[0].views[0].tokens <= family.budget
    assert ergo.ask(Picture(GREEN), "Which?", model=fake(), budget=4).vision_tokens == 8


def test_the_three_flows_and_how_they_sample() -> None:
    for how, requests in (
        ({}, 2),
        ({"flow": "one_look"}, 1),
        ({"region": Box(-10, 5, 100, 100)}, 1),
        ({"region": (-10.2, 5, 100, 100), "flow": "crop_only"}, 1),
    ):
        opened = fake()
        trace = ergo.ask(Picture(GREEN), "Which?", model=opened, max_tokens=5, temperature=0.5, seed=1, **how)  # type: ignore[arg-type]
        assert len(asked_of(opened)) == requests
        assert all(request.sampling == Sampling(5, 0.5, seed=1) for request in asked_of(opened))
    assert trace.answer is not None
    assert trace.answer.region == Box(0, 5, 100, 100)  # cut to the picture


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"question": " \n"}, "question is empty"),
        ({"model": "gpt"}, "say ergo-tiny, hf:NAME"),
        ({"model": "openai:"}, "say ergo-tiny, hf:NAME"),
        ({"budget": 0}, "--budget 4 or more, not 0"),
        ({"max_tokens": 0}, "at least 1 token"),
        ({"flow": "crop_only"}, "needs a region inside"),
        ({"flow": "three_looks"}, "there are coarse_to_fine, one_look, crop_only"),
        ({"region": Box(5000, 0, 5001, 9)}, "needs a region inside"),
        ({"region": Box(0, 0, 9, 9), "flow": "one_look"}, "a region is for crop_only"),
        ({"region": (0, 0, 9)}, "left, top, right, bottom in pixels"),
        ({"region": (9, 9, 1, 1)}, "left, top, right, bottom in pixels"),
        ({"region": (0.1, 0.1, 0.4, 0.4)}, "in pixels of the picture"),
        ({"region": "0 0 9 9"}, "left, top, right, bottom in pixels"),
        ({"options": "red"}, r"such as \['red', 'blue'\], not 'red'"),
        ({"options": [1, 2]}, r"such as \['red', 'blue'\], not \[1, 2\]"),
        ({"picture": 7}, "an array of uint8, not a int"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(how: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as told:
        ergo.ask(**({"picture": Picture(GREEN), "question": "Which?", "model": fake()} | how))
    assert "\n" not in str(told.value)


def test_a_broken_picture_is_told_before_any_model_is_opened() -> None:
    with pytest.raises(PictureError):
        ergo.ask("no such picture.png", "Which?", model="hf:/no/such/folder")


def test_a_model_that_does_not_answer_is_a_trace_with_its_error() -> None:
    trace = ergo.ask(Picture(GREEN), "Which?", model=fake([BackendError("gone", "timeout")]))
    assert trace.answer is None
    assert trace.error is not None
    assert trace.error.kind == "timeout"


def test_words_that_are_no_text_are_asked_as_far_as_they_are() -> None:
    opened = fake()
    ergo.ask(Picture(GREEN), "caf\udce9?", ["r\udcffd"], model=opened)
    for request in asked_of(opened):
        request.chat[-1].text.encode("utf-8")
    assert asked_of(opened)[0].chat[-1].text.startswith("caf\ufffd?")


def test_looks_of_a_model_are_within_its_family_s_budget() -> None:
    looking = fake().look_config()
    assert looking.coarse == looking.close
    assert (looking.coarse.max_tokens, looking.coarse.patch) == (640, 28)


# ── any file ───────────────────────────────────────────────────────────────────────────────────


def files(count: int) -> list[bytes]:
    """Odd but whole files of every kind, then ones with bytes changed, cut or repeated, then no pictures."""
    generator = random.Random(4)
    whole = odd_files()
    sizes = [(1, 1), (1, 3000), (3000, 1), (2, 1500)]
    slivers = [saved(Image.new("RGB", size, "red"), "PNG") for size in sizes]
    junk = [b"", b"\0" * 100, b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg xmlns='x'/>"]
    made = [*whole, *slivers, *junk]
    return made + [corrupted(generator.choice(whole), generator) for _ in range(count - len(made))]


def outcome(path: Path) -> str:
    """How asking about this file ends; whatever is neither a Trace nor a PictureError fails the test."""
    try:
        trace = ergo.ask(path, "Which?", model=SCRIPTED, budget=64)
    except PictureError as error:
        return error.kind if "\n" not in str(error) else "more than one line"
    within = all(turn.views[0].tokens <= 64 for turn in trace.turns)
    return "answered" if trace.answer and within else "failed"


def test_two_hundred_odd_files_give_a_trace_or_one_line(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    path = tmp_path / "picture"
    for content in files(200):
        path.write_bytes(content)
        outcomes[outcome(path)] += 1
    assert outcomes.total() == 200
    assert outcomes["answered"] >= 20
    assert {"answered", "empty", "not_a_picture", "broken", "truncated"} <= set(outcomes)
    assert set(outcomes) <= {
        "answered",
        "empty",
        "not_a_picture",
        "broken",
        "truncated",
        "too_large",
        "unsupported_mode",
    }
