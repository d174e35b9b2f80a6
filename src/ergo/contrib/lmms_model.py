"""The two looks as one of lmms-eval's models.

    lmms-eval --model ergo --model_args model=openai:http://localhost:8000,budget=640 --tasks vstar_bench

The answer is returned as it was read from the reply; the task scores it. A question that failed is
returned as an empty answer, which every task counts as wrong, and is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms

from ergo.backends import open_backend
from ergo.contrib.lmms_plugin import question_of
from ergo.core.errors import UsageError
from ergo.core.flows import Flow
from ergo.core.messages import Sampling
from ergo.core.runner import Job, Trace
from ergo.images.picture import Picture
from ergo.traces.flows import start_flow
from ergo.traces.run import run

log = logging.getLogger(__name__)


class Ergo(lmms):  # type: ignore[misc]
    """model: as for `ergo ask`. budget: most vision tokens of each look. concurrency: questions at once.

    max_tokens: of each reply; the task's own limit is not heeded, for it is meant for an answer and
    would cut off the look before it. settings: passed to the backend (api_key, adapter, ...).
    """

    is_simple = True

    def __init__(
        self,
        model: str = "ergo-photo",
        flow: str = "coarse_to_fine",
        budget: int | None = None,
        concurrency: int = 16,
        max_tokens: int = 1024,
        family: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        if flow not in ("coarse_to_fine", "one_look"):
            raise UsageError(f"in lmms-eval no true region is known: flow is coarse_to_fine or one_look, not {flow!r}")
        self._model = open_backend(model, family, **settings)
        self._config = self._model.look_config(int(budget) if budget else None, Sampling(max_tokens=int(max_tokens)))
        self._flow = flow
        self._concurrency = int(concurrency)

    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """Answers in the order of the requests."""
        results: list[Any] = [None] * len(requests)
        jobs = (self._job(place, request) for place, request in enumerate(requests))
        for trace in run(jobs, self._model.backend, self._concurrency):
            assert isinstance(trace.tag, int)  # as _job tagged it
            results[trace.tag] = _result(trace)
        return results

    def _job(self, place: int, request: Any) -> Job:
        prompt, _, doc_to_visual, doc_id, task, split = request.args

        def make() -> Flow:
            pictures = doc_to_visual(self.task_dict[task][split][doc_id])
            if len(pictures) != 1:
                raise UsageError(f"{task} shows {len(pictures)} pictures at once; a look is at one")
            picture = Picture(pictures[0], f"{task}/{doc_id}")
            return start_flow(self._flow, picture, question_of(prompt), self._config, None)

        return place, make

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        raise NotImplementedError("two looks give an answer, not the likelihood of one")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[Any]:
        raise NotImplementedError("the two looks are one round of lmms-eval")


def _result(trace: Trace) -> Any:
    if trace.error is not None:
        log.warning("not answered, and wrong: %s: %s", trace.error.kind, trace.error)
    prompts = [turn.usage.prompt_tokens for turn in trace.turns]
    counts = TokenCounts(None if None in prompts else sum(one or 0 for one in prompts), trace.generated_tokens)
    return GenerationResult(trace.answer.text if trace.answer else "", counts)
