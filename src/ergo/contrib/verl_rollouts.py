"""The two looks on verl's rollout servers, and the rewards of a recipe: all of the plug-in that does not import verl.

    Samples          the data set: a Sample JSONL
    VerlBackend      verl's servers as a Backend, for one rollout
    row_of           what of a finished rollout is trained on
    compute_score    its reward: the same flow replayed from the replies, then rl/evidence.py and rl/rewards.py

Everything of ours (budget, lengths, rewards, verifier) stands in one recipe, the kind `ergo train` runs; verl's YAML
names it once, as `ergo.recipe`. Token ids are made by the Processor of `ask` and of the TRL path, not by verl's
template code: the conversation is defined once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import AutoConfig

from ergo.backends import Model, open_backend
from ergo.backends.scripted import ScriptedBackend
from ergo.backends.transformers.loading import family_of, load_processor
from ergo.backends.transformers.processor import Prepared, Processor
from ergo.core.errors import BackendError, UsageError
from ergo.core.flows import Flow, LookConfig, Question, coarse_to_fine
from ergo.core.messages import Completion, Request, Sampling, Seconds, Usage
from ergo.core.runner import Backend, Trace, drive
from ergo.families import family_named
from ergo.families.base import ModelFamily
from ergo.grading import Matching
from ergo.images.address import open_picture
from ergo.recipes import find, read_recipe
from ergo.recipes.schema import checked
from ergo.rl.episode import Episode, episode_of
from ergo.rl.evidence import Failure, Rollout, Verifier, gather
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.rewards import Evidence, Reward
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample, sample_from_json, sample_to_json


@cache
def recipe_at(path: str) -> GrpoRecipe:
    """Read once in each worker."""
    recipe = checked(GrpoRecipe, read_recipe(find(path)))
    if any(reward.turn for reward in recipe.rewards):
        raise UsageError(
            f"{path} assigns rewards to turns, and verl has one advantage a rollout: leave `turn` out, or use `ergo train`"
        )
    if recipe.flow != "coarse_to_fine" or recipe.looks != 2:
        raise UsageError(f"{path}: rollouts of verl are two looks; other flows are for `ergo train`")
    return recipe


@cache
def policy_at(path: str) -> tuple[Processor, ModelFamily]:
    """What is needed of the policy's checkpoint beside its weights."""
    return load_processor(path), family_of(AutoConfig.from_pretrained(path))


@cache
def verifier_at(model: str, budget: int, matching: Matching) -> Verifier:
    """The frozen model R, opened once in each worker."""
    return Verifier(open_backend(model), budget, matching)


class Samples(Dataset):  # type: ignore[type-arg]
    """`data.custom_cls`: rows as verl's own data set gives them; the sample itself travels as its JSON line."""

    def __init__(self, data_files: Any, max_samples: int = -1, **_: Any) -> None:
        paths = [data_files] if isinstance(data_files, str) else list(data_files)
        self._samples = [sample for path in paths for sample in read_samples(Path(path))]
        if max_samples > 0:
            self._samples = self._samples[:max_samples]

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = self._samples[number]
        image = sample.image if str(sample.image).startswith("data:") else Path(str(sample.image)).resolve()
        return {
            "raw_prompt": [{"role": "user", "content": sample.question}],  # for verl's logs only
            "data_source": sample.category or "ergo",
            "reward_model": {"style": "rule", "ground_truth": sample.answer},
            "extra_info": {"sample": sample_to_json(replace(sample, image=image)), "index": number},
            "index": number,
            "tools_kwargs": {},
            "interaction_kwargs": {},
            "dummy_tensor": torch.tensor([0], dtype=torch.uint8),  # verl wants one tensor in every row
        }


# ── a rollout ──────────────────────────────────────────────────────────────────────────────────

Generate = Callable[[list[int], list[Any], int], Coroutine[Any, Any, Any]]
"""Prompt ids, pictures, most tokens of the reply -> verl's TokenOutput."""


@dataclass(frozen=True)
class _Conversation:
    """Where a conversation stands: its ids with the last reply, its views, and where the first reply began."""

    prepared: Prepared
    start: int


