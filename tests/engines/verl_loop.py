"""Inside verl's environment; run by test_verl.py, which writes down the rollouts that are repeated here."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
import verl  # first, and alone: loads the plug-in
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, DictConfigWrap, _agent_loop_registry
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.utils.dataset.rl_dataset import collate_fn, get_dataset_class
from verl.workers.rollout.replica import TokenOutput

FOLDER = Path(os.environ["ERGO_ROLLOUTS"])
TINY = os.environ["ERGO_TINY"]
ROWS = json.loads((FOLDER / "rollouts.json").read_text())
RECIPES = Path(__file__).parent.parent.parent / "src" / "ergo" / "recipes"

CONFIG = OmegaConf.create(
    {
        "ergo": {"recipe": str(FOLDER / "recipe.toml")},
        "actor_rollout_ref": {
            "model": {"path": TINY},
            "rollout": {"name": "vllm", "prompt_length": 256, "response_length": 256},
        },
        "data": {"custom_cls": {"path": "pkg://ergo.contrib.verl", "name": "Samples"}},
        "reward": {
            "custom_reward_function": {
                "path": "pkg://ergo.contrib.verl",
                "name": "compute_score",
                "reward_kwargs": {"recipe": "${ergo.recipe}"},
            }
        },
    }
)
TOKENIZER = AutoTokenizer.from_pretrained(TINY)
IMAGE = TOKENIZER.convert_tokens_to_ids("<|image_pad|>")


class FakeServers:
    """In place of verl's LLMServerClient: the ids written down, for exactly the prompts they were sampled after.

    No dataclass: hydra, which makes the loop, would take it for a configuration.
    """

    def __init__(self, said: Sequence[Sequence[int]], logprobs: Sequence[Sequence[float]] | None) -> None:
        self.said = said
        self.logprobs = logprobs
        self.asked: list[dict[str, Any]] = []

    async def generate(self, **asked: Any) -> TokenOutput:
        await asyncio.sleep(0)
        self.asked.append(asked)
        turn = len(self.asked) - 1
        logprobs = list(self.logprobs[turn]) if self.logprobs else None
        return TokenOutput(token_ids=list(self.said[turn]), log_probs=logprobs)


def dataset() -> Any:
    return get_dataset_class(CONFIG.data)(
        data_files=[str(FOLDER / "samples.jsonl")],
        tokenizer=TOKENIZER,
        processor=None,
        config=CONFIG.data,
        max_samples=-1,
    )


SAMPLES = dataset()


def rolled(servers: FakeServers, sample: str = "0", **limits: int) -> tuple[AgentLoopOutput, dict[str, Any]]:
    """As AgentLoopWorker does it: by name from the registry, with a row of the data set."""
    config = OmegaConf.merge(CONFIG, {"actor_rollout_ref": {"rollout": limits}})
    row = SAMPLES[int(sample)]

    async def run() -> AgentLoopOutput:
        loop = hydra.utils.instantiate(
            config=_agent_loop_registry["ergo"],
            trainer_config=DictConfigWrap(config=config),
            server_manager=servers,
            tokenizer=TOKENIZER,
            processor=None,
            hf_model_type=None,  # verl's own template code, which a model type would choose, is not used
            dataset_cls=type(SAMPLES),
            data_config=DictConfigWrap(config.data),
        )
        return await loop.run({"temperature": 1.0, "top_p": 1.0, "logprobs": True}, **row)

    return asyncio.run(run()), row


def scored(output: AgentLoopOutput, row: dict[str, Any]) -> dict[str, float]:
    """As NaiveRewardManager calls it."""
    scorer = get_custom_reward_fn(CONFIG)
    return dict(
        scorer(
            data_source=row["data_source"],
            solution_str=TOKENIZER.decode(output.response_ids),
            ground_truth=row["reward_model"]["ground_truth"],
            extra_info=row["extra_info"] | output.extra_fields | {"num_turns": output.num_turns},
        )
    )


def test_importing_verl_registers_the_loop() -> None:
    assert verl.__version__ == "0.9.1"
    assert _agent_loop_registry["ergo"] == {"_target_": "ergo.contrib.verl.ErgoAgentLoop"}


@pytest.mark.parametrize("written", ROWS, ids=range(len(ROWS)))
def test_a_rollout_is_the_row_that_the_trl_path_trains_on(written: dict[str, Any]) -> None:
    servers = FakeServers(written["said"], written["logprobs"])
    output, _ = rolled(servers, written["sample"])
    episode = written["episode"]
    assert output.prompt_ids == episode["prompt"]
    assert output.response_ids == episode["completion"]
    assert output.response_mask == episode["sampled"]  # what is learnt from: nothing that the policy did not sample
    assert output.response_logprobs == pytest.approx(episode["logprobs"])
    first, second = servers.asked
    assert first["prompt_ids"] == episode["prompt"]
    whole = output.prompt_ids + output.response_ids
    assert second["prompt_ids"] == whole[: len(second["prompt_ids"])]
    assert first["request_id"] == second["request_id"]  # one server for both, for its prefix cache
    assert (first["sampling_params"]["max_tokens"], len(first["image_data"]), len(second["image_data"])) == (24, 1, 2)


@pytest.mark.parametrize("written", ROWS[:6], ids=range(6))
def test_image_tokens_are_the_features_that_transformers_makes_of_the_pictures(written: dict[str, Any]) -> None:
    """verl computes features with the checkpoint's own image processor: it must not resize a view again."""
    output, _ = rolled(FakeServers(written["said"], written["logprobs"]), written["sample"])
    images = output.multi_modal_data["images"]
    processor = AutoImageProcessor.from_pretrained(TINY)
    grids = processor(images=images, return_tensors="pt")["image_grid_thw"]
    assert grids.tolist() == written["grids"]
    features = int(grids.prod(dim=1).sum()) // processor.merge_size**2
    assert (output.prompt_ids + output.response_ids).count(IMAGE) == features


