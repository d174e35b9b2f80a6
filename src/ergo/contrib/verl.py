"""A plug-in for verl 0.9 (no fork): one agent loop, and by their names what verl's YAML asks for (docs/cluster.md).

verl finds this file through the entry point `verl.plugins` whenever it is imported. A rollout waits for its server in
a thread, so that pictures are decoded and scaled beside the event loop and not on it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

from ergo.contrib.verl_rollouts import (
    Samples,
    VerlBackend,
    compute_score,
    flow_of,
    look_config_of,
    policy_at,
    recipe_at,
    row_of,
    sample_of,
)
from ergo.core.runner import drive

__all__ = ["ErgoAgentLoop", "Samples", "compute_score"]

CONCURRENCY = 512  # rollouts of one agent worker; each waits in a thread, most of them for a server


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="rollout")


@register("ergo")
class ErgoAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """One coarse-to-fine rollout."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """row: what `Samples` gave. A rollout that fails is one with the replies so far, and its failure named."""
        recipe = recipe_at(self.config.ergo.recipe)
        processor, family = policy_at(self.config.actor_rollout_ref.model.path)
        limit = "max_new_tokens" if self.rollout_config.name == "sglang" else "max_tokens"
        request = f"ergo-{id(self)}-{row['index']}"  # one server for both looks: its prefix cache has the first

        async def generate(ids: list[int], pictures: list[Any], most: int) -> Any:
            return await self.server_manager.generate(
                request_id=request, prompt_ids=ids, sampling_params=sampling_params | {limit: most}, image_data=pictures
            )

        loop = asyncio.get_running_loop()
        limits = self.rollout_config.prompt_length, self.rollout_config.response_length
        server = VerlBackend(generate, loop, processor, *limits)
        config = look_config_of(server, family, processor.patch, recipe)
        job = (None, partial(flow_of, sample_of(row["extra_info"]), config))
        trace = await loop.run_in_executor(_threads(), drive, job, server)
        episode = row_of(trace, server, processor)
        return AgentLoopOutput(
            prompt_ids=list(episode.prompt),
            response_ids=list(episode.completion),
            response_mask=list(episode.sampled),
            response_logprobs=list(episode.logprobs) if server.logprobs else None,
            multi_modal_data={"images": [view.pixels for view in episode.views]},
            num_turns=2 * len(trace.turns),
            metrics=AgentLoopMetrics(generate_sequences=trace.seconds),
            extra_fields={
                "replies": [turn.text for turn in trace.turns],
                "failure": trace.error.kind if trace.error else "",
                "family": family.name,
                "patch": processor.patch,
            },
        )
