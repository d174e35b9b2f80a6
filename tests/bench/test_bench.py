"""Two looks against one: measured alternately, latency apart from throughput, beside what physics allows."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from evaluating import model

from ergo.backends.scripted import ScriptedBackend
from ergo.bench.measure import Plan, bench
from ergo.bench.roofline import (
    LookCost,
    ModelShape,
    Rates,
    latency_roofline,
    prefill_flops,
    throughput_roofline,
    vision_flops,
)
from ergo.cli.bench import as_text, run_bench
from ergo.cli.main import parser
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Completion, Request, Seconds, Usage
from ergo.evals.conditions import Condition

PLANS = (Plan(Condition("one_look", 256), (7,)), Plan(Condition("coarse_to_fine", 64), (5, 3)))

QWEN2_5_VL_7B: dict[str, Any] = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
        "temporal_patch_size": 2,
    },
}


def timed(request: Request) -> Completion:
    vision = sum(view.tokens for view in request.views)
    usage = Usage(vision + 20, vision, 0, request.sampling.max_tokens)
    text = "<zoom>[0, 0, 100, 100]</zoom>" if request.expect == "region" else "<answer>x</answer>"
    return Completion(text, usage, Seconds(0.0, 0.0, 0.0, 0.0, 0.0))


def test_both_flows_are_asked_in_turns_at_the_stated_lengths() -> None:
    opened = model(timed)
    result = bench(opened, PLANS, megapixels=0.2, rounds=3, concurrency=2)
    assert isinstance(opened.backend, ScriptedBackend)
    evaluated = [request.sampling.max_tokens for request in opened.backend.requests]
    assert evaluated[: 3 * 4] == [7, 5, 3] * 4  # A B A B: once to warm up, then three rounds
    assert (result.first.measured_output_tokens, result.second.measured_output_tokens) == ((7.0,), (5.0, 3.0))
    assert len(result.first.rounds) == len(result.second.rounds) == 3
    assert len(result.first.throughput) == 2
    assert result.second.latency["decode"] == 0.0
    assert sum(part for name, part in result.second.latency.items() if name != "total" and part) == pytest.approx(
        result.second.latency["total"], abs=1e-3
    )


def test_every_round_has_a_picture_of_its_own() -> None:
    opened = model(timed)
    bench(opened, PLANS, megapixels=0.2, rounds=2, concurrency=1)
    direct = [one.views[0] for one in opened.backend.requests if one.sampling.max_tokens == 7]  # type: ignore[attr-defined]
    shown = [view.pixels.tobytes() for view in direct]
    assert all(one != other for one, other in pairwise(shown))


def test_nothing_is_called_just_a_speed_up() -> None:
    text = as_text(bench(model(timed), PLANS, megapixels=0.2, rounds=2, concurrency=2))
    assert "speed" not in text
    assert "latency, coarse_to_fine@64 over one_look@256: x" in text
    assert "throughput at 2 at once, coarse_to_fine@64 over one_look@256: x" in text
    assert "roofline: not known" in text


def test_a_model_that_never_answers_cannot_be_measured() -> None:
    with pytest.raises(BackendError, match="never answered"):
        bench(model(lambda request: BackendError("down", "refused")), PLANS, megapixels=0.2, rounds=1, concurrency=1)


def test_a_failed_round_is_in_no_figure_and_is_told() -> None:
    evaluated = 0

    def failing_third(request: Request) -> Completion | BackendError:
        nonlocal evaluated
        evaluated += request.sampling.max_tokens == 7
        return BackendError("no", "timeout") if evaluated == 3 and request.sampling.max_tokens == 7 else timed(request)

    result = bench(model(failing_third), PLANS, megapixels=0.2, rounds=3, concurrency=1)
    assert (result.first.failed, len(result.first.rounds), len(result.second.rounds)) == (1, 2, 3)
    assert "failed      1 of 3" in as_text(result)


def test_the_command_saves_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(QWEN2_5_VL_7B))
    flags = f"--budget 64 --direct 256 --rounds 1 --concurrency 1 --megapixels 0.2 --save {tmp_path}/b.json --output-tokens 5 3"
    args = parser("bench").parse_args(
        ["bench", *flags.split(), "--config", f"{tmp_path}/config.json", "--rates", "790", "4.3"]
    )
    assert run_bench(args, model(timed)) == 0
    text = capsys.readouterr().out
    assert "790 TFLOP/s" in text
    assert "roofline" in text
    saved = json.loads((tmp_path / "b.json").read_text())
    assert saved["second"]["latency_roofline"]["decode"] > 0
    assert {"latency_ratio", "throughput_ratio", "megapixels", "concurrency", "rates", "first", "second"} <= set(saved)


def test_the_floor_of_qwen2_5_vl_7b() -> None:
    """Against the figures worked out by hand for 790 TFLOP/s and 4.3 TB/s."""
    shape, rates = ModelShape.of(QWEN2_5_VL_7B), Rates(790e12, 4.3e12)
    assert shape.vision == pytest.approx(0.63e9, rel=0.01)
    assert shape.merger == pytest.approx(44.6e6, rel=0.01)
    assert 2 * shape.text == pytest.approx(13.05e9, rel=0.01)
    assert shape.cache_bytes == 57_344
    assert (shape.text + shape.head) * shape.weight_bytes == pytest.approx(14.14e9, rel=0.01)
    assert vision_flops(shape, 16384) == pytest.approx(172.8e12, rel=0.01)
    assert vision_flops(shape, 1000) == pytest.approx(5.2e9 * 1000 + 3.28e5 * 1000**2, rel=0.02)
    assert prefill_flops(shape, 16500, 0) == pytest.approx(270.1e12, rel=0.01)
    direct = latency_roofline(shape, rates, [LookCost((16384,), 16500, 0, 100)])
    assert direct.vision + direct.prefill == pytest.approx(0.561, rel=0.01)
    assert direct.decode == pytest.approx(0.351, rel=0.01)
    many = throughput_roofline(shape, rates, [LookCost((16384,), 16500, 0, 100)], batch=256)
    assert many.total == pytest.approx(0.588, rel=0.01)


def test_two_looks_of_the_7b_are_mostly_decoding_at_batch_one() -> None:
    shape, rates = ModelShape.of(QWEN2_5_VL_7B), Rates(790e12, 4.3e12)
    looks = [LookCost((1280,), 1450, 0, 100), LookCost((1280,), 1400, 1550, 100)]
    roofline = latency_roofline(shape, rates, looks)
    assert roofline.decode / roofline.total > 0.88
    assert roofline.vision == pytest.approx(14.3e12 / 790e12, rel=0.02)


def test_a_qwen3_vl_has_a_floor_and_other_models_say_what_is_missing() -> None:
    config = {
        "text_config": {
            "hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2,
            "num_hidden_layers": 3, "head_dim": 16, "vocab_size": 800,
        },
        "vision_config": {
            "depth": 2, "hidden_size": 32, "intermediate_size": 128, "out_hidden_size": 64, "patch_size": 28,
            "spatial_merge_size": 1, "temporal_patch_size": 1, "deepstack_visual_indexes": [0, 1],
        },
    }  # fmt: skip
    shape = ModelShape.of(config, 4)
    assert shape.windowed_blocks == 0
    assert shape.merger == 3 * (32 * 32 + 32 * 64)
    assert shape.cache_bytes == 2 * 3 * 32 * 4
    with pytest.raises(UsageError, match="vision_config"):
        ModelShape.of({"hidden_size": 64})
