"""Reinforcement learning as it is run: TRL's trainer sees what was sampled, a killed run goes on, adapters load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path

import cramped_rank
import pytest
import torch
from safetensors.torch import load_file
from tiny_models import save
from training import RECIPE, SMALL, make_trainer, recipe, rows
from transformers import AutoModelForImageTextToText

from ergo.api import ask
from ergo.backends import TINY, open_backend
from ergo.cli.train import train
from ergo.core.errors import TrainingStopped, UsageError
from ergo.recipes import read_recipe
from ergo.rl.recipe import grpo_recipe
from ergo.rl.rewards import Evidence
from ergo.rl.trainer import mixed_outcomes
from ergo.rl.trl_bridge import dtype_of_weights
from ergo.world.questions import generate

RECIPES = Path(__file__).resolve().parents[2] / "src" / "ergo" / "recipes"


@pytest.mark.parametrize(
    ("bf16", "mean", "most"),
    [(False, 1e-5, 1e-3), (True, 3.5e-3, 0.3)],
    ids=["float32 arithmetic", "bfloat16 arithmetic"],
)
def test_the_trainers_log_probabilities_are_the_samplers(bf16: bool, mean: float, most: float, tmp_path: Path) -> None:
    """Through the trainer's own batching, padding and forward, rollouts with and without a second picture mixed."""
    trainer = make_trainer(recipe(f"trl.bf16={str(bf16).lower()}"), tmp_path)
    inputs = [trainer.train_dataset[number // 4] for number in range(8)]
    batch = trainer._generate_and_score_completions([dict(row) for row in inputs])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    with torch.no_grad():
        logprobs, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, batch["completion_ids"].shape[1]
        )
    sampled = (batch["tool_mask"] * batch["completion_mask"]).bool()
    assert sampled.any(1).all()
    assert not sampled.all()
    off = (logprobs - batch["sampling_per_token_logps"])[sampled].abs()
    assert off.mean() < mean
    assert off.max() < most  # the sampler never says picture tokens; the trainer gives them their e-6


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(RECIPE, whole, [*SMALL, "trl.max_steps=4"])
    train(RECIPE, parts, [*SMALL, "trl.max_steps=2"])
    with pytest.raises(UsageError, match=r"trl.max_steps was 2, is 4.*--allow-changed"):
        train(RECIPE, parts, [*SMALL, "trl.max_steps=4"])
    train(RECIPE, parts, [*SMALL, "trl.max_steps=4"], allow_changed=True)
    undisturbed, resumed = rows(whole), rows(parts)
    assert sorted(undisturbed) == sorted(resumed) == [1, 2, 3, 4]
    assert "step 4; finished" in (parts / "run.html").read_text()
    for step in (3, 4):
        for name, value in undisturbed[step].items():
            assert resumed[step][name] == pytest.approx(value, rel=1e-4, abs=1e-6), (step, name)
    trace = ask(next(generate("test", 1)).image, "Where is it?", model=f"hf:{parts / 'checkpoint'}")
    assert trace.answer is not None


def test_the_last_checkpoints_can_be_averaged(tmp_path: Path) -> None:
    settings = [*SMALL, "trl.save_steps=1", "trl.save_total_limit=3", "trl.max_steps=3", "trl.learning_rate=1e-2"]
    train(RECIPE, tmp_path, [*settings, "average=2"])
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    first, last, mean = (
        load_file(tmp_path / folder / "model.safetensors")[name]
        for folder in ("checkpoint-2", "checkpoint-3", "checkpoint")
    )
    assert not torch.equal(first, last)
    assert torch.allclose(mean, (first + last) / 2, atol=1e-6)
    with pytest.raises(TrainingStopped, match="save_total_limit"):
        train(RECIPE, tmp_path, [*settings, "average=4"])


@pytest.mark.slow
def test_questions_without_mixed_outcomes_can_be_left_out(tmp_path: Path) -> None:
    """At temperature 1 and 40 tokens a look the start answers some of 16 questions always alike, and some not."""
    trainer = make_trainer(recipe("samples=16", "probe=4"), tmp_path)
    kept = mixed_outcomes(trainer, tmp_path / "mixed-outcomes.json")
    assert 0 < len(kept) < 16
    assert mixed_outcomes(trainer, tmp_path / "found-once-more.json") == kept
    (tmp_path / "mixed-outcomes.json").write_text("[3]")
    assert mixed_outcomes(trainer, tmp_path / "mixed-outcomes.json") == [3], (
        "what was found once is read, so a resumed run trains on the same"
    )


def test_budgets_alternate_by_question(tmp_path: Path) -> None:
    prompts = [[{"role": "user", "content": str(number)}] for number in (0, 0, 1, 1)]
    trainer = make_trainer(recipe("samples=8", "budgets=[30, 60]", "trl.num_generations=2"), tmp_path)
    trainer._generate(prompts)
    [vision] = trainer._metrics["train"]["tokens/vision"]
    only_30 = make_trainer(recipe("samples=8", "budgets=[30]", "trl.num_generations=2"), tmp_path)
    only_30._generate(prompts)
    [few] = only_30._metrics["train"]["tokens/vision"]
    assert few <= 60 < vision <= 120


@pytest.mark.slow
def test_killed_in_the_middle_the_next_ten_steps_are_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "ergo", "train", str(RECIPE)]
    settings = ["--set", *SMALL, "trl.max_steps=14", "trl.save_steps=4"]
    subprocess.run([*command, "--out", str(whole), *settings], check=True)
    process = subprocess.Popen([*command, "--out", str(killed), *settings])
    while not (killed / "log.jsonl").is_file() or max(rows(killed), default=0) < 6:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, "--out", str(killed), *settings], check=True)
    undisturbed, resumed = rows(whole), rows(killed)
    for step in range(5, 15):
        for name, value in undisturbed[step].items():
            assert resumed[step][name] == pytest.approx(value, rel=1e-3, abs=1e-5), (step, name)


