"""`ergo train --dry-run`: what a run would need, tried on its first step; nothing is written to its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoConfig

from ergo.backends.transformers.loading import load_processor
from ergo.core.errors import PictureError
from ergo.images.decode import load_image
from ergo.recipes import weights
from ergo.rl.memory import GB, memory_plan, total
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.source import Source, source_of
from ergo.rl.step import GrpoStep
from ergo.rl.trainer import check_verifier, frozen_verifier
from ergo.rl.trl_bridge import TrlTrainer, trl_config

OPENED = 20  # samples whose pictures are opened
TRIED_ON_CPU = 1e9  # bytes of weights beyond which a step is only tried on a GPU


def dry_run(recipe: GrpoRecipe) -> Iterator[str]:
    """Lines for a person: memory plan, data, verifier, first step, cost. What would end the run is raised as it would be."""
    start = weights(recipe.start)
    yield f"policy {recipe.start} ({AutoConfig.from_pretrained(start).model_type})"
    parts = memory_plan(recipe, start)
    yield "memory on one GPU, nothing sharded:"
    yield from (f"  {part}" for part in parts)
    yield f"  {total(parts) / GB:8.1f} GB  at the peak" + "".join(
        f"; {total(parts, gpus) / GB:.1f} on each of {gpus} (FSDP or ZeRO-3)" for gpus in (4, 8)
    )
    source = source_of(recipe.data, recipe.samples)
    yield from _data(source)
    if parts[0].bytes > TRIED_ON_CPU and not torch.cuda.is_available():
        yield "no GPU here: the verifier and the first step are not tried"
        return
    yield from _first_step(recipe, source, start)


def _data(source: Source) -> Iterator[str]:
    samples = [source[number] for number in range(min(OPENED, len(source)))]
    broken = []
    for sample in samples:
        try:
            load_image(sample.image)
        except PictureError as error:
            broken.append(f"{sample.id}: {error}")
    known = sum(sample.region is not None for sample in samples)
    yield f"data: {len(source)} questions ({source.identity}); of the first {len(samples)}, {known} have a true region"
    yield from (f"  a picture that cannot be opened: {one}" for one in broken)


def _first_step(recipe: GrpoRecipe, source: Source, start: str) -> Iterator[str]:
    """One step of training in a folder of its own, then what all of them would take."""
    planned = trl_config(recipe, ".")
    one = {"max_steps": 1, "report_to": "none", "save_strategy": "no", "logging_steps": 1}
    tried = recipe.model_copy(update={"trl": dict(recipe.trl) | one, "show_every": 0})
    verifier = frozen_verifier(recipe, start)
    with TemporaryDirectory() as folder:
        check_verifier(verifier, source, recipe, Path(folder) / "verifier.json")
        yield f"verifier: {(Path(folder) / 'verifier.json').read_text().strip()}"
        trainer = TrlTrainer(GrpoStep(tried, source, verifier, load_processor(start)), start, Path(folder))
        trainer.train()
    row = next(logged for logged in trainer.state.log_history if "reward" in logged)
    rollouts = planned.generation_batch_size
    rewards = ", ".join(f"{reward.name} {row[f'rewards/{reward.name}/mean']:.2f}" for reward in recipe.rewards)
    yield f"first step: {rollouts} rollouts in groups of {planned.num_generations}: {rewards}; sum {row['reward']:.2f}"
    yield (f"  {row['frac_reward_zero_std']:.0%} of its groups have no advantage, {row['left_out']:.0%} of its rollouts failed, "
           f"{row['replies/cut']:.0%} of its replies were cut")  # fmt: skip
    seconds = row["step_time"]
    rest = seconds - row["seconds/rollout"] - row["seconds/verifier"]
    yield (f"  {seconds:.1f} s: rollouts {row['seconds/rollout']:.1f}, verifier {row['seconds/verifier']:.1f}, "
           f"update {rest:.1f}; a first step is slower than others")  # fmt: skip
    if torch.cuda.is_available():
        yield f"  {torch.cuda.max_memory_allocated() / GB:.1f} GB of GPU memory at its peak"
    steps = planned.max_steps
    if steps < 1:
        steps = round(planned.num_train_epochs * len(source) * planned.num_generations / rollouts)
    looks = steps * rollouts
    yield (f"cost: {steps} steps take {steps * seconds / 3600:.1f} hours here without validation: {looks} rollouts, "
           f"{looks} calls of the verifier, {looks * row['tokens/generated'] / 1e6:.1f} million output tokens")  # fmt: skip
