"""Both looks through real servers, each in an environment of its own (setup.sh), and what their caches kept.

    tests/engines/setup.sh llamacpp && pytest -m engines tests/engines -s      # -s shows the figures

The model is tiny and random: what it says is noise, what is counted is exact.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from conftest import Engine
from PIL import Image

from ergo.backends.openai.backend import OpenAIBackend
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError
from ergo.core.flows import LookConfig, Question, coarse_to_fine
from ergo.core.geometry import Size, TokenBudget
from ergo.core.messages import Completion, Message, Request, Sampling, Usage
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.families import QWEN2_5_VL
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.traces.run import run

pytestmark = pytest.mark.engines

LOOKING = LookConfig(QWEN2_5_VL, TokenBudget(256), TokenBudget(256), Sampling(max_tokens=60))
VLLM_BLOCK = 128
"""Tokens that vLLM's cache keeps or drops together, on a CPU; llama.cpp's keeps single ones."""


def noise(seed: int, width: int = 1200, height: int = 900) -> Picture:
    """A picture that no cache has seen."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", compress_level=0)
    return load_image(file.getvalue())


def look(engine: Engine, seed: int, **options: Any) -> Trace:
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120, **options)) as model:
        [trace] = run([(seed, lambda: coarse_to_fine(noise(seed), Question("What colour is it?"), LOOKING))], model)
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


def test_the_same_pixels_as_other_bytes_are_another_picture(engine: Engine) -> None:
    look(engine, seed=2)
    again, other = look(engine, seed=2).turns[0], look(engine, seed=2, format="bmp").turns[0]
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

    least = TokenBudget(4, min_tokens=4) if engine.name == "vllm" else TokenBudget(16, min_tokens=8)  # llama.cpp's own
    with OpenAIBackend(engine.url, EndpointSettings(timeout=120)) as model:
        small = View.of(noise(4, 100, 100), least)
        view = View.of(noise(3, size.width, size.height), TokenBudget(256, min_tokens=8))
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
    view = View.of(noise(6), TokenBudget(64))
    chat = QWEN2_5_VL.ask_region(view, "Where?")
    with OpenAIBackend(engine.url, EndpointSettings(timeout=300, force_region=True)) as model:
        # a thought of 1,000 characters is 4,000 of this model's tokens, which are bytes
        samplings = [Sampling(max_tokens=4200, temperature=1.5, seed=seed) for seed in range(6)]
        replies = model.complete([Request(chat, sampling, expect="region") for sampling in samplings])
    for reply in replies:
        assert isinstance(reply, Completion), reply
        assert reply.finish == "stop"
        assert QWEN2_5_VL.read_region(reply.text, view).reading not in ("none_given", "not_numbers", "repaired_tag")


def test_flows_at_once_reuse_their_own_first_look(engine: Engine) -> None:
    with OpenAIBackend(engine.url, EndpointSettings(timeout=300)) as model:
        jobs = [
            (seed, lambda seed=seed: coarse_to_fine(noise(seed), Question("What colour is it?"), LOOKING))
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