class VerlBackend:
    """verl's rollout servers as a Backend, for one rollout.

    loop: the event loop `generate` belongs to; `complete` is called from another thread.
    prompt, response: verl's limits, tokens. The close view counts as response, and is shown only if it fits.
    """

    parallel = True

    def __init__(
        self, generate: Generate, loop: asyncio.AbstractEventLoop, processor: Processor, prompt: int, response: int
    ) -> None:
        self._generate = generate
        self._loop = loop
        self._processor = processor
        self._prompt = prompt
        self._response = response
        self._never = set(processor.unsayable)
        self.opening: Prepared | None = None
        self.logprobs = True

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Completion | BackendError:
        before = request.previous.state if request.previous else None
        if isinstance(before, _Conversation):
            prepared = self._processor.continued(before.prepared.ids, before.prepared.views, request.chat)
            start = before.start
        else:
            prepared = self.opening = self._processor.first(request.chat)
            start = len(prepared.ids)
        if start > self._prompt:
            raise UsageError(f"the first look is {start} tokens: raise data.max_prompt_length, now {self._prompt}")
        room = start + self._response - len(prepared.ids)
        if room < 1:
            return BackendError(f"the close view leaves {room} tokens: raise data.max_response_length", "no_room")
        pictures = [view.pixels for view in prepared.views]
        reply = self._generate(list(prepared.ids), pictures, min(room, request.sampling.max_tokens))
        began = time.perf_counter()
        output = asyncio.run_coroutine_threadsafe(reply, self._loop).result()
        return self._completion(output, prepared, start, Seconds(time.perf_counter() - began))

    def _completion(self, output: Any, prepared: Prepared, start: int, took: Seconds) -> Completion | BackendError:
        """A reply ends where it names a token that stands for a picture: there is none for it."""
        ids = [int(token) for token in output.token_ids]
        ids = ids[: next((place for place, token in enumerate(ids) if token in self._never), len(ids))]
        if not ids:
            return BackendError("the reply has no tokens", "empty_reply")
        self.logprobs = self.logprobs and output.log_probs is not None
        logprobs = tuple(output.log_probs[: len(ids)]) if output.log_probs is not None else (0.0,) * len(ids)
        ended = ids[-1] == self._processor.end_id
        return Completion(
            text=str(self._processor.tokenizer.decode(ids[:-1] if ended else ids)),
            usage=Usage(len(prepared.ids), sum(view.tokens for view in prepared.views), None, len(ids)),
            seconds=took,
            finish="stop" if ended else "length",
            token_ids=tuple(ids),
            logprobs=logprobs,
            state=_Conversation(Prepared((*prepared.ids, *ids), prepared.views), start),
        )


def flow_of(sample: Sample, config: LookConfig) -> Flow:
    """The picture is opened when the flow starts."""
    return coarse_to_fine(open_picture(sample.image), Question(sample.question, sample.choices), config)


def look_config_of(backend: Backend, family: ModelFamily, patch: int, recipe: GrpoRecipe) -> LookConfig:
    """The budgets and sampling of `ergo train` by the same recipe."""
    sampling = Sampling(recipe.max_completion_length, recipe.temperature)
    return Model(backend, family, patch, "policy").look_config(recipe.budget, sampling)


def sample_of(extra_info: Mapping[str, Any]) -> Sample:
    """The sample that `Samples` put there."""
    return sample_from_json(extra_info["sample"], Path(), "extra_info.sample")


def row_of(trace: Trace, server: VerlBackend, processor: Processor) -> Episode:
    """The row to train on. Without a reply, one end token that nothing is learnt from."""
    if not trace.completions and server.opening:
        return Episode(server.opening.ids, (processor.end_id,), (0,), (0.0,), server.opening.views)
    return episode_of(processor, trace)


# ── its reward ─────────────────────────────────────────────────────────────────────────────────


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: Mapping[str, Any],
    recipe: str,
    reward_router_address: str | None = None,
    **_: Any,
) -> dict[str, float]:
    """`reward.custom_reward_function`: the weighted sum as `score`, and each reward by its name.

    recipe: reward_kwargs.recipe. reward_router_address: where verl serves a reward model of its own; the
    verifier of the recipe otherwise. Blocking: verl calls it in a thread.
    """
    settings = recipe_at(recipe)
    model = f"openai:http://{reward_router_address}/v1" if reward_router_address else settings.verifier
    if model is None:
        raise UsageError(f"{recipe} names no verifier: on a cluster it is a server, openai:http://HOST:PORT/v1")
    verifier = verifier_at(model, settings.budget, settings.matching)
    [evidence] = gather([replayed(extra_info, settings)], verifier)
    return scores(evidence, settings.rewards)


def replayed(extra_info: Mapping[str, Any], recipe: GrpoRecipe) -> Rollout:
    """The rollout again, from the replies alone: pictures and crops do not travel between workers."""
    replies: list[str | BackendError] = list(extra_info["replies"])
    if extra_info["failure"]:
        replies.append(BackendError("as in the rollout", extra_info["failure"]))
    sample = sample_of(extra_info)
    picture = open_picture(sample.image)
    backend = ScriptedBackend(replies)
    config = look_config_of(backend, family_named(extra_info["family"]), int(extra_info["patch"]), recipe)
    trace = drive((None, partial(flow_of, replace(sample, image=picture), config)), backend)
    return Rollout(sample, picture, trace, recipe.budget)


def scores(evidence: Evidence | Failure, rewards: Sequence[Reward]) -> dict[str, float]:
    """The sum as `score`; a reward that does not apply is left out of it and stands as nan under its name.

    A rollout that failed scores 0: verl 0.9 has no way to leave one out of its group, so `failed` counts them.

    >>> from ergo.core.geometry import Box, Size
    >>> seen = Evidence(Size(10, 10), Box(0, 0, 5, 5), True, True, False, None, 8, 8)
    >>> scores(seen, [Reward("coverage"), Reward("box", 0.5), Reward("accuracy")])
    {'coverage': nan, 'box': 1.0, 'accuracy': 1.0, 'score': 1.5, 'failed': 0.0, 'region_area': 0.25}
    """
    values = {reward.name: None if isinstance(evidence, Failure) else reward.scorer()(evidence) for reward in rewards}
    named = {name: float("nan") if value is None else value for name, value in values.items()}
    return named | {
        "score": sum(reward.weight * value for reward in rewards if (value := values[reward.name]) is not None),
        "failed": float(isinstance(evidence, Failure)),
        "region_area": float("nan") if isinstance(evidence, Failure) else evidence.area,
    }
