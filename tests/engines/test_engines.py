"""Both looks through real servers, each in an environment of its own (setup.sh), and what their caches kept.

    tests/engines/setup.sh llamacpp && pytest -m engines tests/engines -s      # -s shows the figures

The models are tiny and random, one of Qwen2.5-VL and one of Qwen3-VL: what they say is noise, what is counted is exact.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import Engine, served
from PIL import Image

from ergo.backends import Model, open_backend
from ergo.backends.openai.backend import OpenAIBackend
from ergo.backends.probe import Report, examine
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError
from ergo.core.flows import LookConfig, Question, coarse_to_fine, one_look
from ergo.core.geometry import Size, TokenBudget
from ergo.core.messages import Completion, Message, Request, Sampling, Usage
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.families import FAMILIES
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.traces.run import run

pytestmark = pytest.mark.engines

KIMI = FAMILIES["kimi"]
VLLM_BLOCK = 128
"""Tokens that vLLM's cache keeps or drops together, on a CPU; llama.cpp's keeps single ones."""


def noise(seed: int, width: int = 1200, height: int = 900) -> Picture:
    """A picture that no cache has seen."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=0)
    return load_image(file.getvalue())


def looking(engine: Engine) -> LookConfig:
    budget = engine.family.token_budget(256)
    return LookConfig(engine.family, budget, budget, Sampling(max_tokens=60))


def look(engine: Engine, seed: int, **options: Any) -> Trace:
    config = looking(engine)
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120, **options)) as model:
        [trace] = run([(seed, lambda: coarse_to_fine(noise(seed), Question("What colour is it?"), config))], model)
    assert trace.error is None, trace.error
    return trace


def told(usage: Usage) -> tuple[int, int]:
    """(prompt, cached) tokens, which these engines do tell."""
    assert usage.prompt_tokens is not None
    assert usage.cached_tokens is not None
    return usage.prompt_tokens, usage.cached_tokens


def test_the_second_look_finds_the_first_in_the_cache(engine: Engine) -> None:
    first, second = look(engine, seed=1).turns
    for number, turn in enumerate((first, second), 1):
        print(f"\n{engine.name} turn {number}: {turn.usage} {turn.seconds}", end="")
    (prompt, _), (longer, cached) = told(first.usage), told(second.usage)
    assert longer > prompt
    assert cached > prompt - VLLM_BLOCK
    assert cached <= prompt + (first.usage.generated_tokens or 0)
    assert second.usage.vision_tokens == sum(view.tokens for turn in (first, second) for view in turn.views)


def test_what_it_says_first_is_as_likely_as_in_this_process(engine: Engine) -> None:
    """The same weights in transformers, to the precision of the engine's cache: the conversion is right, and so is ours."""
    config = replace(looking(engine), sampling=Sampling(max_tokens=1))
    here = open_backend(f"hf:{engine.checkpoint}")
    picture, question = noise(20), Question("What colour is it?")
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120)) as there:
        for flow in (
            one_look,
            coarse_to_fine,
        ):  # the second look's prompt holds what was sampled first: all of it equal
            jobs = [(0, partial(flow, picture, question, config))]
            [ours], [theirs] = run(jobs, here.backend), run(jobs, there)
            for mine, its in zip(ours.completions, theirs.completions, strict=True):
                assert mine.logprobs is not None
                assert its.logprobs is not None
                print(f"\n{engine.name} {engine.family.name}: {mine.logprobs[0]:.4f}, {its.logprobs[0]:.4f}", end="")
                assert math.isclose(mine.logprobs[0], its.logprobs[0], abs_tol=0.05)


def probed(engine: Engine, url: str = "", family: str = "", **settings: Any) -> Report:
    backend = OpenAIBackend(url or engine.url, EndpointSettings(timeout=300, **settings))
    model = Model.of(backend, family or engine.family, name="tiny")
    report = examine(model, force_region=settings.get("force_region", False), max_tokens=60, concurrency=1)
    print(f"\n{engine.name}\n{report}")
    return report


def test_probe_sees_that_it_counts_as_we_do_and_keeps_the_first_look(engine: Engine) -> None:
    report = probed(engine)
    assert (report.counts_agree, report.second_look_cached, report.takes_two_pictures) == (True, True, True)
    assert report.frame is None  # random weights
    assert len(report.problems) == 1


def test_probe_names_the_family_that_it_is_by_what_it_counts(engine: Engine) -> None:
    other = {"qwen2_5_vl": "qwen3_vl", "qwen3_vl": "hosted"}[engine.family.name]
    report = probed(engine, family=other)
    assert report.counts_agree is False
    assert engine.family.name in report.counted_like
    assert other not in report.counted_like
    assert "it is of another family" in report.problems[0]


@pytest.mark.parametrize(
    ("setting", "problem"),
    [("image_max_tokens=300", "shrinks pictures above 288 tokens"), ("cache_prompt=0", "finds nothing in the cache")],
)
def test_probe_names_what_a_server_was_set_to(engine: Engine, setting: str, problem: str) -> None:
    if engine.name != "llamacpp" or engine.family.name != "qwen3_vl":
        pytest.skip("a server of its own, started once for each setting")
    with served(engine.name, engine.checkpoint, setting) as url:
        assert any(problem in told for told in probed(engine, url).problems)


