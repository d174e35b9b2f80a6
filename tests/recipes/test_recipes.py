"""Recipes: found by name, changed by --set, and every fault is one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from ergo.core.errors import UsageError
from ergo.recipes import find, read_recipe, shipped, weights
from ergo.rl.recipe import GrpoRecipe, grpo_recipe
from ergo.tiny.recipe import sft_recipe


def grpo(*changes: str) -> GrpoRecipe:
    return grpo_recipe(read_recipe(find("tiny-grpo"), changes))


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_that_ships_fits_what_it_is_for(name: str) -> None:
    table = read_recipe(find(name))
    recipe = grpo_recipe(table) if table["kind"] == "grpo" else sft_recipe(table)
    assert recipe.kind == table["kind"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("budget=abc", "budget: should be a valid integer, not 'abc'"),
        ("budget='100'", "budget: should be a valid integer, not '100'"),
        ("budget=true", "budget: should be a valid integer, not True"),
        ("budget=0", "budget: should be greater than 0, not 0"),
        ("budgets=[70, 0]", "budgets.1: should be greater than 0, not 0"),
        ("budgets=70", "budgets: should be a valid array, not 70"),
        ("temperature=0", "temperature: should be greater than 0, not 0"),
        ("seed=-1", "seed: should be greater than or equal to 0, not -1"),
        ("buget=70", "buget is not known; did you mean budget?"),
        ("zzz=1", "zzz is not known; there are average, budget, budgets, data"),
        ("kind=sft", "kind: should be 'grpo', not 'sft'"),
        ("lora=3", "lora: should be an object, not 3"),
        ("lora.rank=3", "lora.rank is not known"),
        ("lora.r=abc", "lora.r should be int, not 'abc'"),
        ("trl.learning_rat=1", "trl.learning_rat is not known; did you mean learning_rate?"),
        ("trl.learning_rate=fast", "trl.learning_rate should be float, not 'fast'"),
        ("trl.seed=1", "trl.seed is set by ergo: say `seed`"),
        ("reward=[]", "reward: Tuple should have at least 1 item after validation, not 0"),
        ("reward=[{name='regoin'}]", "no reward is called 'regoin'"),
        ("reward=[{name='box', wieght=1}]", "reward.0.wieght is not known; did you mean weight?"),
        ("reward=[{name='box', weight='much'}]", "reward.0.weight: should be a valid number, not 'much'"),
        ("reward=[{weight=1}]", "reward.0.name is missing"),
        ("reward=[{name='box', turn=3}]", "turn 1 (where to look) or 2 (the answer), not 3"),
        ("reward=[{name='box', options={gama=1}}]", "options.gama of the reward box is not known; did you mean gamma?"),
        ("reward=[{name='box', options={gamma='a'}}]", "options.gamma of the reward box should be float, not 'a'"),
        ("probe=1", "probe: outcomes of one rollout cannot be mixed"),
        ("budget", "--set wants key=value, not 'budget'"),
        ("budget.x=1", "--set budget.x: budget is no table but 100"),
    ],
)
def test_a_fault_is_one_line_that_names_the_key(change: str, line: str) -> None:
    with pytest.raises(UsageError) as refused:
        grpo(change)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert ("at least 1 item" in str(refused.value)) == (change == "reward=[]")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("shape.layer=1", "shape.layer is not known; did you mean layers?"),
        ("shape.layers=many", "shape.layers: should be a valid integer, not 'many'"),
        ("attention_layer=9", "attention_layer: the model has layers 0 to 3"),
        (
            "stage=[{until=1, mix=[{kind='crops', share=1.0, pictures=1, questions=1}]}]",
            "stage.0.mix.0.kind: should be",
        ),
        ("stage=[{until=1, mix=[{kind='crop', shares=1.0, pictures=1, questions=1}]}]", "stage.0.mix.0.shares is not"),
        ("stage=[{until=5, mix=[]}, {until=5, mix=[]}]", "stage: each `until` must be after the one before it"),
        ("label_smoothing=-1.0", "label_smoothing: should be greater than or equal to 0"),
        ("loose=0.9", "loose is not known"),
    ],
)
def test_a_fault_of_a_cold_start_too(change: str, line: str) -> None:
    with pytest.raises(UsageError) as refused:
        sft_recipe(read_recipe(find("tiny-sft"), [change]))
    assert line in str(refused.value)


def test_several_faults_are_all_named() -> None:
    with pytest.raises(UsageError, match=r"budget: .*; temprature is not known"):
        grpo("budget=abc", "temprature=1")


def test_one_value_is_changed_and_a_table_may_be_begun() -> None:
    changed = grpo("trl.max_steps=1", "lora.r=4", "data=questions.jsonl", "reward=[{name='box', options={gamma=0.5}}]")
    assert (changed.trl["max_steps"], changed.trl["num_generations"]) == (1, 8)
    assert changed.lora == {"r": 4}
    assert changed.data == "questions.jsonl"
    assert changed.rewards[0].options == {"gamma": 0.5}


def test_a_recipe_of_ones_own_begins_from_one_that_ships(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('base = "tiny-grpo"\nbudget = 60\n[trl]\nmax_steps = 3\n')
    table = read_recipe(own)
    assert (table["budget"], table["trl"]["max_steps"], table["trl"]["beta"]) == (60, 3, 0.0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('base = "own"', "is its own base"),
        ('base = "nothing"', "no recipe is called 'nothing'"),
        ("kind = ", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=line):
        read_recipe(own)
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(tmp_path)


def test_what_ships_is_found_by_name_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("tiny-grpo") == find("tiny-grpo.toml") == find("recipes/tiny-grpo.toml")
    with pytest.raises(UsageError, match=r"no recipe is called 'tiny-gpro'.*tiny-grpo"):
        find("tiny-gpro")


def test_a_checkpoint_that_is_not_there_names_the_recipe_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`ergo train tiny-places` makes it"):
        weights("runs/tiny-places/checkpoint")
    with pytest.raises(UsageError, match="train it first"):
        weights(str(tmp_path / "checkpoint"))
    assert weights("Qwen/Qwen2.5-VL-7B-Instruct") == "Qwen/Qwen2.5-VL-7B-Instruct"


@pytest.mark.parametrize(
    "change",
    [
        "trl.learning_rate=nan",
        "temperature=inf",
        "trl.max_steps=-5",
        "trl.max_steps=0",
        "trl.learning_rate=-1",
        "trl.learning_rate=9",
        "trl.beta=-1",
        "trl.per_device_train_batch_size=0",
        "trl.gradient_accumulation_steps=0",
        "trl.max_grad_norm=-1",
        "lora={r=0}",
        "reward=[{name='region'}, {name='region'}]",
        "reward=[{name='box', options={gamma=7}}]",
    ],
)
def test_numbers_that_no_run_can_have_are_refused_before_anything_is_loaded(change: str) -> None:
    with pytest.raises(UsageError, match=change.split("=")[0]):
        grpo_recipe(read_recipe(find("tiny-grpo"), [change]))


def test_only_recipes_are_read_as_recipes(tmp_path: Path) -> None:
    other = tmp_path / "passwords"
    other.write_text("secret")
    with pytest.raises(UsageError, match="no recipe"):
        find(str(other))
