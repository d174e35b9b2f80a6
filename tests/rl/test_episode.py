"""What is trained is what was sampled: ids, pixels, positions and log-probabilities, for both families."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import FAMILY_NAMES, kinds_of, make_backend

from ergo.backends import Model, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.processor import rope_positions
from ergo.core.flows import Question, coarse_to_fine
from ergo.core.messages import Sampling
from ergo.core.runner import Trace
from ergo.rl.episode import episode_of
from ergo.traces.run import run
from ergo.world.questions import generate


def opened(name: str) -> Model:
    if name == "ergo-tiny":
        return open_backend("ergo-tiny")
    backend = make_backend(name)
    return Model(backend, backend.family, backend.processor.patch, name)


@pytest.fixture(scope="module", params=["ergo-tiny", *FAMILY_NAMES])
def rolled(request: pytest.FixtureRequest) -> tuple[TransformersBackend, list[Trace]]:
    """Sampled rollouts, batched, of different lengths."""
    model = opened(request.param)
    jobs = [
        (number, lambda s=sample, n=number: coarse_to_fine(  # type: ignore[misc]
            s.image, Question(s.question, s.choices), model.look_config(64, Sampling(24, 1.0, seed=n))))
        for number, sample in enumerate(generate("train", 3, megapixels=(0.1, 0.2)))
    ]  # fmt: skip
    assert isinstance(model.backend, TransformersBackend)
    return model.backend, sorted(run(jobs, model.backend, concurrency=3), key=lambda trace: int(str(trace.tag)))


def test_the_row_is_the_conversation_with_every_sampled_id(rolled: tuple[TransformersBackend, list[Trace]]) -> None:
    backend, traces = rolled
    for trace in traces:
        one = episode_of(backend.processor, trace)
        first, second = trace.completions
        generated = [token for token, sampled in zip(one.completion, one.sampled, strict=True) if sampled]
        assert generated == [*(first.token_ids or ()), *(second.token_ids or ())]
        assert len(one.prompt) + len(one.completion) == (second.usage.prompt_tokens or 0) + len(second.token_ids or ())
        pads = sum(token == backend.processor.image_id for token in (*one.prompt, *one.completion))
        assert pads == sum(view.tokens for view in one.views) == trace.vision_tokens
        assert one.views == tuple(view for turn in trace.turns for view in turn.views)


def plain_forward(model: Any, backend: TransformersBackend, ids: torch.Tensor, views: Any) -> torch.Tensor:
    """transformers alone: pixels and ids in, its own positions, no cache."""
    values, grids = backend.processor.pixels(views)
    with torch.no_grad():
        out = model(
            input_ids=ids,
            pixel_values=values,
            image_grid_thw=grids,
            mm_token_type_ids=kinds_of(backend.processor, ids),
            attention_mask=torch.ones_like(ids),
        )
    logits: torch.Tensor = out.logits[0]
    return logits


def test_its_log_probabilities_are_the_samplers(rolled: tuple[TransformersBackend, list[Trace]]) -> None:
    backend, traces = rolled
    for trace in traces:
        one = episode_of(backend.processor, trace)
        ids = torch.tensor([[*one.prompt, *one.completion]])
        logits = plain_forward(backend.model, backend, ids, one.views)
        logits[:, backend.processor.unsayable] = -torch.inf  # what the sampler never says
        start = len(one.prompt)
        logprobs = logits[start - 1 : -1].log_softmax(-1).gather(1, ids[0, start:, None])[:, 0]
        sampled = torch.tensor(one.sampled, dtype=torch.bool)
        assert torch.allclose(logprobs[sampled], torch.tensor(one.logprobs)[sampled], atol=1e-4)
        assert not torch.tensor(one.logprobs)[~sampled].any()


def test_its_positions_are_transformers_own(rolled: tuple[TransformersBackend, list[Trace]]) -> None:
    backend, traces = rolled
    one = episode_of(backend.processor, traces[0])
    ids = torch.tensor([[*one.prompt, *one.completion]])
    grids = backend.processor.pixels(one.views)[1]
    kinds = kinds_of(backend.processor, ids)
    theirs, _ = backend.model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grids)
    ours = rope_positions(ids[0].numpy(), one.views, backend.processor.image_id)
    assert (theirs[:, 0].numpy() == ours).all()