def test_the_same_pixels_as_other_bytes_are_another_picture(engine: Engine) -> None:
    look(engine, seed=2)
    again, other = look(engine, seed=2).turns[0], look(engine, seed=2, image_format="png").turns[0]
    picture = again.views[0].tokens
    prompt, cached = told(again.usage)
    assert cached > prompt - VLLM_BLOCK
    assert told(other.usage)[1] <= prompt - picture


@pytest.mark.parametrize(
    "size", [Size(1200, 900), Size(300, 1900), Size(2000, 130), Size(40, 40), Size(777, 555)], ids=str
)
def test_the_server_sees_views_at_the_size_they_were_sent(engine: Engine, size: Size) -> None:
    def prompt(*parts: str | View) -> int:
        [reply] = model.complete([Request((Message("user", parts),), Sampling(max_tokens=1))])
        assert isinstance(reply, Completion), reply
        return told(reply.usage)[0]

    floor = max(engine.family.min_tokens, 4 if engine.name == "vllm" else 8)  # llama.cpp's own
    least, most = (TokenBudget(tokens, floor, engine.family.patch) for tokens in (max(floor, 16), 256))
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120)) as model:
        small = View.of(noise(4, 100, 100), least)
        view = View.of(noise(3, size.width, size.height), most)
        assert prompt(view, "?") - prompt(small, "?") == view.tokens - small.tokens


def test_a_stream_says_the_same_and_tells_prefill_from_decode(engine: Engine) -> None:
    whole, streamed = look(engine, seed=5), look(engine, seed=5, stream=True)
    assert [turn.text for turn in streamed.turns] == [turn.text for turn in whole.turns]
    for turn in streamed.turns:
        assert turn.usage.generated_tokens
        if turn.text:  # noise may be all halves of characters, and then no word comes, let alone a first
            assert turn.seconds.prefill is not None
            assert turn.seconds.decode is not None
            assert turn.seconds.prefill + turn.seconds.decode <= turn.seconds.total


def test_a_forced_region_can_be_read_even_of_noise(engine: Engine) -> None:
    view = View.of(noise(6), engine.family.token_budget(64))
    chat = engine.family.ask_region(view, "Where?")
    with OpenAIBackend(engine.url, EndpointSettings(timeout=300, force_region=True)) as model:
        # a thought of 1,000 characters is 4,000 of this model's tokens, which are bytes
        samplings = [Sampling(max_tokens=4200, temperature=1.5, seed=seed) for seed in range(6)]
        replies = model.complete([Request(chat, sampling, expect="region") for sampling in samplings])
    for reply in replies:
        assert isinstance(reply, Completion), reply
        assert reply.finish == "stop"
        assert engine.family.read_region(reply.text, view).reading not in ("none_given", "not_numbers", "repaired_tag")


def test_a_region_in_fractions_can_be_forced(engine: Engine) -> None:
    view = View.of(noise(7), KIMI.token_budget(64))
    with OpenAIBackend(engine.url, EndpointSettings(timeout=300, force_region=True)) as model:
        samplings = [Sampling(max_tokens=4200, temperature=1.5, seed=seed) for seed in range(4)]
        chat = KIMI.ask_region(view, "Where?")
        replies = model.complete([Request(chat, sampling, expect=KIMI.expects) for sampling in samplings])
    for reply in replies:
        assert isinstance(reply, Completion), reply
        [numbers] = re.findall(r"<zoom>\[(.*)\]</zoom>$", reply.text)
        assert all(0 <= float(number) <= 1 for number in numbers.split(", "))


def test_flows_at_once_reuse_their_own_first_look(engine: Engine) -> None:
    config = looking(engine)
    with OpenAIBackend(engine.url, EndpointSettings(timeout=300)) as model:
        jobs = [
            (seed, lambda seed=seed: coarse_to_fine(noise(seed), Question("What colour is it?"), config))
            for seed in range(100, 112)
        ]
        traces = list(run(jobs, model, concurrency=4))
    assert not [trace.error for trace in traces if trace.error]
    spent = [told(trace.turns[1].usage) for trace in traces]
    print(f"\n{engine.name}: 12 flows, 4 at once: {sum(cached for _, cached in spent)} of", end=" ")
    print(f"{sum(prompt for prompt, _ in spent)} prompt tokens of the second turns cached", end="")
    if engine.name == "vllm":  # llama.cpp keeps one conversation per slot, of which ours has two
        assert all(
            cached > told(trace.turns[0].usage)[0] - VLLM_BLOCK
            for trace, (_, cached) in zip(traces, spent, strict=True)
        )


def test_what_does_not_fit_is_named(engine: Engine) -> None:
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120)) as model:
        [error] = model.complete([Request((Message("user", ("x" * 9000,)),))])
    assert isinstance(error, BackendError)
    assert error.kind == "context_length"