@pytest.mark.parametrize("written", ROWS, ids=range(len(ROWS)))
def test_rewards_are_those_of_the_trl_path(written: dict[str, Any]) -> None:
    output, row = rolled(FakeServers(written["said"], written["logprobs"]), written["sample"])
    result = scored(output, row)
    assert {name: result[name] for name in written["rewards"]} == pytest.approx(written["rewards"])
    assert result["score"] == pytest.approx(written["score"])
    assert result["failed"] == 0


def test_verl_s_own_reward_manager_takes_it() -> None:
    import numpy as np
    import torch
    from tensordict import TensorDict
    from verl import DataProto

    written = ROWS[0]
    output, row = rolled(FakeServers(written["said"], written["logprobs"]), written["sample"])
    ids = torch.tensor([output.prompt_ids + output.response_ids])
    batch = TensorDict({"responses": torch.tensor([output.response_ids]), "attention_mask": torch.ones_like(ids)}, 1)
    columns = {name: np.array([row[name]], dtype=object) for name in ("data_source", "reward_model", "extra_info")}
    columns["tool_extra_fields"] = np.array([output.extra_fields], dtype=object)

    async def run() -> dict[str, Any]:
        manager = NaiveRewardManager(CONFIG, TOKENIZER, get_custom_reward_fn(CONFIG))
        return dict(await manager.run_single(DataProto(batch=batch, non_tensor_batch=columns)))

    assert asyncio.run(run())["reward_score"] == pytest.approx(written["score"])


def test_no_crop_is_shown_that_does_not_fit() -> None:
    """Otherwise pads and features part, the field's classic failure; the rollout ends, named, and scores nothing."""
    written = ROWS[0]
    room = len(written["said"][0]) + 8
    servers = FakeServers(written["said"], written["logprobs"])
    output, row = rolled(servers, response_length=room)
    assert output.extra_fields["failure"] == "no_room"
    assert output.response_ids == written["said"][0]
    assert (len(servers.asked), len(output.multi_modal_data["images"])) == (1, 1)
    assert (output.prompt_ids + output.response_ids).count(IMAGE) == written["grids"][0][1] * written["grids"][0][2]
    assert (scored(output, row)["score"], scored(output, row)["failed"]) == (0, 1)


def test_a_reply_ends_where_it_names_a_picture_s_token() -> None:
    written = ROWS[0]
    first, second = written["said"]
    output, _ = rolled(FakeServers([[*first[:2], IMAGE, *first[2:]], second], None))
    assert output.response_ids[:2] == first[:2]
    pads = sum(rows * columns for _, rows, columns in [written["grids"][0]])
    assert output.prompt_ids.count(IMAGE) == pads
    images = AutoImageProcessor.from_pretrained(TINY)(images=output.multi_modal_data["images"], return_tensors="pt")
    assert (output.prompt_ids + output.response_ids).count(IMAGE) == int(images["image_grid_thw"].prod(dim=1).sum())
    assert output.response_logprobs is None  # the server gave none


def test_a_rollout_without_tokens_teaches_nothing() -> None:
    output, row = rolled(FakeServers([[], []], None))
    assert (output.response_mask, output.extra_fields["failure"]) == ([0], "empty_reply")
    result = scored(output, row)
    assert (result["score"], result["failed"]) == (0, 1)


def test_a_prompt_that_does_not_fit_says_which_setting_to_raise() -> None:
    with pytest.raises(Exception, match=r"raise data.max_prompt_length, now 16"):
        rolled(FakeServers(ROWS[0]["said"], None), prompt_length=16)


def test_rows_stack_as_verl_s_do() -> None:
    batch = collate_fn([SAMPLES[0], SAMPLES[1]])
    assert batch["dummy_tensor"].shape == (2, 1)
    assert [json.loads(info["sample"])["id"] for info in batch["extra_info"]] == ["0", "1"]
    assert len(dataset()) == 4


def test_the_recipe_for_a_cluster_is_one_that_verl_composes() -> None:
    with initialize_config_dir(str(RECIPES), version_base=None):
        config = compose("verl-ergo-7b")
    assert config.actor_rollout_ref.rollout.agent.default_agent_loop == "ergo"
    assert config.reward.custom_reward_function.reward_kwargs.recipe == config.ergo.recipe == "ergo-7b-paper"
    assert get_dataset_class(config.data).__name__ == "Samples"
    assert callable(get_custom_reward_fn(config))
    from ergo.contrib.verl import recipe_at

    ours = recipe_at(config.ergo.recipe)
    assert config.actor_rollout_ref.rollout.n == ours.trl["num_generations"]
    assert config.actor_rollout_ref.actor.optim.lr == ours.trl["learning_rate"]
    assert config.actor_rollout_ref.actor.kl_loss_coef == ours.trl["beta"]
    assert config.data.max_prompt_length >= ours.budget + 300  # the coarse view, and the published prompt around it
    assert config.data.max_response_length >= ours.budget + 2 * ours.max_completion_length + 200
