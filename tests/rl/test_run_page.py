"""The page of a run: what was seen, said and earned, also where something of it failed."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from training import seen

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError
from ergo.core.messages import Sampling
from ergo.families import ERGO_TINY
from ergo.images.picture import Picture
from ergo.rl.evidence import Failure
from ergo.rl.page import save_examples, write_page
from ergo.rl.step import roll_out
from ergo.samples.sample import Sample

LOOK, ANSWER = "<think>there</think><zoom>[0, 0, 500, 500]</zoom>", "<answer>blue & red</answer>"


def test_pictures_truth_verdicts_and_scores_stand_on_a_page_that_refreshes(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    policy = Model(ScriptedBackend([LOOK, ANSWER, LOOK, ANSWER]), ERGO_TINY, 28, "policy")
    images = (Picture(Image.new("RGB", (300, 200))), Picture(Image.new("RGB", (300, 200))), broken)
    samples = [Sample(str(n), image, "<script>which?", "blue", region=None) for n, image in enumerate(images)]
    rollouts = roll_out(policy, samples, [40] * 3, [Sampling(8)] * 3)
    error = rollouts[2].trace.error
    assert error
    evidence = [seen(right=False), Failure("verifier", BackendError("gone", "timeout")), Failure("picture", error)]
    nan = float("nan")
    save_examples(tmp_path / "rollouts", 7, rollouts, evidence, [[1.0, 0.25], [nan, nan], [nan, nan]])
    log = [{"step": 1, "reward": 0.5}, {"step": 7, "reward": 1.5, "region/area": float("nan")}]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    write_page(tmp_path, ("region", "tokens"), running=True)
    page = (tmp_path / "run.html").read_text()
    assert 'http-equiv="refresh"' in page
    assert page.count('src="rollouts/step-00007-') == 2
    assert all((tmp_path / "rollouts" / f"step-00007-{number}.png").is_file() for number in (0, 1))
    for said in (
        "&lt;script&gt;which?",
        "blue &amp; red",
        "25.0 %",
        "0.25",
        "verifier_timeout",
        "picture_",
        "no picture",
    ):
        assert said in page, said
    assert "<script>" not in page
    assert "nan" not in page
    assert "0.5 → 1.5" in page
    save_examples(tmp_path / "rollouts", 8, rollouts[:1], evidence[:1], [[1.0, 1.0]])
    write_page(tmp_path, ("region", "tokens"), running=False)
    page = (tmp_path / "run.html").read_text()
    assert "refresh" not in page
    assert page.index("step-00008-0") < page.index("step-00007-0")


def test_every_reward_has_its_curve_and_means_beside_it(tmp_path: Path) -> None:
    """A single step is of a few questions: the first and the last of twenty do not say what a run did."""
    log = [{"step": n, "rewards/mine:own/mean": 0.25 if n < 18 else 0.75 if n < 19 else 0.25} for n in range(20)]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    write_page(tmp_path, ("mine:own",), running=False)
    page = (tmp_path / "run.html").read_text()
    assert "rewards/mine:own/mean" in page
    assert "0.25 → 0.5" in page
