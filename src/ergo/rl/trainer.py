"""GRPO on two looks: TRL's GRPOTrainer with one method replaced, the one that makes rollouts, and one extended.

Stock TRL can bring a crop into a rollout through its tool interface. We do not use it: it prepares
prompts and pictures by code of its own, drops all pictures of a batch silently where counts
disagree, and computes the first look again for the second (docs/log.md has the figures). Here the
rollouts are the flows of `pipeline.py` on the policy itself, through the backend that `ask` uses, with
its cache, or through the vLLM that TRL drives; what was sampled goes to the trainer as ids. Everything else is TRL's:
groups, advantages, losses, KL, LoRA, accelerate, checkpoints and logs. Where a reward names its turn, each reply's
tokens get an advantage of their own (turns.py).

    train               recipe -> checkpoint
    ├── LooksTrainer    a step: _generate (rollouts) -> rewards -> advantages -> loss
    └── Watch           validation, stops, log.jsonl
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, ProcessorMixin, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint
from transformers.utils import SAFE_WEIGHTS_NAME
from trl import GRPOConfig, GRPOTrainer

from ergo.backends import Model, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.loading import family_of, load_processor
from ergo.backends.transformers.processor import Processor
from ergo.core.errors import TrainingStopped, UsageError
from ergo.core.flows import Flow, LookConfig, Question, coarse_to_fine
from ergo.core.messages import Sampling
from ergo.core.runner import Backend
from ergo.core.view import View
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.recipes import weights
from ergo.rl import vllm_rollouts as vllm
from ergo.rl.advantages import TURNS, group_advantages, spread, turn_rewards, turns_of
from ergo.rl.episode import episode_of
from ergo.rl.evidence import Rollout, Verifier, answered_right, error_rate, gather
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.rewards import Evidence
from ergo.rl.source import Source, source_of
from ergo.samples.sample import Sample
from ergo.traces.run import run
from ergo.viz import picture_of

log = logging.getLogger(__name__)

WHOLE = 0.9  # a mean region area above this is the collapse that the paper tells of
SHOWN = 3  # rollouts kept as pictures each time
PROBED = 100  # samples on which the verifier's errors are measured


def train(recipe: GrpoRecipe, out: Path) -> Path:
    """Run (or go on with) reinforcement learning in folder `out`; returns the folder of the final checkpoint."""
    torch.set_num_threads(recipe.threads)
    out.mkdir(parents=True, exist_ok=True)
    start = weights(recipe.start)
    verifier = Verifier(open_backend(recipe.verifier or f"hf:{start}"), recipe.budget)
    source = source_of(recipe.data, recipe.samples)
    trainer = LooksTrainer(recipe, start, source, verifier, out)
    trainer.add_callback(Watch(recipe, trainer, out))
    last = get_last_checkpoint(str(out))
    if last is None and trainer.accelerator.is_main_process:
        _measure_verifier(verifier, source, recipe.seed, out)
    if recipe.probe:
        with trainer.accelerator.main_process_first():
            numbers = _undecided(trainer, out / "undecided.json")
        trainer.train_dataset = trainer.train_dataset.select(numbers)
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model(str(out / "checkpoint"))
    if trainer.accelerator.is_main_process:
        if recipe.average:
            _average(out, recipe.average)
        (out / "recipe.json").write_text(recipe.model_dump_json(indent=2, by_alias=True) + "\n")
    return out / "checkpoint"


def _measure_verifier(verifier: Verifier, source: Source, seed: int, out: Path) -> None:
    samples = [source[number] for number in range(min(PROBED, len(source)))]
    errors = error_rate(verifier, [(sample, load_image(sample.image)) for sample in samples], seed)
    log.info("verifier: right on %.0f%% of true crops, on %.0f%% of wrong ones, %d failed",
             100 * errors.right_on_true, 100 * errors.right_on_wrong, errors.failed)  # fmt: skip
    (out / "verifier.json").write_text(json.dumps(asdict(errors)) + "\n")


def _average(out: Path, count: int) -> None:
    """Put the mean of the last `count` saved checkpoints' weights into the final checkpoint."""
    final = out / "checkpoint" / SAFE_WEIGHTS_NAME
    saved = sorted(out.glob(f"{PREFIX_CHECKPOINT_DIR}-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))[
        -count:
    ]
    if len(saved) < count or not final.is_file():
        raise TrainingStopped(
            f"{len(saved)} checkpoints with {SAFE_WEIGHTS_NAME} cannot be averaged as {count}: raise trl.save_total_limit, or lower `average`"
        )
    weights = [load_file(folder / SAFE_WEIGHTS_NAME) for folder in saved]
    mean = {
        name: torch.stack([each[name].double() for each in weights]).mean(0).to(first.dtype)
        for name, first in weights[0].items()
    }
    save_file(mean, final, metadata={"format": "pt"})


def _undecided(trainer: LooksTrainer, kept: Path) -> list[int]:
    """Numbers of the questions that the start answers rightly at times and wrongly at times; found once, then read.

    A group whose rollouts all score alike has no advantage and teaches nothing.
    """
    if kept.is_file():
        return list(json.loads(kept.read_text()))
    recipe, source = trainer.recipe, trainer.source
    at_once = max(1, 64 // recipe.probe)
    mixed = []
    for start in range(0, len(source), at_once):
        numbers = [number for number in range(start, min(start + at_once, len(source))) for _ in range(recipe.probe)]
        samples = {number: source[number] for number in set(numbers)}
        seeds = [_seed(recipe.seed, start, place, recipe.probe) for place in range(len(numbers))]
        sampling = [Sampling(recipe.max_completion_length, recipe.temperature, seed=seed) for seed in seeds]
        rollouts = trainer.rolled([samples[number] for number in numbers], [recipe.budget] * len(numbers), sampling)
        right = Counter(
            number for number, one in zip(numbers, rollouts, strict=True) if answered_right(one.sample, one.trace)
        )
        mixed += [number for number in sorted(samples) if 0 < right[number] < recipe.probe]
    if not mixed:
        raise TrainingStopped(
            f"the start answers each of {len(source)} questions always alike: raise temperature, probe or samples"
        )
    log.info("%d of %d questions are undecided", len(mixed), len(source))
    kept.write_text(json.dumps(mixed) + "\n")
    return mixed


class LooksTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer whose rollouts are coarse-to-fine flows."""

    def __init__(self, recipe: GrpoRecipe, start: str, source: Source, verifier: Verifier, out: Path) -> None:
        self.recipe = recipe
        self.source = source
        self.verifier = verifier
        self.out = out
        config = _config(recipe, out)
        if config.use_vllm:
            vllm.check(config.vllm_mode, config.world_size, config.vllm_tensor_parallel_size)
        self.looks = load_processor(start)
        model = AutoModelForImageTextToText.from_pretrained(start, dtype=dtype_of_weights(recipe, start))
        self.family = family_of(model.config)
        for name, weight in model.named_parameters():
            weight.requires_grad_(not any(part in name for part in recipe.frozen))
        rows = [
            {"prompt": [{"role": "user", "content": str(number)}], "number": number} for number in range(len(source))
        ]
        super().__init__(
            model=model,
            reward_funcs=[_trl_reward(reward.name, reward.scorer()) for reward in recipe.rewards],
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=Looks(self.looks, start),
            peft_config=_lora(recipe),
        )
        if not self.use_vllm and (self._dist.is_fsdp or self._dist.is_zero3):
            raise UsageError(
                "a process cannot sample from its share of the weights: trl.use_vllm=true, or neither FSDP nor ZeRO-3"
            )
        self.tools = [self._generate]  # any tool will do: only then does TRL expect pictures within completions

    def rolled(self, samples: Sequence[Sample], budgets: Sequence[int], sampling: Sequence[Sampling]) -> list[Rollout]:
        """One rollout of the policy as it now is for each sample, all at once, by the code of `ask`."""
        training = self.model.training
        backend = self._sampler(len(samples))
        model = Model(backend, self.family, self.looks.patch, "policy")
        pictures: dict[str, Picture] = {}
        for sample in samples:
            if sample.id not in pictures:
                pictures[sample.id] = load_image(sample.image)
        config = [model.look_config(budget, one) for budget, one in zip(budgets, sampling, strict=True)]
        jobs = [
            (number, partial(_look_twice, pictures[sample.id], sample, how))
            for number, (sample, how) in enumerate(zip(samples, config, strict=True))
        ]
        rollouts: list[Rollout | None] = [None] * len(samples)
        with self.accelerator.autocast():
            for trace in run(jobs, backend, concurrency=len(jobs)):
                assert isinstance(trace.tag, int)
                sample = samples[trace.tag]
                rollouts[trace.tag] = Rollout(sample, pictures[sample.id], trace)
        self.model.train(training)
        return [one for one in rollouts if one is not None]

    def push_weights(self) -> None:
        """To the vLLM that TRL drives, once a step. Where weights are sharded every process must take part, also if only one samples."""
        if self.use_vllm and self.state.global_step != self._last_loaded_step:
            self.vllm_generation.sync_weights()
            self._last_loaded_step: int = self.state.global_step

    def _sampler(self, batch: int) -> Backend:
        """The policy as it now is, in this process or in vLLM."""
        if self.use_vllm:
            self.push_weights()
            return vllm.VllmBackend(self.vllm_generation, self.looks)
        model = self.accelerator.unwrap_model(self.model)
        policy = model.get_base_model() if hasattr(model, "get_base_model") else model
        return TransformersBackend(policy, self.looks, self.family, batch=batch)

    def _generate(self, prompts: list[list[dict[str, Any]]]) -> tuple[Any, ...]:
        """In place of TRL's: prompts name samples by number, and the rows go back as it wants them."""
        began = time.perf_counter()
        samples = [self.source[int(prompt[0]["content"])] for prompt in _once(prompts)]
        by_prompt = dict(zip([prompt[0]["content"] for prompt in _once(prompts)], samples, strict=True))
        asked = [by_prompt[prompt[0]["content"]] for prompt in prompts]
        budgets = [self._budget(int(prompt[0]["content"])) for prompt in prompts]
        rollouts = self.rolled(asked, budgets, [self._sampling(place, len(asked)) for place in range(len(asked))])
        rolled = time.perf_counter()
        evidence = gather(rollouts, self.verifier, allowed_tokens=2 * max(budgets))
        verified = time.perf_counter()
        self._note(rollouts, evidence, rolled - began, verified - rolled)
        episodes = [episode_of(self.looks, one.trace) for one in rollouts]
        return (
            [list(one.prompt) for one in episodes],
            [list(one.completion) for one in episodes],
            [list(one.sampled) for one in episodes],
            [[{"role": "assistant", "content": " ".join(turn.text for turn in one.trace.turns)}] for one in rollouts],
            [list(one.logprobs) for one in episodes],
            {"evidence": evidence},
            [list(one.views) for one in episodes],
            [list(one.views[1:]) for one in episodes],
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch; where a reward names its turn, with advantages token by token in place of one a rollout."""
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if all(reward.turn is None for reward in self.recipe.rewards):
            return batch
        turns = turns_of(batch["tool_mask"] * batch["completion_mask"])
        scores = torch.tensor(
            [list(self._logs["rewards"][name]) for name in self.reward_func_names], device=turns.device
        ).T
        paid = turn_rewards(scores, self.recipe.rewards)  # of every process, as groups may be spread over several
        advantages = group_advantages(paid, self.num_generations, self.scale_rewards)
        own = self.accelerator.process_index * len(inputs)
        tokens = torch.stack([(turns == turn).sum() for turn in TURNS])
        batch["advantages"] = spread(advantages[own : own + len(inputs)], turns, self.accelerator.reduce(tokens))
        return batch

    def _budget(self, number: int) -> int:
        budgets = self.recipe.budgets or (self.recipe.budget,)
        return budgets[number % len(budgets)]

    def _sampling(self, place: int, places: int) -> Sampling:
        """A seed for each rollout of each step: a resumed run samples what the undisturbed one would have.

        Every process has its own `places`: a group may be spread over several.
        """
        seed = _seed(self.recipe.seed, self.state.global_step, self.accelerator.process_index * places + place)
        return Sampling(self.recipe.max_completion_length, self.recipe.temperature, seed=seed)

    def _note(self, rollouts: Sequence[Rollout], evidence: Sequence[Evidence], rollout: float, verifier: float) -> None:
        """What TRL does not log by itself, into its metrics."""
        answers = [one.trace.answer for one in rollouts]
        areas = np.quantile([one.area for one in evidence], (0.1, 0.5, 0.9))
        covered = [one.region.coverage_of(one.truth) if one.region else 0.0 for one in evidence if one.truth]
        noted = {
            "region/area": float(np.mean([one.area for one in evidence])),
            **{f"region/area_{name}": float(area) for name, area in zip(("p10", "p50", "p90"), areas, strict=True)},
            "region/unreadable": float(np.mean([answer is None or answer.region is None for answer in answers])),
            "verifier/failed": float(np.mean([one.verified is None for one in evidence])),
            "tokens/vision": float(np.mean([one.vision_tokens for one in evidence])),
            "tokens/generated": float(np.mean([one.trace.generated_tokens for one in rollouts])),
            "seconds/rollout": rollout,
            "seconds/verifier": verifier,
            "region/coverage": float(np.mean(covered)) if covered else math.nan,
        }
        means = self.accelerator.gather(torch.tensor([list(noted.values())], device=self.accelerator.device)).nanmean(0)
        for name, value in zip(noted, means.tolist(), strict=True):
            if not math.isnan(value):
                self._metrics["train"][name].append(value)
        due = self.recipe.show_every and self.state.global_step % self.recipe.show_every == 0
        if due and self.accelerator.is_main_process:
            self._show(rollouts)

    def _show(self, rollouts: Sequence[Rollout]) -> None:
        folder = self.out / "rollouts"
        folder.mkdir(exist_ok=True)
        for number, one in enumerate(rollouts[:: max(1, len(rollouts) // SHOWN)][:SHOWN]):
            question = Question(one.sample.question, one.sample.choices)
            drawn = picture_of(one.trace, one.picture, question)
            drawn.save(folder / f"step-{self.state.global_step:05}-{number}.png")


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _once(prompts: Sequence[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """Each prompt of the batch once: it stands there once for every rollout of its group."""
    return list({prompt[0]["content"]: prompt for prompt in prompts}.values())


def _look_twice(picture: Picture, sample: Sample, config: LookConfig) -> Flow:
    return coarse_to_fine(picture, Question(sample.question, sample.choices), config)


def _trl_reward(name: str, score: Callable[[Evidence], float | None]) -> Callable[..., list[float | None]]:
    def rewarded(evidence: Sequence[Evidence], **_: Any) -> list[float | None]:
        return [score(one) for one in evidence]

    rewarded.__name__ = name
    return rewarded


def _config(recipe: GrpoRecipe, out: Path) -> GRPOConfig:
    """TRL's arguments: the recipe's, and what must be so."""
    on_gpu = torch.cuda.is_available()
    stated = {"report_to": "tensorboard", "logging_steps": 1, "save_total_limit": 2, "bf16": on_gpu} | dict(recipe.trl)
    return GRPOConfig(
        output_dir=str(out),
        seed=recipe.seed,
        temperature=recipe.temperature,
        max_completion_length=4 * recipe.budget + 2 * recipe.max_completion_length,
        reward_weights=[reward.weight for reward in recipe.rewards],
        use_cpu=not on_gpu,
        log_multimodal=False,
        **stated,
    )


def dtype_of_weights(recipe: GrpoRecipe, start: str) -> torch.dtype:
    """float32, for steps as small as these are lost in fewer digits; bfloat16 where a GPU holds it still under adapters.

    `trl.bf16`, the default on a GPU, is about arithmetic, and has nothing to do with it.
    """
    still = recipe.lora is not None and torch.cuda.is_available()
    return torch.bfloat16 if still and AutoConfig.from_pretrained(start).dtype == torch.bfloat16 else torch.float32


def _lora(recipe: GrpoRecipe) -> Any:
    if recipe.lora is None:
        return None
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **recipe.lora)


class Looks(ProcessorMixin):  # type: ignore[misc]
    """Our Processor where TRL and the checkpoints want one of transformers': it prepares views, and saves its files."""

    def __init__(self, processor: Processor, start: str) -> None:
        self.tokenizer = processor.tokenizer
        self.image_token_id = processor.image_id
        self.chat_template = processor.tokenizer.chat_template
        self.image_processor = _Views(processor)
        self._start = start

    def save_pretrained(self, folder: str, **_: Any) -> None:
        self.tokenizer.save_pretrained(folder)
        AutoImageProcessor.from_pretrained(self._start).save_pretrained(folder)


class _Views:
    """Views -> pixel_values and image_grid_thw, under the name by which TRL calls for them."""

    def __init__(self, processor: Processor) -> None:
        self._processor = processor
        self.merge_size = processor.merge

    def __call__(self, images: Sequence[View], return_tensors: str) -> dict[str, torch.Tensor]:
        values, grids = self._processor.pixels(images)
        return {"pixel_values": values, "image_grid_thw": grids}


class Watch(TrainerCallback):  # type: ignore[misc]
    """Measures the policy now and then, keeps log.jsonl, and stops a run that cannot get better."""

    def __init__(self, recipe: GrpoRecipe, trainer: LooksTrainer, out: Path) -> None:
        self.recipe = recipe
        self.trainer = trainer
        self.out = out
        self.whole = self.mute = 0
        self._validation: list[Sample] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 0:
            self._measure(0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        every = self.recipe.validate_every
        if every and (state.global_step % every == 0 or state.global_step == state.max_steps):
            self._measure(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        self._write({"step": state.global_step} | {name: _short(value) for name, value in logs.items()})
        if any(isinstance(logs.get(name), float) and math.isnan(logs[name]) for name in ("loss", "grad_norm")):
            raise TrainingStopped(
                "the loss is not a number: lower trl.learning_rate, or start from an earlier checkpoint"
            )
        if "region/area" in logs:
            self.whole = self.whole + 1 if logs["region/area"] > WHOLE else 0
            self.mute = self.mute + 1 if logs.get("frac_reward_zero_std", 0.0) >= 1.0 else 0
        if self.whole >= self.recipe.patience:
            raise TrainingStopped(
                f"for {self.whole} steps the region was the whole picture: give the reward `box` more weight (paper eq. 2)"
            )
        if self.mute >= self.recipe.patience:
            raise TrainingStopped(
                f"for {self.mute} steps every rollout of every group scored alike, so nothing is learnt: raise the "
                "temperature or trl.num_generations, or take easier or harder samples"
            )

    def _measure(self, step: int) -> None:
        if not self.recipe.validate_every:
            return
        self.trainer.push_weights()
        if not self.trainer.accelerator.is_main_process:
            return
        if not self._validation:
            source = source_of(self.recipe.validation, self.recipe.validation_samples)
            self._validation = [source[number] for number in range(min(len(source), self.recipe.validation_samples))]
        sampling = Sampling(self.recipe.max_completion_length)
        rollouts: list[Rollout] = []
        for start in range(0, len(self._validation), 50):
            part = self._validation[start : start + 50]
            rollouts += self.trainer.rolled(part, [self.recipe.budget] * len(part), [sampling] * len(part))
        self._write({"step": step} | {f"validation/{name}": value for name, value in _scores(rollouts).items()})

    def _write(self, row: dict[str, Any]) -> None:
        if not self.trainer.accelerator.is_main_process:
            return
        with (self.out / "log.jsonl").open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        log.info("%s", row)


def _scores(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Accuracy over all, coverage of and area around the true regions, per category and in all."""
    regions = [(one, one.trace.answer.region if one.trace.answer else None) for one in rollouts]
    covered = [box.coverage_of(one.sample.region) if box else 0.0 for one, box in regions if one.sample.region]
    right: dict[str, list[bool]] = {}
    for one in rollouts:
        right.setdefault(one.sample.category, []).append(answered_right(one.sample, one.trace))
    return {
        "accuracy": _short(np.mean([one for group in right.values() for one in group])),
        **{f"accuracy_{name}": _short(np.mean(group)) for name, group in sorted(right.items()) if name},
        "coverage": _short(np.mean(covered)) if covered else math.nan,
        "area": _short(np.mean([box.area / one.picture.size.area if box else 1.0 for one, box in regions])),
    }


def _short(value: Any) -> Any:
    return round(float(value), 5) if isinstance(value, float) else value
