"""Whatever a backend raises fails the requests that it concerns, is logged, and nobody else notices."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from tiny_models import make_backend

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError, UsageError
from ergo.core.flows import Question, one_look
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.core.runner import Trace
from ergo.families import QWEN2_5_VL
from ergo.images.picture import Picture
from ergo.traces.guard import Guarded
from ergo.traces.run import run


def asked(text: str, **sampling: float) -> Request:
    return Request((Message("user", (text,)),), Sampling(**sampling))  # type: ignore[arg-type]


def brittle(request: Request) -> str:
    if "die" in request.chat[-1].text:
        raise ZeroDivisionError("two\nlines")
    return "fine"


def test_one_bad_request_fails_alone_and_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    guarded = Guarded(ScriptedBackend(brittle, parallel=False))
    results = guarded.complete([asked("a"), asked("die"), asked("b")])
    assert [isinstance(result, Completion) for result in results] == [True, False, True]
    assert isinstance(results[1], BackendError)
    assert results[1].kind == "crashed"
    assert "ZeroDivisionError: two lines" in str(results[1])
    assert guarded.crashes == 2  # the batch, then the one request
    assert all(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)
    assert "brittle" in caplog.text  # the traceback names the place


def test_too_few_results_are_nobody_elses_answers() -> None:
    class Short(ScriptedBackend):
        def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
            return super().complete(requests)[:1]

    first, second = Guarded(Short(["x"])).complete([asked("a"), asked("b")])
    assert isinstance(first, Completion)
    assert isinstance(second, Completion)


def test_a_mistake_that_every_request_would_meet_is_raised() -> None:
    def choiceless(request: Request) -> str:
        raise UsageError("which model?")

    with pytest.raises(UsageError, match="which model"):
        Guarded(ScriptedBackend(choiceless)).complete([asked("a")])


@pytest.mark.parametrize("parallel", [True, False])
def test_a_run_goes_on(parallel: bool) -> None:
    config = Model(ScriptedBackend(["x"]), QWEN2_5_VL, 28, "x").look_config(16)
    from PIL import Image

    picture = Picture(Image.new("RGB", (100, 100)))
    jobs = [(text, lambda text=text: one_look(picture, Question(text), config)) for text in ("a", "die", "b")]
    traces: list[Trace] = list(run(jobs, ScriptedBackend(brittle, parallel=parallel), 3))
    assert {trace.tag: trace.error.kind if trace.error else None for trace in traces} == {
        "a": None, "die": "crashed", "b": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00", "\ud83d\ude00 whole", "\x00", "\u2028", "e\u0301" * 50])
@pytest.mark.parametrize("temperature", [0.0, 1e-40, 1e-6, 1.0, 100.0])
def test_a_real_model_answers_odd_text_at_extreme_temperatures(text: str, temperature: float) -> None:
    [result] = make_backend("qwen2_5_vl").complete([asked(text, temperature=temperature, max_tokens=2)])
    assert isinstance(result, Completion)


@pytest.mark.parametrize(
    "values",
    [{"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_p": 0}, {"top_p": 1.5},
     {"top_p": float("nan")}, {"seed": 2**63}, {"seed": -(2**63) - 1}, {"max_tokens": 0}],
    ids=str,
)  # fmt: skip
def test_sampling_that_no_model_takes_is_refused_where_it_is_defined(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Sampling(**values)  # type: ignore[arg-type]


def test_text_is_cleaned_once() -> None:
    assert Message("user", ("a\ud83dé",)).text == "a\ufffdé"
    assert Message("user", ("\ud83d\ude00",)).text == "😀"
