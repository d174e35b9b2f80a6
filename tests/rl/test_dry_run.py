"""What a run would need is known before it: memory by counting, cost by its first step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_models import make_model, save
from training import recipe
from transformers import Qwen2_5_VLConfig

from ergo.core.errors import TrainingStopped, UsageError
from ergo.rl.dry_run import dry_run
from ergo.rl.memory import Part, memory_plan, total


def test_weights_and_states_are_counted_to_the_byte(tmp_path: Path) -> None:
    start = str(save(tmp_path / "start", "qwen2_5_vl"))
    weights = sum(weight.numel() for weight in make_model("qwen2_5_vl").parameters())
    plan = memory_plan(recipe("frozen=[]"), start)
    assert [part.bytes for part in plan[:3]] == [4 * weights, 4 * weights, 8 * weights]
    frozen = memory_plan(recipe("frozen=['']"), start)
    assert [part.bytes for part in frozen[:3]] == [4 * weights, 0, 0]
    reference = memory_plan(recipe("frozen=[]", "trl.beta=0.04"), start)
    assert (reference[3].bytes, len(reference)) == (4 * weights, len(plan) + 1)
    assert "reference" in reference[3].name


def test_adapters_are_all_that_is_trained_and_need_no_reference(tmp_path: Path) -> None:
    start = str(save(tmp_path / "start", "qwen2_5_vl"))
    plan = memory_plan(recipe("lora={r=4, target_modules=['q_proj']}", "trl.beta=0.04"), start)
    adapters = 2 * (48 * 4 + 4 * 48)  # layers x (A and B of a square 48 x 48)
    assert [part.bytes for part in plan[1:3]] == [4 * adapters, 8 * adapters]
    assert not any("reference" in part.name for part in plan)


def test_keys_and_values_are_those_of_all_rollouts_of_a_step(tmp_path: Path) -> None:
    start = str(save(tmp_path / "start", "qwen2_5_vl"))
    few = memory_plan(recipe("frozen=[]"), start)[3]
    many = memory_plan(recipe("frozen=[]", "trl.gradient_accumulation_steps=3"), start)[3]
    assert many.bytes == 3 * few.bytes
    assert "8 rollouts" in few.name


def test_the_peak_is_the_larger_of_rollouts_and_update_and_only_states_are_sharded() -> None:
    parts = [Part("weights", 80.0, True), Part("rollouts", 5.0), Part("activations", 2.0), Part("logits", 1.0)]
    assert total(parts) == 85
    assert total(parts, 8) == 15
    assert total([*parts, Part("more", 9.0)]) == 92


def test_a_dry_run_tries_the_first_step_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = list(dry_run(recipe("trl.max_steps=300")))
    printed = "\n".join(lines)
    assert "at the peak" in printed
    assert "data: 40 questions (world:train, 40 from seed" in printed
    assert "of the first 20, 20 have a true region" in printed
    assert '"right_on_true": ' in printed
    assert "8 rollouts in groups of 4: region " in printed
    assert "cost: 300 steps take" in printed
    assert "2400 rollouts, 2400 calls of the verifier" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_ends_as_the_run_would(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match="cannot tell good crops from bad ones"):
        list(dry_run(recipe("verifier='scripted:<answer>A</answer>'")))


def test_arguments_that_do_not_go_together_are_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"the recipe does not fit: trl: .* must be divisible by num_generations \(3\)"
    ):
        list(dry_run(recipe("trl.num_generations=3")))


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what it does without a GPU")
def test_a_large_model_is_planned_where_it_cannot_be_run(tmp_path: Path) -> None:
    """The shape of Qwen2.5-VL-7B, without its weights; float32, as all of it is trained."""
    text = {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4, "vocab_size": 152064}  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False).save_pretrained(tmp_path)
    lines = list(dry_run(recipe(f"start='{tmp_path}'", "budget=1280", "trl.beta=0.04", "frozen=[]")))
    plan = "\n".join(lines)
    assert "8.29 billion, float32" in plan
    assert "33.2 GB  the reference" in plan
    assert lines[-1] == "no GPU here: the verifier and the first step are not tried"
