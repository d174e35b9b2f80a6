"""`ergo ask` on a user's photograph through the real Qwen2.5-VL configuration and tokenizer, shrunk, its weights random.

The answer is noise and is told as such; sizes, tokens, prompts and frames are exact.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from ergo.cli.main import main
from ergo.core.geometry import Size, TokenBudget
from ergo.families.prompts import PUBLISHED

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
REAL = SHARED / "qwen2.5-vl-7b-instruct"
PHOTOGRAPH = SHARED / "vstar" / "vstar_bench" / "relative_position" / "sa_19421.jpg"
pytestmark = pytest.mark.skipif(
    not PHOTOGRAPH.is_file(), reason="the real configuration and photograph lie beside the project only"
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    for file in REAL.iterdir():
        if "index" not in file.name and file.name != "config.json":
            shutil.copy(file, folder)
    config = AutoConfig.from_pretrained(REAL)
    text = config.text_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers = 128, 256, 2
    text.num_attention_heads, text.num_key_value_heads = 1, 1
    text.layer_types = text.layer_types[:2]
    config.vision_config.depth, config.vision_config.fullatt_block_indexes = 2, [1]
    config.vision_config.hidden_size, config.vision_config.intermediate_size = 64, 128
    config.vision_config.num_heads, config.vision_config.out_hidden_size = 2, 128
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_everything_but_the_answer_is_exact(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question, options = "Is the dog on the left or right of the broom?", ["left", "right"]
    command = [
        "ask",
        str(PHOTOGRAPH),
        question,
        "--options",
        *options,
        "--model",
        f"hf:{checkpoint}",
        "--budget",
        "640",
        "--max-tokens",
        "12",
    ]
    assert main([*command, "--json"]) == 1  # random weights never end: the answer is cut
    told = json.loads(capsys.readouterr().out)
    first, second = told["turns"]
    [coarse], [close] = first["views"], second["views"]
    source = Size(*coarse["source"])
    shown = TokenBudget(640).fit(source)
    assert coarse["shown"] == [shown.width, shown.height]
    assert coarse["tokens"] == shown.area // 28**2 <= 640
    tokenizer = AutoTokenizer.from_pretrained(REAL)
    template = json.loads((REAL / "chat_template.json").read_text())["chat_template"]
    asked = [
        {"role": "system", "content": PUBLISHED.system},
        {
            "role": "user",
            "content": [{"type": "image"}, {"type": "text", "text": PUBLISHED.region.format(question=question)}],
        },
    ]
    text = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False, add_generation_prompt=True)
    assert first["usage"]["prompt_tokens"] == len(tokenizer(text)["input_ids"]) - 1 + coarse["tokens"]
    assert second["usage"]["cached_tokens"] == first["usage"]["prompt_tokens"] + first["usage"]["generated_tokens"] - 1
    assert second["usage"]["vision_tokens"] == coarse["tokens"] + close["tokens"]
    # noise: no region in it, so the second look is everything again, within the same budget
    assert told["region"] is None
    assert told["fallback"] is True
    assert told["region_reading"] == "none_given"
    assert close["box"] == [0, 0, source.width, source.height]
    assert close["shown"] == coarse["shown"]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert "none that could be read (none_given): looked at the whole picture again" in said
    assert "(no_tag)" in said


def test_a_forced_region_is_read_in_the_views_own_frame(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "ask",
        str(PHOTOGRAPH),
        "Where is the broom?",
        "--model",
        f"hf:{checkpoint}",
        "--budget",
        "300",
        "--max-tokens",
        "60",
        "--force-region",
    ]
    assert main([*command, "--json"]) == 1  # random weights never end: the answer is cut
    told = json.loads(capsys.readouterr().out)
    [coarse] = told["turns"][0]["views"]
    corners = json.loads(told["turns"][0]["text"].split("<zoom>")[1].split("</zoom>")[0])
    if told["region"]:
        scale = coarse["source"][0] / coarse["shown"][0]
        left, right = sorted((corners[0], corners[2]))
        assert told["region"][0] == pytest.approx(max(0, min(left, coarse["shown"][0])) * scale, abs=1)
        assert told["region"][2] == pytest.approx(min(right, coarse["shown"][0]) * scale, abs=1)
    else:
        assert told["region_reading"] in ("empty", "outside")
