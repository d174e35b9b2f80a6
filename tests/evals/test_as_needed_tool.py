"""The scripted policy of tools/as_needed.py changes when the model looks again, and nothing else."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from ergo.backends import TINY, Model, open_backend
from ergo.core.flows import Question
from ergo.core.runner import Trace, drive
from ergo.images.address import open_picture
from ergo.samples.sample import Sample
from ergo.traces.flows import start_flow
from ergo.world.questions import generate

pytest.importorskip("torch", reason="runs the bundled model")
TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "as_needed.py"))


def answered(model: Model, sample: Sample, flow: str, threshold: float) -> Trace:
    policy = replace(model, backend=TOOL["Scripted"](model, threshold))
    picture, question = open_picture(sample.image), Question(sample.question, sample.choices)
    return drive((0, lambda: start_flow(flow, picture, question, policy.look_config(100), None)), policy.backend)


def test_who_never_answers_early_looks_twice_and_who_always_does_looks_once() -> None:
    model = open_backend(TINY)
    for sample in generate("validation", 3, megapixels=(0.2, 0.4)):
        for flow, threshold in (("coarse_to_fine", TOOL["NEVER"]), ("one_look", 0.0)):
            expected, seen = (answered(model, sample, one, threshold) for one in (flow, "as_needed"))
            assert seen.answer is not None
            assert expected.answer is not None
            assert (seen.answer.text, len(seen.turns)) == (expected.answer.text, len(expected.turns))
            assert seen.vision_tokens == expected.vision_tokens
