"""One step: seeds, budgets and pictures of its rollouts; what is left out; and what comes of it in TRL's batch."""

from __future__ import annotations

import doctest
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest
import torch
from PIL import Image
from training import RECIPE, SMALL, make_step, make_trainer, recipe, rows, scripted_verifier, seen

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.cli.train import train
from ergo.core.errors import BackendError, PictureError, TrainingStopped, UsageError
from ergo.core.geometry import Box
from ergo.core.messages import Request, Sampling
from ergo.families import ERGO_TINY
from ergo.images.picture import Picture
from ergo.rl import advantages
from ergo.rl.advantages import left_out
from ergo.rl.evidence import Failure, Verifier, gather
from ergo.rl.rewards import Evidence
from ergo.rl.source import source_of
from ergo.rl.step import GrpoStep, roll_out
from ergo.samples.sample import Sample, sample_to_json

LOOK, ANSWER = "<think>there</think><zoom>[0, 0, 500, 500]</zoom>", "<answer>B</answer>"


def scripted(*replies: str | BackendError) -> tuple[Model, ScriptedBackend]:
    backend = ScriptedBackend(list(replies) or [LOOK])
    return Model(backend, ERGO_TINY, 28, "policy"), backend


def seeds(step: GrpoStep, number: int, first_place: int = 0) -> list[int | None]:
    policy, backend = scripted()
    step.rollouts(policy, [3, 3], number, first_place)
    return [request.sampling.seed for request in backend.requests if len(request.views) == 1]


def test_every_rollout_of_every_step_has_a_seed_of_its_own() -> None:
    step = make_step(recipe())
    found = [*seeds(step, 0), *seeds(step, 1), *seeds(step, 1, first_place=2), *seeds(make_step(recipe("seed=1")), 0)]
    assert len(set(found)) == 8
    assert sorted(map(str, seeds(step, 1))) == sorted(map(str, found[2:4])), "a resumed run samples the same"


def test_a_rollout_looks_as_the_recipe_says() -> None:
    chosen = recipe("budgets=[30, 60]", "temperature=0.7", "max_completion_length=9")
    policy, backend = scripted(LOOK, ANSWER)
    rollouts = make_step(chosen).rollouts(policy, [0, 1, 2], 0, 0)
    assert [one.budget for one in rollouts] == [30, 60, 30]
    assert {(r.sampling.temperature, r.sampling.max_tokens) for r in backend.requests} == {(0.7, 9)}
    for one in rollouts:
        assert all(one.budget / 2 < view.tokens <= one.budget for turn in one.trace.turns for view in turn.views)


def test_rollouts_look_as_often_as_needed_where_the_recipe_says_so() -> None:
    chosen = recipe("flow='as_needed'", "looks=3")
    early, _ = scripted("<think>seen</think><answer>A</answer>")
    [one] = make_step(chosen).rollouts(early, [0], 0, 0)
    assert (len(one.trace.turns), one.looks) == (1, 3)
    never, _ = scripted(LOOK)
    [one] = make_step(chosen).rollouts(never, [0], 0, 0)
    assert len(one.trace.turns) == 3


def test_samples_of_equal_id_keep_their_own_pictures() -> None:
    """Two files may number their rows alike."""
    pair = [Sample("7", Picture(Image.new("RGB", size)), "?", "x") for size in ((300, 200), (200, 300))]
    rollouts = roll_out(scripted()[0], [pair[0], pair[0], pair[1]], [40] * 3, [Sampling(8)] * 3)
    expected = [pair[0].image, pair[0].image, pair[1].image]
    assert [one.picture and one.picture.stored for one in rollouts] == [one.stored for one in expected]  # type: ignore[union-attr]


@dataclass(frozen=True)
class WaitingFile:
    """A file whose first opener waits for a second one, who must not come. met: whether one did."""

    path: Path
    met: list[bool] = field(default_factory=list)
    second: Barrier = field(default_factory=lambda: Barrier(2))

    def __fspath__(self) -> str:
        with suppress(BrokenBarrierError):
            self.second.wait(0.2)
            self.met.append(True)
        return str(self.path)


def test_a_part_of_a_picture_is_cut_once(tmp_path: Path) -> None:
    """The coarse view of a group, and what both looks and the verifier are shown of a region; in threads, too."""
    Image.new("RGB", (300, 200)).save(tmp_path / "a.png")
    file = WaitingFile(tmp_path / "a.png")
    sample = Sample("7", file, "?", "x")
    rollouts = roll_out(scripted()[0], [sample] * 16, [40] * 16, [Sampling(8)] * 16)
    assert not file.met
    assert len({id(one.picture) for one in rollouts}) == 1
    views = [request.chat[-1].views[0] for one in rollouts for request in one.trace.requests]
    assert len({id(view) for view in views}) == 32
    assert len({id(view.pixels) for view in views}) == len({(view.box, view.size) for view in views}) == 2