@pytest.mark.slow
def test_two_processes_share_a_step(tmp_path: Path) -> None:
    """Groups spread over both: each rollout has its own seed, and there is one log."""
    settings = [
        *SMALL,
        "temperature=1.3",
        "trl.num_generations=16",
        "trl.max_steps=2",
        "validate_every=2",
        "validation_samples=4",
    ]
    command = ["-m", "ergo", "train", str(RECIPE), "--set", *settings]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    subprocess.run([*torchrun, *command, "--out", str(tmp_path / "two")], check=True)
    subprocess.run(
        [sys.executable, *command, "trl.per_device_train_batch_size=16", "--out", str(tmp_path / "one")], check=True
    )
    two, one = rows(tmp_path / "two"), rows(tmp_path / "one")
    lines = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert len([line for line in lines if "validation/accuracy" in line]) == 2
    assert sorted(two) == [1, 2]
    for name in ("rewards/region/mean", "rewards/accuracy/mean", "region/area", "tokens/vision", "grad_norm"):
        assert two[1][name] == pytest.approx(one[1][name], rel=1e-3), name


def test_what_is_trained_is_in_single_precision(tmp_path: Path) -> None:
    """A step of 1e-6 is lost on a bfloat16 weight, whose neighbours are 0.4 % away. What lies still under adapters may be as stored."""
    shelf = save(tmp_path / "shelf", "qwen2_5_vl")
    AutoModelForImageTextToText.from_pretrained(shelf).bfloat16().save_pretrained(shelf)
    whole, adapters = recipe(), recipe("lora={r=4}")
    assert dtype_of_weights(adapters, str(shelf), on_gpu=False) == torch.float32
    assert dtype_of_weights(adapters, str(shelf), on_gpu=True) == torch.bfloat16
    for chosen, start in ((whole, str(shelf)), (whole, TINY), (adapters, TINY)):
        assert dtype_of_weights(chosen, start, on_gpu=True) == torch.float32


REWARDED = cycle((0.0, 1.0))


def every_other(_: Evidence) -> float:
    """A random model earns nothing; this rewards every other rollout."""
    return next(REWARDED)


