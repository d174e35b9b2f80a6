"""Rollouts by the vLLM that TRL drives (`trl.use_vllm = true`): TRL pushes the weights, vLLM samples both replies.

The flows, the ids and the views are those of every other backend; only the sampling is elsewhere. vLLM itself needs a GPU and an environment
of its own pins, and was not run here: the tests stand an engine in its place that takes what TRL 1.16 hands to it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ergo.backends.transformers.processor import Processor
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request, Sampling, Seconds, Usage


class VllmBackend:
    """engine: TRL's VLLMGeneration, weights pushed. A whole conversation is sent each time; vLLM's prefix cache knows its beginning.

    A seed is not passed on: equal seeds would make the rollouts of a group alike, so a resumed run samples anew.
    """

    parallel = False

    def __init__(self, engine: Any, processor: Processor) -> None:
        self.engine = engine
        self.processor = processor

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """Requests that are sampled alike go together, in one call of the engine."""
        groups: dict[Sampling, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            groups[replace(request.sampling, seed=None)].append(place)
        results: dict[int, Completion | BackendError] = {}
        for sampling, places in groups.items():
            results |= zip(places, self._sample([requests[place] for place in places], sampling), strict=True)
        return [results[place] for place in range(len(requests))]

    def _sample(self, requests: Sequence[Request], sampling: Sampling) -> list[Completion | BackendError]:
        engine, began = self.engine, time.perf_counter()
        prepared = [self.processor.whole(request) for request in requests]
        engine.temperature, engine.top_p, engine.max_completion_length = (
            sampling.temperature,
            sampling.top_p,
            sampling.max_tokens,
        )
        engine.generation_kwargs = engine.generation_kwargs | {
            "logit_bias": dict.fromkeys(self.processor.unsayable, -100.0)
        }
        _, replies, logprobs, _ = engine.generate(
            prompts=[self._prompt(one.ids) for one in prepared],
            images=[[view.pixels for view in one.views] for one in prepared],
            num_generations=1,
        )
        seconds = Seconds((time.perf_counter() - began) / len(requests))
        return [
            self._completion(request, len(one.ids), list(ids), [row[0] for row in rows], seconds)
            for request, one, ids, rows in zip(requests, prepared, replies, logprobs, strict=True)
        ]

    def _prompt(self, ids: Sequence[int]) -> list[int]:
        """In this process vLLM expands each picture's token itself, and would do so twice; its server takes runs (trl#6294)."""
        if self.engine.mode == "server":
            return list(ids)
        runs = ((token, list(run)) for token, run in groupby(ids))
        return [one for token, run in runs for one in (run[:1] if token == self.processor.image_id else run)]

    def _completion(
        self, request: Request, prompt: int, ids: list[int], logprobs: list[float | None], seconds: Seconds
    ) -> Completion | BackendError:
        if any(one is None for one in logprobs):
            return BackendError("vLLM gave no log-probability for a sampled token", "bad_reply")
        ended = bool(ids) and ids[-1] == self.processor.end_id
        text = str(self.processor.tokenizer.decode(ids[:-1] if ended else ids))
        usage = Usage(prompt, sum(view.tokens for view in request.views), None, len(ids))
        return Completion(
            text, usage, seconds, "stop" if ended else "length", tuple(ids), tuple(one or 0.0 for one in logprobs)
        )


def check(mode: str, processes: int, tensor_parallel: int) -> None:
    """TRL's engine splits what it gathers into equal parts; second looks are not equally many on every process."""
    if processes > 1 and (mode == "server" or tensor_parallel > 1):
        raise UsageError(
            "with several processes vLLM must be in each of them: trl.vllm_mode='colocate', trl.vllm_tensor_parallel_size=1"
        )