def test_rollouts_of_one_look_end_with_the_region() -> None:
    sample = Sample("7", Picture(Image.new("RGB", (300, 200))), "?", "x", region=Box(0, 0, 9, 9))
    [one] = roll_out(scripted()[0], [sample], [40], [Sampling(8)], looks=1)
    assert len(one.trace.turns) == 1
    assert one.trace.answer
    assert one.trace.answer.region
    [known] = gather([one], Verifier(None, 40))
    assert isinstance(known, Evidence)
    assert (known.verified, known.right, known.region) == (False, False, one.trace.answer.region)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (["verifier='none'"], "the reward region is what the verifier says"),
        (["looks=1"], "the reward accuracy needs an answer"),
        (["looks=3"], "looks: should be 1 or 2"),
        (["flow='as_needed'", "looks=1"], "as_needed may look twice at least"),
        (["looks=1", "reward=[{name='early'}]"], "the reward early needs an answer"),
        (["verifier='none'", "reward=[{name='likelihood'}]"], "the reward likelihood is what the verifier says"),
    ],
)
def test_rewards_that_nobody_can_give_are_refused(changes: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        recipe(*changes)


def test_scores_are_the_recipe_s_rewards_in_its_order() -> None:
    step = make_step(recipe())  # region, box, accuracy, format
    failure = Failure("verifier", BackendError("gone", "timeout"))
    scores = step.rewards([seen(), seen(verified=False, right=False), failure, seen(region=None, well_formed=False)])
    assert scores[[0, 1, 3]].tolist() == [[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert scores[2].isnan().all()


def test_the_examples_of_left_out_hold() -> None:
    assert doctest.testmod(advantages).failed == 0


@pytest.mark.parametrize(("failed", "out"), [(0, 0), (1, 1), (4, 4), (5, 8), (7, 8), (8, 8)])
def test_a_group_of_which_less_than_half_remains_is_left_out_whole(failed: int, out: int) -> None:
    scores = torch.rand(16, 3)
    scores[:failed] = torch.nan
    found = left_out(scores, 8)
    assert int(found[:8].sum()) == out
    assert not found[8:].any(), "other groups have nothing to do with it"


def test_two_rollouts_are_the_fewest_that_can_be_compared() -> None:
    scores = torch.tensor([[1.0], [torch.nan]])
    assert left_out(scores, 2).all()


def test_a_reward_that_no_one_of_the_group_has_leaves_nobody_out() -> None:
    """No true region is known of this question: the other rewards decide."""
    assert not left_out(torch.tensor([[1.0, torch.nan], [0.0, torch.nan]]), 2).any()
    assert left_out(torch.tensor([[1.0, 0.0], [0.0, torch.nan], [1.0, 1.0]]), 3).tolist() == [False, True, False]


class Flaky(ScriptedBackend):
    """R that fails on every call of these places (of 4), and else answers A and B alternately."""

    def __init__(self, failing: Sequence[int]) -> None:
        calls = cycle(range(4))
        answers = cycle(["<answer>A</answer>", ANSWER])

        def reply(_: Request) -> str | BackendError:
            return BackendError("gone", "timeout") if next(calls) in failing else next(answers)

        super().__init__(reply, parallel=False)


def batch_with(verifier: Verifier, tmp_path: Path) -> tuple[dict[str, torch.Tensor], dict[str, float], torch.Tensor]:
    trainer = make_trainer(recipe("temperature=1.3"), tmp_path, verifier)
    batch = trainer._generate_and_score_completions([dict(trainer.train_dataset[n // 4]) for n in range(8)])
    return batch, {name: values[-1] for name, values in trainer._metrics["train"].items()}, trainer.scores


def test_a_failed_verification_is_compared_with_nothing_and_nothing_is_learnt_from_it(tmp_path: Path) -> None:
    verifier = Verifier(Model(Flaky([1]), ERGO_TINY, 28, "flaky"), 40)
    batch, logged, scores = batch_with(verifier, tmp_path)
    out = scores.isnan().all(1)
    assert 0 < int(out.sum()) < 8
    assert not batch["advantages"][out].any()
    learnt = batch["tool_mask"] * batch["completion_mask"]
    assert not learnt[out].any()
    assert learnt[~out].any(1).all()
    weights = torch.tensor([1.0, 0.5, 1.0, 1.0])
    for group in range(2):
        own = slice(4 * group, 4 * group + 4)
        kept = ~out[own]
        rewards = (scores[own] @ weights)[kept]
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        assert torch.allclose(batch["advantages"][own][kept], expected, atol=1e-4)
    assert logged["left_out"] == pytest.approx(float(out.float().mean()))
    assert logged["verifier/failed"] > 0


def test_a_dead_verifier_moves_nothing(tmp_path: Path) -> None:
    batch, logged, _ = batch_with(scripted_verifier([BackendError("gone", "refused")]), tmp_path)
    assert not batch["advantages"].any()
    assert logged["left_out"] == 1
    assert "reward" not in logged or logged["reward"] != logged["reward"]


def files(tmp_path: Path, broken: int) -> str:
    """A Sample JSONL of eight pictures, the first of them cut off."""
    lines = []
    for number, sample in enumerate(source_of("world", 8)[n] for n in range(8)):
        assert isinstance(sample.image, Picture)
        path = tmp_path / f"{number}.jpg"
        sample.image.pixels.resize((400, 300)).save(path)
        if number < broken:
            path.write_bytes(path.read_bytes()[:2000])
        lines.append(sample_to_json(Sample(str(number), path.name, sample.question, sample.answer, sample.choices)))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines) + "\n")
    return f"data='{tmp_path / 'samples.jsonl'}'"


def test_a_broken_picture_costs_its_own_rollouts_only(tmp_path: Path) -> None:
    data = files(tmp_path, broken=1)
    train(RECIPE, tmp_path / "run", [*SMALL, data, "trl.max_steps=4"])
    found = rows(tmp_path / "run")
    assert sorted(found) == [1, 2, 3, 4]
    assert sum(row["picture/failed"] for row in found.values()) == 0.5, "one of the two groups of one of four steps"
    assert all(row["loss"] == row["loss"] for row in found.values())


def test_a_run_whose_pictures_are_all_broken_stops_and_says_why(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped, match=r"for 3 steps at least half of the rollouts failed.*picture_truncated 8"):
        train(RECIPE, tmp_path / "run", [*SMALL, files(tmp_path, broken=8), "trl.max_steps=9"])


def test_a_verifier_that_cannot_tell_stops_the_run_before_its_first_step(tmp_path: Path) -> None:
    settings = [*SMALL, "verifier='scripted:<answer>A</answer>'", "trl.max_steps=1"]
    with pytest.raises(TrainingStopped, match="cannot tell good crops from bad ones"):
        train(RECIPE, tmp_path, settings)
    measured = json.loads((tmp_path / "verifier.json").read_text())
    assert measured["right_on_true"] == pytest.approx(measured["right_on_wrong"], abs=0.05)
    assert not (tmp_path / "log.jsonl").exists()
    train(RECIPE, tmp_path, [*settings, "min_verifier_gap=0.0"])
    assert sorted(rows(tmp_path)) == [1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere", "is not a file"),
        ("no.such.module:data", "cannot be imported"),
        ("ergo.rl.source:nothing", "cannot be imported"),
    ],
)
def test_data_that_is_not_there_is_named(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        source_of(name, 8)


def test_ids_that_stand_twice_are_refused(tmp_path: Path) -> None:
    files(tmp_path, broken=0)
    path = tmp_path / "samples.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[3] + "\n")
    with pytest.raises(UsageError, match="'3'"):
        source_of(str(path), 0)


def test_the_world_s_categories_may_be_chosen() -> None:
    chosen = source_of("world:train:coarse,vague,coarse", 6)
    assert [chosen[number].category for number in range(6)] == ["coarse", "vague", "coarse"] * 2
    assert chosen.identity != source_of("world:train", 6).identity, "another choice is noticed when a run goes on"
    for name, line in (
        ("world:trian", "has the splits"),
        ("world:train:coarse,fine", "has the categories .* not 'fine'"),
    ):
        with pytest.raises(UsageError, match=line):
            source_of(name, 6)


def test_what_is_frozen_is_not_trained(tmp_path: Path) -> None:
    trainer = make_trainer(recipe("frozen=['visual', 'embed_tokens']"), tmp_path)
    still = {name for name, weight in trainer.model.named_parameters() if not weight.requires_grad}
    assert still == {name for name, _ in trainer.model.named_parameters() if "visual" in name or "embed_tokens" in name}
    assert still
    everything = make_trainer(recipe("frozen=[]"), tmp_path)
    assert all(weight.requires_grad for weight in everything.model.parameters())


def test_a_picture_error_is_raised_for_each_rollout_of_its_sample() -> None:
    broken = Sample("cut", b"\xff\xd8\xff\xe0 not a picture", "?", "x")
    first, second = roll_out(scripted()[0], [broken, broken], [40] * 2, [Sampling(8)] * 2)
    for one in (first, second):
        assert one.picture is None
        assert isinstance(one.trace.error, PictureError)
