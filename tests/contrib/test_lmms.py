"""ERGO as a model of lmms-eval. The engines test runs the real harness, in an environment of its own:

python -m venv .engines/lmms && .engines/lmms/bin/pip install torch==2.13.0 && .engines/lmms/bin/pip install lmms-eval "filelock<3.21" -e .

lmms-eval 0.7.3 reaches into filelock._api, which newer releases no longer have.
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from endpoint import endpoint
from evaluating import PIXELS

from ergo.contrib.lmms_plugin import CLASS, question_of

HOME = Path(os.environ.get("ERGO_ENGINES", ".engines")).absolute() / "lmms" / "bin" / "python"


@pytest.mark.parametrize(
    ("prompt", "text", "choices"),
    [
        ("What?\nA. red\nB. blue\nAnswer the option letter directly.", "What?", ("red", "blue")),
        ("What?\n(A) red\n(B) blue\n(C) green\nAnswer with the letter.", "What?", ("red", "blue", "green")),
        ("Hint: look.\nWhat?\nA: red\nB: blue", "Hint: look.\nWhat?", ("red", "blue")),
        ("How many dogs?", "How many dogs?", ()),
        ("A. Smith asks:\nhow many?", "A. Smith asks:\nhow many?", ()),
        ("What?\nA. red\nC. blue", "What?\nA. red\nC. blue", ()),
        ("Read it.\nA. He went.\nThen what?\nA. red\nB. blue", "Read it.\nA. He went.\nThen what?", ("red", "blue")),
    ],
)
def test_a_prompt_is_taken_apart_so_that_the_first_look_does_not_see_the_options(
    prompt: str, text: str, choices: tuple[str, ...]
) -> None:
    question = question_of(prompt)
    assert (question.text, question.choices) == (text, choices)


TASK = """
task: two_colours
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function two_colours.visual
doc_to_text: !function two_colours.text
doc_to_target: answer
generation_kwargs: {{max_new_tokens: 16}}
process_results: !function two_colours.process
metric_list: [{{metric: right, aggregation: mean, higher_is_better: true}}]
"""
FUNCTIONS = """
from PIL import Image
def visual(doc): return [Image.open(doc["image"])]
def text(doc, lmms_eval_specific_kwargs=None): return doc["question"] + "\\nA. red\\nB. blue\\nAnswer with the letter."
def process(doc, results): return {"right": float(results[0] == doc["answer"])}
"""


@pytest.mark.engines
@pytest.mark.skipif(not HOME.exists(), reason=f"lmms-eval is not in {HOME.parent.parent}: see the top of this file")
def test_lmms_eval_lists_and_runs_our_model_on_two_samples(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PIXELS)
    rows = [{"image": str(tmp_path / "a.png"), "question": f"colour {n}?", "answer": "B"} for n in range(2)]
    (tmp_path / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "two_colours.yaml").write_text(TASK.format(data=tmp_path / "rows.json"))
    (tmp_path / "tasks" / "two_colours.py").write_text(FUNCTIONS)
    env = os.environ | {"PYTHONPATH": f"{registered(tmp_path)}:{Path('src').resolve()}", "HF_HUB_OFFLINE": "1"}

    # the registry, and not the verb `models`: that one prints what is built in, and no plug-in (0.7.3)
    listing = "from lmms_eval.models import list_available_models as names; print(*names())"
    listed = subprocess.run([HOME, "-c", listing], env=env, capture_output=True, text=True, check=True)
    assert "ergo" in listed.stdout.split()
    with endpoint(["<zoom>[0, 0, 56, 42]</zoom>", "<answer>B</answer>"]) as url:
        command = [
            HOME, "-m", "lmms_eval", "--model", "ergo", "--model_args", f"model=openai:{url},family=qwen2_5_vl,budget=64,concurrency=1",
            "--tasks", "two_colours", "--include_path", tmp_path / "tasks", "--limit", "2",
            "--output_path", tmp_path / "out", "--log_samples",
        ]  # fmt: skip
        ran = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    [results] = (tmp_path / "out").rglob("*results.json")
    assert json.loads(results.read_text())["results"]["two_colours"]["right,none"] == 1.0


def registered(folder: Path) -> Path:
    """What an installed ergo-vlm tells lmms-eval, for an environment it is not installed in."""
    info = folder / "site" / "ergo_lmms-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ergo-lmms\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[lmms_eval.models]\nergo = ergo.contrib.lmms_plugin:manifest\n")
    return folder / "site"


def test_lmms_eval_is_pointed_to_a_class_that_is_there() -> None:
    """Without importing it: lmms-eval is not installed here."""
    module, _, name = CLASS.rpartition(".")
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    assert f"class {name}(" in Path(found.origin).read_text(encoding="utf-8")
