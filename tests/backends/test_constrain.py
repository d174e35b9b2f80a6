"""A reply held to `<zoom>[x1, y1, x2, y2]</zoom>`, whatever the model would have said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from tiny_models import FAMILY_NAMES, TOKEN, TOKENIZER, make_backend

from ergo.backends.transformers.constrain import RESERVE, RegionForcer, may_become_region
from ergo.core.messages import Completion, Message, Request, Sampling

FORM = re.compile(r"<zoom>\[\d{1,5}, \d{1,5}, \d{1,5}, \d{1,5}\]</zoom>")
LONGEST = "<zoom>[12345, 12345, 12345, 12345]</zoom>"
ENDS = {TOKEN["<|im_end|>"]}
FORCER = RegionForcer(TOKENIZER)


def ids_of(text: str) -> list[int]:
    return list(TOKENIZER(text)["input_ids"])


def allowed_after(text: str, left: int = 500, wants: str | int = "x") -> set[str]:
    """The tokens that may follow `text`, if the model would rather say `wants`."""
    scores = torch.zeros(len(TOKENIZER))
    scores[ids_of(wants)[0] if isinstance(wants, str) else wants] = 1
    FORCER.restrict(scores, ids_of(text), left, ENDS)
    allowed = (scores > -torch.inf).nonzero()[:, 0].tolist()
    return {str(word).replace("Ġ", " ") for word in TOKENIZER.convert_ids_to_tokens(allowed)}


@pytest.mark.parametrize(
    ("text", "may"),
    [
        *((LONGEST[:end], True) for end in range(len(LONGEST) + 1)),
        ("<zoom>[0, 0, 0, 0]</zoom>", True),
        ("<zoom>[1 2", False),
        ("<zoom>[123456", False),
        ("<zoom>[, ", False),
        ("<zoom>[1, 2, 3, 4, ", False),
        ("<zoom>[1, 2, 3]", False),
        ("<zoom>[-1", False),
        ("<zoom> [", False),
        (LONGEST + " ", False),
        ("x", False),
    ],
)
def test_what_may_become_a_region(text: str, may: bool) -> None:
    assert may_become_region(text) is may


FRACTION = "<zoom>[0.125, 0, 1, 0.9]</zoom>"


@pytest.mark.parametrize(
    ("text", "may"),
    [
        *((FRACTION[:end], True) for end in range(len(FRACTION) + 1)),
        ("<zoom>[1.0, 1.000, ", True),
        ("<zoom>[1.5", False),
        ("<zoom>[2", False),
        ("<zoom>[0.1234", False),
        ("<zoom>[00", False),
        ("<zoom>[.", False),
        ("<zoom>[0..", False),
    ],
)
def test_what_may_become_a_region_in_fractions(text: str, may: bool) -> None:
    assert may_become_region(text, fractions=True) is may


def test_a_thought_is_free_but_may_not_end_without_a_region() -> None:
    assert len(allowed_after("<think>I see")) == len(TOKENIZER) - len(ENDS)


def test_a_model_that_wants_to_end_opens_its_region() -> None:
    assert allowed_after("<think>I see</think>", wants=TOKEN["<|im_end|>"]) == {"<"}


def test_a_model_that_runs_out_of_room_opens_its_region_in_time() -> None:
    assert len(allowed_after("<think>I see", left=RESERVE + 1)) > 200
    assert allowed_after("<think>I see", left=RESERVE) == {"<"}


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("so <zoom>", {"["}),
        ("so <zoom>[", set("0123456789")),
        ("so <zoom>[1", {*"0123456789", ","}),
        ("so <zoom>[12345", {","}),
        ("so <zoom>[1,", {" "}),
        ("so <zoom>[1, 2, 3, 4", {*"0123456789", "]"}),
        ("so <zoom>[1, 2, 3, 4]</zoom", {">"}),
        ("so <zoom>[1, 2, 3, 4]</zoom>", {"<|im_end|>"}),
    ],
)
def test_once_open_only_the_form_can_follow(text: str, then: set[str]) -> None:
    assert allowed_after(text) == then


def test_a_model_that_writes_the_form_itself_is_not_touched() -> None:
    reply = "<think>a < b, so there</think><zoom>[10, 20, 300, 45]</zoom>"
    tokens = [*ids_of(reply), *ENDS]
    for place, token in enumerate(tokens):
        scores = torch.randn(len(TOKENIZER), generator=torch.Generator().manual_seed(place))
        scores[token] = 10
        FORCER.restrict(scores, tokens[:place], len(tokens) + RESERVE - place, ENDS)
        assert int(scores.argmax()) == token
        assert float(scores[token]) == 10


def replies(results: Iterable[Any]) -> list[Completion]:
    found = list(results)
    assert all(isinstance(one, Completion) for one in found)
    return found


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_random_model_names_a_well_formed_region(family: str, temperature: float) -> None:
    backend = make_backend(family, force_region=True)
    asked = [
        Request((Message("user", (text,)),), Sampling(max_tokens=60, temperature=temperature, seed=n), "region")
        for n, text in enumerate("abcdef")
    ]
    for reply in replies(backend.complete(asked)):
        assert reply.finish == "stop"
        assert len(FORM.findall(reply.text)) == 1
        assert reply.text.endswith("</zoom>")
        assert len(reply.token_ids or ()) <= 60


def test_a_random_model_whose_family_counts_in_fractions_names_some() -> None:
    backend = make_backend("qwen3_vl", force_region=True)
    asked = [
        Request((Message("user", (text,)),), Sampling(max_tokens=60, temperature=1.0, seed=n), "fractions")
        for n, text in enumerate("abcdef")
    ]
    for reply in replies(backend.complete(asked)):
        [numbers] = re.findall(r"<zoom>\[(.*)\]</zoom>$", reply.text)
        assert all(0 <= float(number) <= 1 for number in numbers.split(", "))


def test_the_least_room_is_enough() -> None:
    backend = make_backend("qwen3_vl", force_region=True)
    for n in range(8):
        sampling = Sampling(max_tokens=RESERVE, temperature=1.5, seed=n)
        [reply] = replies(backend.complete([Request((Message("user", ("a",)),), sampling, "region")]))
        assert FORM.fullmatch(reply.text)


def test_only_replies_that_should_name_a_region_are_held() -> None:
    asked = [Request((Message("user", (text,)),), Sampling(max_tokens=20)) for text in "ab"]
    held, free = (make_backend("qwen2_5_vl", force_region=force).complete(asked) for force in (True, False))
    assert [reply.text for reply in replies(held)] == [reply.text for reply in replies(free)]
