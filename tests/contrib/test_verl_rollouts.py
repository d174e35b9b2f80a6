"""verl's servers as a Backend, without verl: a fake server gives tokens; the real loop is in tests/engines/test_verl.py."""

from __future__ import annotations

import asyncio
import doctest
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from training import seen

from ergo.backends import TINY
from ergo.contrib import verl_rollouts as verl
from ergo.contrib.verl_rollouts import Samples, VerlBackend, compute_score, flow_of, look_config_of, policy_at, row_of
from ergo.core.errors import BackendError, UsageError
from ergo.core.runner import Trace, drive
from ergo.images.picture import Picture
from ergo.rl.evidence import Failure
from ergo.rl.rewards import Reward
from ergo.samples.sample import Sample, write_samples
from ergo.world.questions import generate

PROCESSOR, FAMILY = policy_at(TINY)
LOOK, ANSWER = "<think> red 500 500, flag</think><zoom>[0, 0, 500, 500]</zoom>", "<answer>A</answer>"
RECIPE = """
kind = "grpo"
start = "ergo-tiny"
verifier = "scripted:<answer>A</answer>"
seed = 1
data = "world"
samples = 0
budget = 40
max_completion_length = 24
reward = [{ name = "region" }, { name = "accuracy" }, { name = "format", weight = 0.5 }]
trl = {}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    samples = []
    for number, sample in enumerate(generate("train", 2, megapixels=(0.1, 0.2))):
        assert isinstance(sample.image, Picture)
        sample.image.pixels.save(tmp_path / f"{number}.png")
        samples.append(replace(sample, id=str(number), image=f"{number}.png"))
    write_samples(tmp_path / "samples.jsonl", samples)
    return tmp_path


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join()
    made.close()


class Server:
    """Gives these replies' tokens, one call after the other, and keeps what it was sent."""

    def __init__(self, *replies: str | Sequence[int], logprobs: bool = True) -> None:
        tokenizer = PROCESSOR.tokenizer
        self.replies = [
            [*tokenizer(one, add_special_tokens=False)["input_ids"], PROCESSOR.end_id]
            if isinstance(one, str)
            else list(one)
            for one in replies
        ]
        self.logprobs = logprobs
        self.calls: list[tuple[list[int], int, int]] = []

    async def __call__(self, ids: list[int], pictures: list[Any], most: int) -> Any:
        self.calls.append((ids, len(pictures), most))
        tokens = self.replies[len(self.calls) - 1]
        return SimpleNamespace(token_ids=tokens, log_probs=[-0.5] * len(tokens) if self.logprobs else None)


def rolled(
    folder: Path, loop: asyncio.AbstractEventLoop, server: Server, prompt: int = 512, response: int = 512
) -> tuple[Trace, VerlBackend, dict[str, Any]]:
    row = Samples(str(folder / "samples.jsonl"))[0]
    recipe = verl.recipe_at(str(folder / "recipe.toml"))
    backend = VerlBackend(server, loop, PROCESSOR, prompt, response)
    config = look_config_of(backend, FAMILY, PROCESSOR.patch, recipe)
    trace = drive((None, partial(flow_of, verl.sample_of(row["extra_info"]), config)), backend)
    replayed = {"replies": [turn.text for turn in trace.turns], "failure": trace.error.kind if trace.error else ""}
    return trace, backend, row["extra_info"] | replayed | {"family": FAMILY.name, "patch": PROCESSOR.patch}


def score(folder: Path, extra_info: dict[str, Any], **settings: Any) -> dict[str, float]:
    return compute_score("", "", "", extra_info, recipe=str(folder / "recipe.toml"), **settings)


