"""Rollouts by the vLLM that TRL drives.

vLLM needs a GPU. In its place stands an engine that takes what TRL 1.16's VLLMGeneration takes, as vLLM would read it (one
token a picture, expanded from the picture's own size), and answers by plain forward passes without a cache.
"""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from tiny_models import kinds_of
from training import make_trainer, recipe
from trl.distributed import DistributedBackend

from ergo.backends.transformers.processor import Processor
from ergo.core.errors import UsageError
from ergo.core.geometry import Size
from ergo.core.messages import Sampling
from ergo.rl import vllm_rollouts as vllm
from ergo.rl.evidence import Rollout
from ergo.rl.step import roll_out
from ergo.rl.trl_bridge import TrlTrainer
from ergo.rl.watch import Watch


class Engine:
    """Has the attributes of trl.generation.VLLMGeneration that are used, and its `generate` in colocate mode."""

    mode = "colocate"

    def __init__(self, trainer: TrlTrainer) -> None:
        self.trainer = trainer
        self.processor: Processor = trainer.step.processor
        self.model = deepcopy(trainer.model).eval()
        self.generation_kwargs: dict[str, Any] = {}
        self.temperature = self.top_p = 1.0
        self.max_completion_length = 0
        self.synced = 0

    def sync_weights(self) -> None:
        self.model.load_state_dict(self.trainer.model.state_dict())
        self.synced += 1

    def generate(
        self, prompts: list[list[int]], images: list[list[Image.Image]], num_generations: int
    ) -> tuple[Any, ...]:
        assert num_generations == 1
        replies = [self.reply(ids, pictures) for ids, pictures in zip(prompts, images, strict=True)]
        return prompts, [ids for ids, _ in replies], [[[one] for one in rows] for _, rows in replies], None

    @torch.no_grad()
    def reply(self, prompt: list[int], pictures: list[Image.Image]) -> tuple[list[int], list[float]]:
        patch, pad = self.processor.patch, self.processor.image_id
        assert prompt.count(pad) == len(pictures), "vLLM expands each picture's token itself"
        shown: list[Any] = [SimpleNamespace(pixels=one, size=Size(*one.size), patch=patch) for one in pictures]
        tokens = iter([one.size.width // patch * (one.size.height // patch) for one in shown])
        ids = [token for one in prompt for token in [one] * (next(tokens) if one == pad else 1)]
        values, grids = self.processor.pixels(shown)
        generated: list[int] = []
        logprobs = []
        while len(generated) < self.max_completion_length and self.processor.end_id not in generated:
            row = torch.tensor([[*ids, *generated]])
            scores = self.model(
                input_ids=row,
                pixel_values=values,
                image_grid_thw=grids,
                mm_token_type_ids=kinds_of(self.processor, row),
            ).logits[0, -1]
            for token, bias in self.generation_kwargs["logit_bias"].items():
                scores[token] += bias
            known = (scores / (self.temperature or 1.0)).log_softmax(-1)
            generated.append(int(known.exp().multinomial(1)) if self.temperature else int(known.argmax()))
            logprobs.append(float(known[generated[-1]]))
        return generated, logprobs


@pytest.fixture
def trainer(tmp_path: Path) -> TrlTrainer:
    return make_trainer(recipe(), tmp_path)


def driven(trainer: TrlTrainer) -> Engine:
    """The trainer as it is after `use_vllm`."""
    engine = Engine(trainer)
    trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, engine, -1
    return engine


def test_both_looks_are_those_of_this_process(trainer: TrlTrainer) -> None:
    """Greedy: the same ids, log-probabilities, regions and answers."""
    samples = [trainer.step.source[number] for number in range(3)]

    def greedy() -> list[Rollout]:
        with trainer.policy(3) as policy:
            return roll_out(policy, samples, [40] * 3, [Sampling(24)] * 3)

    here = greedy()
    engine = driven(trainer)
    there = greedy()
    assert engine.synced == 1
    for one, other in zip(here, there, strict=True):
        assert [c.token_ids for c in one.trace.completions] == [c.token_ids for c in other.trace.completions]
        for mine, its in zip(one.trace.completions, other.trace.completions, strict=True):
            assert its.logprobs == pytest.approx(mine.logprobs, abs=1e-3)
        assert one.trace.answer == other.trace.answer
        assert len(other.trace.turns) == 2


def test_trl_finds_its_own_probabilities_in_what_was_sampled(trainer: TrlTrainer) -> None:
    """Its importance sampling correction (policy over sampler) is 1, and weights are pushed once a step."""
    engine = driven(trainer)
    for _ in range(2):
        batch = trainer._generate_and_score_completions([dict(trainer.train_dataset[0]) for _ in range(4)])
    assert batch["importance_sampling_ratio"].flatten().tolist() == pytest.approx(
        [1.0] * len(batch["completion_ids"]), abs=1e-2
    )
    assert len({tuple(row) for row in batch["completion_ids"].tolist()}) > 1, "a group's rollouts must differ"
    assert engine.synced == 1


def test_a_server_is_given_runs_of_picture_tokens(trainer: TrlTrainer) -> None:
    engine = SimpleNamespace(mode="server")
    pad = trainer.step.processor.image_id
    assert vllm.VllmBackend(engine, trainer.step.processor)._prompt([105, pad, pad, 106]) == [105, pad, pad, 106]
    engine.mode = "colocate"
    assert vllm.VllmBackend(engine, trainer.step.processor)._prompt([105, pad, pad, 106, 106, pad]) == [
        105,
        pad,
        106,
        106,
        pad,
    ]


def test_several_processes_need_an_engine_each() -> None:
    vllm.check("colocate", 8, 1)
    vllm.check("server", 1, 1)
    for mode, parallel in (("server", 1), ("colocate", 2)):
        with pytest.raises(UsageError, match="colocate"):
            vllm.check(mode, 2, parallel)


def test_every_process_takes_part_where_weights_are_pushed_for_validation(
    trainer: TrlTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathering shards is a collective: the processes that do not validate would be waited for."""
    engine = driven(trainer)
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda _: False))
    Watch(recipe("validate_every=1"), trainer, tmp_path).on_train_begin(trainer.args, trainer.state, None)
    assert engine.synced == 1
    assert not (tmp_path / "log.jsonl").exists()


def test_sharded_weights_cannot_sample_in_their_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FSDP itself needs GPUs: on CPUs transformers takes the setting and shards nothing."""
    monkeypatch.setattr(DistributedBackend, "is_fsdp", property(lambda _: True))
    with pytest.raises(UsageError, match="use_vllm"):
        make_trainer(recipe(), tmp_path)
