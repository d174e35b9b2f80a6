"""`compare`: beside the looks of a question, one look by the same model at the vision tokens that they spent."""

from __future__ import annotations

from threading import Event, Lock

import pytest
from PIL import Image

import ergo
from ergo import BackendError, Box, Inquiry, Model, Picture, Request, ScriptedBackend, UsageError
from ergo.backends.scripted import ScriptedReply
from ergo.core.flows import LookConfig, Question
from ergo.families import ERGO_TINY, FAMILIES, QWEN2_5_VL
from ergo.families.base import ModelFamily
from ergo.traces.flows import one_look_at

SCRIPT = ("<zoom>[0, 0, 50, 50]</zoom>", "<answer>blue</answer>", "<answer>cannot tell</answer>")
GREEN = Image.new("RGB", (3000, 2000), "green")


def fake(*script: ScriptedReply, family: ModelFamily = QWEN2_5_VL) -> Model:
    return Model.of(ScriptedBackend(script or SCRIPT), family)


def tokens_of_one_look(config: LookConfig, spent: int, picture: Picture) -> int:
    return sum(view.tokens for view in next(one_look_at(spent, picture, Question("Which?"), config)).views)


# ── the total ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [(3000, 2000), (900, 4000), (130, 90), (2000, 40), (1, 1)])
def test_it_spends_what_the_looks_spent_at_most_and_no_other_budget_comes_nearer(
    name: str, size: tuple[int, int]
) -> None:
    family, picture = FAMILIES[name], Picture(Image.new("RGB", size))
    config = fake(family=family).look_config()
    coarse = config.coarse.cost(config.coarse.fit(picture.size))
    for spent in (coarse, coarse + coarse // 2 + 1, 2 * coarse, 3 * coarse):
        tokens = tokens_of_one_look(config, spent, picture)
        assert coarse <= tokens <= spent
        for budget in range(config.coarse.min_tokens, 4 * coarse):
            given = family.token_budget(budget)
            assert not tokens < given.cost(given.fit(picture.size)) <= spent


def test_it_is_one_look_at_the_whole_picture_after_the_others() -> None:
    result = ergo.ask(GREEN, "Which?", ["red", "blue"], model=fake(), compare=True)
    assert result.answer is not None
    assert result.answer.text == "blue"
    assert result.compared is not None
    assert result.compared.answer is not None
    assert (result.compared.answer.text, result.compared.remark) == ("cannot tell", "cannot_tell")
    [turn] = result.compared.turns
    [view] = turn.views
    assert view.box == Box(0, 0, 3000, 2000)
    assert max(view.tokens for turn in result.turns for view in turn.views) < view.tokens <= result.vision_tokens
    assert len(result.turns) == 2, "the looks themselves are as without it"
    assert result.to_dict()["compared"]["answer"] == "cannot tell"
    assert result.to_dict()["compared"]["vision_tokens"] == view.tokens


def test_it_is_not_taken_unless_asked_for() -> None:
    model = fake()
    assert ergo.ask(GREEN, "Which?", model=model).to_dict()["compared"] is None
    assert isinstance(model.backend, ScriptedBackend)
    assert len(model.backend.requests) == 2


def test_a_model_that_knows_little_is_believed_as_little_in_one_look() -> None:
    model = fake(SCRIPT[0], SCRIPT[1], "<zoom>[240, seen</think>", family=ERGO_TINY)
    compared = ergo.ask(GREEN, "Which?", model=model, compare=True).compared
    assert compared is not None
    assert compared.answer is not None
    assert (compared.answer.text, compared.answer.caution) == ("I cannot tell", ERGO_TINY.knows)


def test_a_question_that_failed_is_compared_with_nothing_and_a_single_look_may_fail() -> None:
    gone = BackendError("gone", "timeout")
    assert ergo.ask(GREEN, "Which?", model=fake(SCRIPT[0], gone), compare=True).compared is None
    result = ergo.ask(GREEN, "Which?", model=fake(*SCRIPT[:2], gone), compare=True)
    assert result.error is None
    assert result.compared is not None
    assert result.compared.error is gone


@pytest.mark.parametrize("looks", [{"flow": "one_look"}, {"flow": "crop_only"}, {"region": Box(0, 0, 9, 9)}])
def test_where_one_look_is_all_there_is_nothing_to_compare(looks: dict[str, str | Box]) -> None:
    with pytest.raises(UsageError, match="nothing to compare"):
        ergo.ask(GREEN, "Which?", model=fake(), compare=True, **looks)  # type: ignore[arg-type]


def test_as_many_looks_as_needed_are_compared_too() -> None:
    model = fake(*["<zoom>[0, 0, 400, 400]</zoom>"] * 2, *SCRIPT[1:])
    result = ergo.ask(GREEN, "Which?", model=model, flow="as_needed", compare=True)
    assert len(result.turns) == 3
    assert result.compared is not None
    assert result.turns[0].views[0].tokens * 2 < result.compared.vision_tokens <= result.vision_tokens


# ── many ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_of_many_each_has_its_own_and_no_more_are_asked_at_once(concurrency: int) -> None:
    running, peak, counting, overlapping = 0, 0, Lock(), Event()

    def numbered(request: Request) -> str:
        nonlocal running, peak
        with counting:
            running += 1
            peak = max(peak, running)
        overlapping.wait(0.01)  # never set: long enough for others to be asked meanwhile
        with counting:
            running -= 1
        number = request.chat[-1].text.split("#")[1].split()[0]
        looks = "two" if len(request.views) == 2 else "one"
        return f"<zoom>[0, 0, 50, 50]</zoom><answer>{looks} {number}</answer>"

    inquiries = [Inquiry(GREEN, f"Which? #{number} ") for number in range(7)]
    inquiries.insert(2, Inquiry("missing.png", "Which? #0 "))
    model = Model.of(ScriptedBackend(numbered), QWEN2_5_VL)
    results = list(ergo.ask_many(inquiries, model=model, concurrency=concurrency, compare=True))
    assert [result.answer and result.answer.text for result in results if result.picture] == [
        f"two {number}" for number in range(7)
    ]
    assert [one.compared.answer and one.compared.answer.text for one in results if one.compared] == [
        f"one {number}" for number in range(7)
    ]
    assert results[2].compared is None
    assert peak <= concurrency


def test_none_at_once_is_refused() -> None:
    with pytest.raises(UsageError, match="concurrency is at least 1, not 0"):
        list(ergo.ask_many([Inquiry(GREEN, "Which?")], model=fake(), concurrency=0, compare=True))