def test_a_rollout_is_trained_on_as_it_was_sampled(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    server = Server(LOOK, ANSWER)
    trace, backend, _ = rolled(folder, loop, server)
    row = row_of(trace, backend, PROCESSOR)
    first, second = server.calls
    assert first[0] == list(row.prompt)
    whole = [*row.prompt, *row.completion]
    assert second[0] == whole[: len(second[0])]
    assert (first[1], second[1], len(row.views)) == (1, 2, 2)
    assert first[2] == second[2] == 24
    learnt = [token for token, own in zip(row.completion, row.sampled, strict=True) if own]
    assert learnt == server.replies[0] + server.replies[1]
    assert sum(row.logprobs) == -0.5 * len(learnt)
    assert backend.logprobs


def test_a_reply_ends_where_it_names_a_picture_s_token(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    server = Server(LOOK, ANSWER, logprobs=False)
    kept = server.replies[0][:3]
    server.replies[0] = [*kept, PROCESSOR.image_id, *server.replies[0][3:]]
    trace, backend, _ = rolled(folder, loop, server)
    assert list(trace.completions[0].token_ids or ()) == kept
    assert trace.completions[0].finish == "length"
    assert not backend.logprobs


def test_no_crop_is_shown_that_does_not_fit(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    server = Server(LOOK, ANSWER)
    trace, backend, extra = rolled(folder, loop, server, response=len(server.replies[0]) + 8)
    assert trace.error is not None
    assert (trace.error.kind, len(server.calls)) == ("no_room", 1)
    assert "max_response_length" in str(trace.error)
    assert row_of(trace, backend, PROCESSOR).completion == tuple(server.replies[0])
    assert score(folder, extra)["failed"] == 1


def test_a_reply_without_tokens_teaches_nothing_and_fails(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    trace, backend, extra = rolled(folder, loop, Server([], []))
    row = row_of(trace, backend, PROCESSOR)
    assert (row.completion, row.sampled, len(row.views)) == ((PROCESSOR.end_id,), (0,), 1)
    result = score(folder, extra)
    assert (result["failed"], result["score"]) == (1, 0)
    assert result["accuracy"] != result["accuracy"]


def test_a_prompt_that_does_not_fit_says_which_setting_to_raise(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(UsageError, match=r"raise data.max_prompt_length, now 16"):
        rolled(folder, loop, Server(LOOK), prompt=16)


def test_the_score_is_the_recipe_s_sum_over_the_replayed_rollout(folder: Path, loop: asyncio.AbstractEventLoop) -> None:
    _, _, extra = rolled(folder, loop, Server(LOOK, ANSWER))
    sample = json.loads(extra["sample"])
    right = float(sample["choices"][0] == sample["answer"])
    result = score(folder, extra)
    assert (result["region"], result["accuracy"], result["format"], result["failed"]) == (right, right, 1.0, 0.0)
    assert result["score"] == 2 * right + 0.5
    assert result["region_area"] == pytest.approx(0.25, abs=0.02)


def test_a_verifier_that_fails_is_counted_and_named() -> None:
    failed = verl.scores(Failure("verifier", BackendError("gone")), [Reward("region"), Reward("box")])
    assert (failed["score"], failed["failed"]) == (0, 1)
    assert verl.scores(seen(), [Reward("box", 0.5)]) == {"box": 1, "score": 0.5, "failed": 0, "region_area": 0.25}
    assert doctest.testmod(verl).failed == 0


def test_recipes_for_which_verl_has_no_place_are_refused(folder: Path) -> None:
    with_turns = folder / "turns.toml"
    with_turns.write_text(RECIPE.replace('{ name = "accuracy" }', '{ name = "accuracy", turn = 2 }'))
    with pytest.raises(UsageError, match="turn"):
        verl.recipe_at(str(with_turns))
    needed = folder / "needed.toml"
    needed.write_text('flow = "as_needed"\n' + RECIPE)
    with pytest.raises(UsageError, match="rollouts of verl are two looks"):
        verl.recipe_at(str(needed))
    without = folder / "without.toml"
    without.write_text(RECIPE.replace('verifier = "scripted:<answer>A</answer>"\n', ""))
    row = Samples([str(folder / "samples.jsonl")])[0]
    with pytest.raises(UsageError, match="names no verifier"):
        compute_score("", "", "", row["extra_info"], recipe=str(without))


def test_the_data_set_has_verl_s_columns(folder: Path) -> None:
    samples = Samples(str(folder / "samples.jsonl"))
    assert (len(samples), len(Samples(str(folder / "samples.jsonl"), max_samples=1))) == (2, 1)
    row = samples[1]
    found: Sample = verl.sample_of(row["extra_info"])
    assert (found.id, Path(str(found.image))) == ("1", folder / "1.png")
    assert row["reward_model"]["ground_truth"] == found.answer
