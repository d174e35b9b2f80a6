"""Which family a name belongs to, and that every family finds the true box in a reply of its own form."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from ergo.core.errors import UsageError
from ergo.core.geometry import Box
from ergo.core.view import View
from ergo.families import FAMILIES, family_named, family_of_checkpoint, family_of_served, plain_name
from ergo.images.picture import Picture

SERVED = [
    ("Qwen/Qwen2-VL-7B-Instruct", "qwen2_vl"),
    ("Qwen/Qwen2.5-VL-7B-Instruct", "qwen2_5_vl"),
    ("qwen2.5vl:7b", "qwen2_5_vl"),  # Ollama
    ("qwen2.5-vl-72b-instruct-awq", "qwen2_5_vl"),
    ("nota-ai/ERGO-7B", "qwen2_5_vl"),
    ("XiaomiMiMo/MiMo-VL-7B-RL-2508", "qwen2_5_vl"),
    ("Qwen/Qwen3-VL-30B-A3B-Thinking-FP8", "qwen3_vl"),
    ("qwen3-vl:8b-instruct-q4_K_M", "qwen3_vl"),
    ("/root/.cache/huggingface/hub/models--Qwen--Qwen3-VL-8B-Instruct/snapshots", "qwen3_vl"),
    ("Qwen3-VL-8B-Instruct-UD-Q4_K_XL.gguf", "qwen3_vl"),
    ("qwen/qwen3-vl-235b-a22b-instruct:free", "qwen3_vl"),
    ("Qwen/Qwen3.5-35B-A3B", "qwen3_5"),
    ("Qwen/Qwen3.8-27B-NVFP4", "qwen3_5"),
    ("zai-org/GLM-4.6V-Flash", "glm4v"),
    ("THUDM/GLM-4.1V-9B-Thinking", "glm4v"),
    ("zai-org/GLM-5.3-Flash", "glm5_next"),
    ("google/gemma-4-27b-it-qat-int4", "gemma4"),
    ("gemma4:e4b", "gemma4"),
    ("moonshotai/Kimi-K2.5", "kimi"),
    ("moonshotai/Kimi-VL-A3B-Thinking-2506", "kimi"),
    ("OpenGVLab/InternVL3_5-8B-HF", "internvl"),
    ("openbmb/MiniCPM-V-4_6", "minicpmv"),
    ("gpt-5.2-mini", "hosted"),
    ("anthropic/claude-opus-4.5", "hosted"),
    ("google/gemini-3-flash", "hosted"),
    ("ergo-tiny", "ergo_tiny"),
    ("ergo-photo-cold", "ergo_photo"),
    # as they are served elsewhere
    ("qwen3-vl:235b-cloud", "qwen3_vl"),
    ("hf.co/unsloth/Qwen3-VL-8B-Instruct-GGUF:UD-Q4_K_XL", "qwen3_vl"),
    ("huggingface.co/bartowski/Qwen_Qwen3-VL-8B-Instruct-GGUF:Q4_K_M", "qwen3_vl"),
    ("mlx-community/Qwen3-VL-4B-Instruct-4bit-DWQ", "qwen3_vl"),
    ("unsloth/Qwen3-VL-8B-Instruct-1M-GGUF", "qwen3_vl"),
    ("Qwen3-VL-8B-Instruct-Q4_K_M-00001-of-00002.gguf", "qwen3_vl"),
    ("Qwen/Qwen3-VL-8B-Instruct@main", "qwen3_vl"),
    ("qwen/qwen3-vl-30b-a3b-instruct:exacto", "qwen3_vl"),
    ("qwen.qwen3-vl-235b-a22b", "qwen3_vl"),  # Bedrock
    ("qwen3-vl-plus-2025-12-19", "qwen3_vl"),
    ("Qwen/Qwen3-VL-32B-Instruct-TEE", "qwen3_vl"),
    ("qwen/qwen-2.5-vl-7b-instruct", "qwen2_5_vl"),  # OpenRouter
    ("accounts/fireworks/models/qwen2p5-vl-32b-instruct", "qwen2_5_vl"),
    ("Qwen/Qwen2.5-VL-72B-Instruct-Turbo", "qwen2_5_vl"),  # Together
    ("qwen2.5-vl-7b-instruct@q4_k_m", "qwen2_5_vl"),  # LM Studio
    ("unsloth/Qwen2.5-VL-7B-Instruct-unsloth-bnb-4bit", "qwen2_5_vl"),
    ("openbmb/minicpm-v4.6", "minicpmv"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "hosted"),
    ("claude-sonnet-4-5@20250929", "hosted"),  # Vertex
    ("chatgpt-4o-latest", "hosted"),
    # claimed by none
    ("huihui_ai/qwen3-vl-abliterated:8b", None),
    ("Qwen/Qwen3-VL-Reranker-2B", None),
    ("Qwen3-VL-Embedding-8B", None),
    ("me_Qwen3-VL-8B-Instruct", None),
    ("@main", None),
    ("me/my-qwen3-vl-finetune", None),
    ("Qwen/Qwen3-8B", None),  # reads no pictures
    ("my-qwen2.5-vl-7b-instruct", None),
    ("minicpm-v:8b", None),  # 2.6: another frame
    ("llava:13b", None),
    ("gpt-oss-20b", None),
    ("default", None),
    ("", None),
]


@pytest.mark.parametrize(("name", "family"), SERVED, ids=[name for name, _ in SERVED])
def test_a_served_name_is_claimed_or_refused(name: str, family: str | None) -> None:
    if family:
        assert family_of_served(name).name == family
    else:
        with pytest.raises(
            UsageError, match=r"no family claims .*: say which it answers like with --family \(qwen2_5_vl"
        ):
            family_of_served(name)


CHECKPOINTS = [
    ("qwen2_vl", "qwen2_vl"), ("qwen2_5_vl", "qwen2_5_vl"), ("qwen3_vl", "qwen3_vl"), ("qwen3_vl_moe", "qwen3_vl"),
    ("qwen3_5", "qwen3_5"), ("qwen3_5_moe", "qwen3_5"), ("qwen4_exp", "qwen3_5"), ("glm4v", "glm4v"),
    ("glm4v_moe", "glm4v"), ("glm46v", "glm4v"), ("glm5_next", "glm5_next"), ("gemma4", "gemma4"),
    ("gemma4_unified", "gemma4"), ("kimi_k25", "kimi"), ("kimi_vl", "kimi"), ("internvl", "internvl"),
    ("internvl_chat", "internvl"), ("minicpmv4_6", "minicpmv"), ("minicpmv4_7", "minicpmv"),
    ("lfm3_vl", None), ("qwen3", None), ("llava", None),
]  # fmt: skip


@pytest.mark.parametrize(("model_type", "family"), CHECKPOINTS, ids=[kind for kind, _ in CHECKPOINTS])
def test_a_checkpoints_type_is_claimed_or_refused(model_type: str, family: str | None) -> None:
    if family:
        assert family_of_checkpoint(model_type).name == family
    else:
        with pytest.raises(UsageError, match=f"no family claims checkpoints of type '{model_type}': say which"):
            family_of_checkpoint(model_type)


def test_the_types_are_those_of_transformers() -> None:
    auto = pytest.importorskip("transformers.models.auto.configuration_auto", reason="compares with transformers")
    elsewhere = {"kimi_vl", "internvl_chat"}  # of remote code
    assert {kind for family in FAMILIES.values() for kind in family.model_types} - elsewhere <= set(auto.CONFIG_MAPPING)


def test_the_checkpoint_a_server_runs_says_more_than_the_name_it_serves_it_under() -> None:
    assert family_of_served("Qwen/Qwen2.5-VL-7B-Instruct", "qwen3-vl-8b-instruct").name == "qwen2_5_vl"
    assert family_of_served("/models/mine", "qwen3-vl-8b-instruct").name == "qwen3_vl"
    with pytest.raises(UsageError, match="no family claims '/models/mine' or 'default'"):
        family_of_served("/models/mine", "default")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Qwen/Qwen3-VL-8B-Instruct-AWQ-4bit", "qwen3-vl-8b-instruct"),
        ("C:\\models\\Qwen3-VL-8B-Instruct-Q8_0.gguf", "qwen3-vl-8b-instruct"),
        ("qwen3-vl:latest", "qwen3-vl"),
        ("Qwen2.5-VL-7B-Instruct-quantized.w4a16", "qwen2.5-vl-7b-instruct"),
        ("owner--name", "owner--name"),
        ("a/b/", "b"),
    ],
)
def test_a_name_is_reduced_by_stated_rules(name: str, plain: str) -> None:
    assert plain_name(name) == plain


def test_a_family_is_found_by_its_name_alone() -> None:
    assert {name: family_named(name).name for name in FAMILIES} == {name: name for name in FAMILIES}
    with pytest.raises(UsageError, match="no family is called 'llava'; there are qwen2_5_vl, qwen2_vl, qwen3_vl"):
        family_named("llava")


TRUTH = Box(1200, 900, 1500, 1300)  # of 3000 x 2000: a view of Qwen's is 868 x 560 or smaller
THOUSANDTHS = "[400, 450, 500, 650]"
OWN_FORMS = {
    "qwen2_vl": "<|object_ref_start|>it<|object_ref_end|><|box_start|>(400,450),(500,650)<|box_end|>",
    "qwen2_5_vl": '```json\n[{{"bbox_2d": {pixels}, "label": "it"}}]\n```',
    "qwen3_vl": 'It may be at [10, 10, 20, 20].\n</think>\n\n[{{"bbox_2d": [400, 450, 500, 650], "label": "it"}}]',
    "qwen3_5": '<think>\n\n</think>\n\n[{{"bbox_2d": [400, 450, 500, 650], "label": "it"}}]',
    "glm4v": "<think>Near [[1,2,3,4]]</think>It is at <|begin_of_box|>[[400,450,500,650]]<|end_of_box|>.",
    "glm5_next": "<|begin_of_box|>[[400,450,500,650]]<|end_of_box|>",
    "gemma4": '```json\n[{{"box_2d": [450, 400, 650, 500], "label": "it"}}]\n```',
    "kimi": "◁think▷left◁/think▷[0.400, 0.450, 0.500, 0.650]",
    "internvl": "<ref>it</ref><box>[[400, 450, 500, 650]]</box>",
    "minicpmv": "<ref>it</ref><box>400 450 500 650</box>",
    "hosted": '<zoom>{{"x1": 400, "y1": 450, "x2": 500, "y2": 650}}</zoom>',
    "ergo_tiny": "<zoom>[400, 450, 500, 650]</zoom>",
    "ergo_photo": "<zoom>[400, 450, 500, 650]</zoom>",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_reply_in_its_own_form_lands_on_the_true_box(name: str) -> None:
    family = FAMILIES[name]
    view = View.of(Picture(Image.new("RGB", (3000, 2000))), family.token_budget(family.budget))
    pixels = [round(side) for side in view.from_source(TRUTH)]
    for reply in (OWN_FORMS[name].format(pixels=pixels), f"<zoom>{family.write_region(TRUTH, view)}</zoom>"):
        region = family.read_region(reply, view)
        assert region.box is not None, reply
        assert region.box.iou(TRUTH) >= 0.95


@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_says_what_the_coordinates_count(name: str) -> None:
    family = FAMILIES[name]
    said = family.ask_region(View.of(Picture(Image.new("RGB", (60, 60))), family.token_budget(family.budget)), "Where?")
    text = said[-1].text
    assert ("from 0 to 1000" in text) == (family.frame == "thousandths" and name not in ("ergo_tiny", "ergo_photo"))
    assert ("from 0 to 1," in text) == (family.frame == "fractions")
    assert ("[y1, x1, y2, x2]" in text) == family.y_first
    assert ('{"x1": ..., "y1": ..., "x2": ..., "y2": ...}' in text) == (name == "hosted")


FACTS = {  # frame, pixels a token sees per side, default budget, least and most tokens of a picture
    "qwen2_5_vl": ("pixels", 28, 640, 4, 16384),
    "qwen2_vl": ("thousandths", 28, 640, 4, 16384),
    "qwen3_vl": ("thousandths", 32, 640, 64, 16384),
    "qwen3_5": ("thousandths", 32, 640, 64, 16384),
    "glm4v": ("thousandths", 28, 640, 8, 7500),
    "glm5_next": ("thousandths", 28, 640, 16, 8000),
    "gemma4": ("thousandths", 48, 280, 70, 1120),
    "kimi": ("fractions", 28, 640, 1, 4096),
    "internvl": ("thousandths", 28, 1280, 256, 3328),
    "minicpmv": ("thousandths", 56, 640, 64, 720),
    "hosted": ("thousandths", 28, 640, 4, 16384),
    "ergo_tiny": ("thousandths", 28, 100, 4, 16384),
    "ergo_photo": ("thousandths", 28, 100, 28, 16384),
}


def test_what_is_known_of_each_family() -> None:
    told = {name: (one.frame, one.patch, one.budget, one.min_tokens, one.max_tokens) for name, one in FAMILIES.items()}
    assert told == FACTS


@pytest.mark.parametrize("name", FAMILIES)
def test_what_switches_thinking_off_is_a_field_of_the_request(name: str) -> None:
    switch = FAMILIES[name].no_thinking
    assert bool(switch) == (name in ("qwen3_5", "glm4v", "glm5_next", "kimi"))
    if switch:
        assert list(json.loads(switch)) == ["chat_template_kwargs"]