def test_an_adapter_is_trained_saved_and_loaded_by_ask(tmp_path: Path) -> None:
    """The real Qwen2.5-VL classes, shrunk, random: five steps of LoRA."""
    base = save(tmp_path / "base", "qwen2_5_vl")
    settings = [
        *SMALL, f"start='{base}'", "verifier='scripted:<answer>A</answer>'", "trl.max_steps=5",
        "lora={r=4, target_modules=['q_proj', 'v_proj']}", "trl.learning_rate=1e-2", "patience=9",
        "trl.per_device_train_batch_size=4", "reward=[{name='test_grpo:every_other'}]", "min_verifier_gap=0.0",
    ]  # fmt: skip
    merged = train(RECIPE, tmp_path / "run", settings, merged=True)
    folder = tmp_path / "run" / "checkpoint"
    assert all(weight.abs().max() > 1e-3 for weight in load_file(folder / "adapter_model.safetensors").values())
    picture = next(generate("test", 1)).image
    alone = ask(picture, "What?", model=f"hf:{base}", budget=40, max_tokens=8)
    adapted = ask(picture, "What?", model=open_backend(f"hf:{base}", adapter=str(folder)), budget=40, max_tokens=8)
    assert adapted.error is None
    assert adapted.completions[0].logprobs != alone.completions[0].logprobs
    whole = ask(picture, "What?", model=f"hf:{merged}", budget=40, max_tokens=8)
    assert whole.completions[0].token_ids == adapted.completions[0].token_ids
    assert whole.completions[0].logprobs == pytest.approx(adapted.completions[0].logprobs, abs=1e-4)
    with pytest.raises(UsageError, match="--merge: the recipe has no `lora`"):
        train(RECIPE, tmp_path / "none", [*SMALL], merged=True)
    assert adapted.turns[0].usage.prompt_tokens == alone.turns[0].usage.prompt_tokens


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_can_be_read(path: Path) -> None:
    table = read_recipe(path)
    if table["kind"] == "grpo":
        assert grpo_recipe(table).rewards


def test_a_recipe_that_does_not_fit_is_one_clear_line() -> None:
    for change in ("regard=1", "reward=[{name='regoin'}]"):
        with pytest.raises(UsageError):
            recipe(change)


def test_layers_may_be_recomputed_beside_a_reference(tmp_path: Path) -> None:
    """As the paper's recipe for eight GPUs wants it: the same step as with everything kept."""
    settings = [
        *SMALL,
        "temperature=1.3",
        "trl.beta=0.04",
        "trl.max_steps=2",
        "trl.learning_rate=1e-3",
        "trl.warmup_steps=0",
    ]
    for recomputed in ("false", "true"):
        train(RECIPE, tmp_path / recomputed, [*settings, f"trl.gradient_checkpointing={recomputed}"])
    kept, again = rows(tmp_path / "false"), rows(tmp_path / "true")
    assert again[2]["kl"] > 0, "the policy has moved away from its reference"
    for name in ("grad_norm", "reward", "kl"):
        assert again[2][name] == pytest.approx(kept[2][name], rel=1e-2, abs=1e-6), name


def test_each_process_has_its_device_before_the_verifier_is_opened(tmp_path: Path) -> None:
    """Else the verifier of every process lies on the first GPU. In a process of its own, for accelerate decides once."""
    settings = [*SMALL, "verifier='hf:/no/such/folder'"]
    tried = (
        "import sys\nfrom pathlib import Path\nfrom accelerate import PartialState\nfrom ergo.cli.train import train\n"
        "from ergo.core.errors import ErgoError\nassert not PartialState._shared_state\n"
        "try:\n    train(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])\n"
        "except ErgoError as error:\n    assert 'no/such/folder' in str(error), error\n"
        "print(PartialState._shared_state['device'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", tried, str(RECIPE), str(tmp_path), *settings], capture_output=True, text=True
    )
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.splitlines()[-1].startswith(kind)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["update", "rollouts"])
def test_a_process_without_memory_leaves_no_other_waiting(where: str, tmp_path: Path) -> None:
    """Rollouts are halved in that process alone; an update that does not fit ends the run, in one line, for all."""
    script = Path(cramped_rank.__file__)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    ran = subprocess.run([*torchrun, str(script), where, str(tmp_path)], capture_output=True, text=True, timeout=400)
    if where == "rollouts":
        assert ran.returncode == 0, ran.stderr[-2000:]
        assert sorted(rows(tmp_path)) == [1, 2]
        assert all(row["left_out"] == 0 for row in rows(tmp_path).values())
        assert "do not fit into GPU memory: from now on at most" in ran.stderr
        return
    assert ran.returncode == 1
    assert "process 1: the update does not fit into GPU memory" in ran.stderr
    assert "halve trl.per_device_train_batch_size" in ran.stderr
