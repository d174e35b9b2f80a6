"""A batch that does not fit into memory is halved until it does; nobody in it fails, and nobody is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_models import make_backend
from training import make_trainer, recipe

from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.errors import BackendError
from ergo.core.geometry import TokenBudget
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.core.view import View
from ergo.images.picture import Picture


def holds(model: Any, most: int) -> None:
    """From now on the model's memory holds `most` rows at once."""

    def refuse(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[0] > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    model.register_forward_pre_hook(refuse, with_kwargs=True)


def requests(backend: TransformersBackend, count: int) -> list[Request]:
    picture = Picture(Image.linear_gradient("L").convert("RGB"))
    view = View.of(picture, TokenBudget(9, patch=backend.processor.patch))
    return [
        Request((Message("user", (view, f"question {number}")),), Sampling(6, 1.0, seed=number))
        for number in range(count)
    ]


@pytest.mark.parametrize(("most", "batch"), [(1, 1), (2, 1), (3, 3), (4, 3), (6, 3)])
def test_a_batch_that_does_not_fit_is_halved(most: int, batch: int) -> None:
    wide = make_backend("qwen2_5_vl", batch=7)
    expected = wide.complete(requests(wide, 9))
    backend = make_backend("qwen2_5_vl", batch=7)
    holds(backend.model, most)
    found = backend.complete(requests(backend, 9))
    assert backend.batch == batch
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Completion)
        assert isinstance(other, Completion)
        assert one.token_ids == other.token_ids


def test_one_request_that_does_not_fit_fails_by_name() -> None:
    backend = make_backend("qwen2_5_vl", batch=7)
    holds(backend.model, 0)
    found = backend.complete(requests(backend, 3))
    assert [one.kind for one in found if isinstance(one, BackendError)] == ["out_of_memory"] * 3


def test_a_policy_that_does_not_fit_samples_fewer_at_once_and_remembers(tmp_path: Path) -> None:
    trainer = make_trainer(recipe(), tmp_path)
    holds(trainer.model, 3)
    for step in range(2):
        trainer.state.global_step = step
        trainer._generate([[{"role": "user", "content": str(number // 4)}] for number in range(8)])
    assert trainer.at_once == 2
    assert trainer._metrics["train"]["policy/failed"] == [0, 0]
