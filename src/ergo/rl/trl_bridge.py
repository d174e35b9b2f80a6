"""TRL's GRPOTrainer, fed by our step: the one file that knows TRL's private parts, and so the one that pins it.

Stock TRL can bring a crop into a rollout through its tool interface. We do not use it: it prepares
prompts and pictures by code of its own, drops all pictures of a batch silently where counts
disagree, and computes the first look again for the second (docs/log.md has the figures). Here the
rollouts are the flows of `core/flows.py` on the policy itself, through the backend that `ask` uses, with its cache,
or through the vLLM that TRL drives; what was sampled goes to the trainer as ids. Groups, advantages, losses,
KL, LoRA, accelerate, checkpoints and logs are TRL's.

What is reached into, checked against TRL 1.16 (tests/rl/test_grpo.py holds what comes of it):

    _generate                         replaced: rows of ids and views come from our step
    _generate_and_score_completions   extended: advantages by turn, where the recipe wants them
    _prepare_inputs, _buffered_inputs replaced: parts of whole groups, without rollouts that have no advantage
    _compute_loss                     extended: which rows it is about, and a mean over all of them
    _get_per_token_logps_and_entropies  replaced: update.py
    _metrics                          our measurements, logged with TRL's own
    _dist, _last_loaded_step          whether weights are sharded; when vLLM last got them
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, ProcessorMixin
from trl import GRPOConfig, GRPOTrainer

from ergo.backends import Model
from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.bridge import is_recurrent
from ergo.backends.transformers.loading import family_of
from ergo.backends.transformers.processor import Processor
from ergo.core.errors import TrainingStopped, UsageError
from ergo.core.runner import Backend
from ergo.rl import vllm_rollouts as vllm
from ergo.rl.advantages import TURNS, group_advantages, left_out, spread, turn_rewards, turns_of
from ergo.rl.evidence import Failure
from ergo.rl.page import save_examples
from ergo.rl.recipe import GrpoRecipe
from ergo.rl.report import Timed, measurements
from ergo.rl.step import GrpoStep
from ergo.rl.update import sampled_of, token_scores

log = logging.getLogger(__name__)

TRL = "1.16"
AT_ONCE_ON_CPU = 32  # rollouts: beyond, the padding of unequal close views costs more than a larger batch saves


def check_trl() -> None:
    """UsageError where another TRL is installed than the one whose private parts are used here."""
    installed = version("trl")
    if not f"{installed}.".startswith(f"{TRL}."):
        raise UsageError(f"ergo trains with trl {TRL}, not {installed}: pip install 'trl=={TRL}.*'")


class TrlTrainer(GRPOTrainer):  # type: ignore[misc]
    """GRPOTrainer whose rollouts and rewards are those of a GrpoStep.

    start: checkpoint of the policy. out: folder of the run. failures: of the last step, by kind, for whoever stops the run.
    at_once: most rollouts that are sampled together, once more did not fit into memory. pieces: in which a part of a step
    is computed, for the same reason; piece: the one that is. generated_at: the call for which the batch was sampled.
    """

    def __init__(self, step: GrpoStep, start: str, out: Path) -> None:
        check_trl()
        self.step = step
        self.out = out
        self.failures: Counter[str] = Counter()
        self.pieces = 1
        self.piece: dict[str, Any] | None = None
        self.generated_at = -1
        self.at_once = sys.maxsize if torch.cuda.is_available() else AT_ONCE_ON_CPU
        recipe = step.recipe
        config = trl_config(recipe, out)
        if config.use_vllm:
            vllm.check(config.vllm_mode, config.world_size, config.vllm_tensor_parallel_size)
        model = AutoModelForImageTextToText.from_pretrained(
            start, dtype=dtype_of_weights(recipe, start, torch.cuda.is_available())
        )
        self.family = family_of(model.config)
        for name, weight in model.named_parameters():
            weight.requires_grad_(not any(part in name for part in recipe.frozen))
        rows = [
            {"prompt": [{"role": "user", "content": str(number)}], "number": number}
            for number in range(len(step.source))
        ]
        super().__init__(
            model=model,
            reward_funcs=[_column(place, reward.name) for place, reward in enumerate(recipe.rewards)],
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=TrlProcessor(step.processor, start),
            peft_config=None if recipe.lora is None else lora_config(recipe.lora),
        )
        if not self.use_vllm and (self._dist.is_fsdp or self._dist.is_zero3):
            raise UsageError(
                "a process cannot sample from its share of the weights: trl.use_vllm=true, or neither FSDP nor ZeRO-3"
            )
        alone = self.accelerator.distributed_type == DistributedType.NO
        self.shares_prompts = alone and not config.gradient_checkpointing and not is_recurrent(model)

    @contextmanager
    def policy(self, batch: int) -> Iterator[Model]:
        """The policy as it now is, in this process or in vLLM, ready for `batch` requests at once."""
        training = self.model.training
        processor = self.step.processor
        backend: Backend
        if self.use_vllm:
            self.push_weights()
            backend = vllm.VllmBackend(self.vllm_generation, processor)
        else:
            model = self.accelerator.unwrap_model(self.model)
            policy = model.get_base_model() if hasattr(model, "get_base_model") else model
            backend = TransformersBackend(policy, processor, self.family, batch=min(max(1, batch), self.at_once))
        with self.accelerator.autocast():
            yield Model(backend, self.family, processor.patch, "policy")
        self.model.train(training)
        if isinstance(backend, TransformersBackend) and backend.batch < batch:
            self.at_once = backend.batch

    def push_weights(self) -> None:
        """To the vLLM that TRL drives, once a step. Where weights are sharded every process must take part, also if only one samples."""
        if self.use_vllm and self.state.global_step != self._last_loaded_step:
            self.vllm_generation.sync_weights()
            self._last_loaded_step: int = self.state.global_step

    def _generate(self, prompts: list[list[dict[str, Any]]]) -> tuple[Any, ...]:
        """In place of TRL's: prompts name questions by number, and the rows go back as it wants them.

        A group may be spread over several processes, so whether a rollout is left out is decided over all of them.
        """
        numbers = [int(prompt[0]["content"]) for prompt in prompts]
        first = self.accelerator.process_index * len(numbers)
        own = slice(first, first + len(numbers))
        timed = Timed()
        with timed("rollout"), self.policy(len(numbers)) as policy:
            rollouts = self.step.rollouts(policy, numbers, self.state.global_step, first)
        with timed("verifier"):
            evidence = self.step.evidence(rollouts)
        scores = self.accelerator.gather(self.step.rewards(evidence).to(self.accelerator.device))
        out = left_out(scores, self.num_generations)
        scores[out] = (
            torch.nan
        )  # TRL keeps rows without any score out of their group's mean, and gives them no advantage
        self.scores = scores
        self._record(measurements(rollouts, evidence, out[own].tolist()) | timed.seconds)
        self._name_failures(evidence, rollouts)
        due = self.step.recipe.show_every and self.state.global_step % self.step.recipe.show_every == 0
        if due and self.accelerator.is_main_process:
            save_examples(self.out / "rollouts", self.state.global_step, rollouts, evidence, scores[own].tolist())
        self.episodes = self.step.episodes(rollouts)
        learnt = [
            [0] * len(one.sampled) if skipped else list(one.sampled)
            for one, skipped in zip(self.episodes, out[own].tolist(), strict=True)
        ]
        return (
            [list(one.prompt) for one in self.episodes],
            [list(one.completion) for one in self.episodes],
            learnt,
            [[{"role": "assistant", "content": " ".join(turn.text for turn in one.trace.turns)}] for one in rollouts],
            [list(one.logprobs) for one in self.episodes],
            {"scores": scores[own].tolist()},
            None,  # no pictures for TRL to prepare: the update takes them from the episodes
            [],
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch; where a reward names its turn, with advantages token by token in place of one a rollout."""
        self.rows = list(range(len(inputs)))
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        rewards = self.step.recipe.rewards
        if all(reward.turn is None for reward in rewards):
            return batch
        turns = turns_of(batch["tool_mask"] * batch["completion_mask"])
        by_turn = turn_rewards(self.scores.to(turns.device), rewards)
        advantages = group_advantages(by_turn, self.num_generations, self.scale_rewards)
        own = self.accelerator.process_index * len(inputs)
        tokens = torch.stack([(turns == turn).sum() for turn in TURNS])
        batch["advantages"] = spread(advantages[own : own + len(inputs)], turns, self.accelerator.reduce(tokens))
        return batch

    def _prepare_inputs(self, inputs: Any) -> dict[str, Any]:
        """The next part of a generated batch. In TRL's place: groups stay together, for they share their prompt, and
        rollouts whose gradient is zero are not computed."""
        if self.piece is not None:
            return self.piece
        due = self._step % (self.args.steps_per_generation * self.num_iterations) == 0
        if self._buffered_inputs is None or (due and self.generated_at != self._step):
            self.generated_at = self._step
            batch = self._generate_and_score_completions(inputs)
            self._buffered_inputs: list[dict[str, Any]] | None = [
                {"rows": rows, **{name: _of_rows(value, rows) for name, value in batch.items()}}
                for rows in self._parts(batch)
            ]
        part: dict[str, Any] = self._buffered_inputs[self._step % self.args.steps_per_generation]
        return part

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """TRL's; once a part of a step did not fit into GPU memory, in pieces, which gives the same gradients."""
        parts = range(self._step, self._step + 1)
        while True:
            try:
                if self.pieces == 1:
                    loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
                    return loss
                return self._in_pieces(model, inputs, num_items_in_batch, parts)
            except torch.cuda.OutOfMemoryError as error:
                reason = str(error)  # the error itself holds the tensors of the attempt
            finally:
                self.piece = None
            most = self.args.per_device_train_batch_size
            if (
                self.accelerator.distributed_type != DistributedType.NO
                or self.pieces >= most
                or self.loss_type == "bnpo"
            ):
                raise TrainingStopped(
                    f"the update does not fit into GPU memory ({reason}): halve trl.per_device_train_batch_size and "
                    "double trl.gradient_accumulation_steps, or lower the budget"
                )
            self.pieces = min(2 * self.pieces, most)
            log.warning("the update does not fit into GPU memory: from now on in %d pieces", self.pieces)
            torch.cuda.empty_cache()
            # what the attempt has left of gradients cannot be told from those of the parts before it
            model.zero_grad()
            parts = range(self._step - self._step % self.current_gradient_accumulation_steps, self._step + 1)

    def _in_pieces(self, model: Any, inputs: Any, num_items_in_batch: Any, parts: range) -> torch.Tensor:
        """Gradients of these parts of the batch; the loss of the last."""
        began = time.perf_counter()
        self._prepare_inputs(inputs)
        assert self._buffered_inputs is not None
        loss = torch.zeros((), device=self.accelerator.device)
        for part in parts:
            whole = self._buffered_inputs[part % self.args.steps_per_generation]
            count = len(whole["rows"])
            cuts = [count * piece // self.pieces for piece in range(self.pieces + 1)]
            losses = []
            for start, end in pairwise(sorted(set(cuts))):
                places = list(range(start, end))
                rows = [whole["rows"][place] for place in places]
                self.piece = {name: _of_rows(value, places) for name, value in whole.items()} | {"rows": rows}
                losses.append(super(GRPOTrainer, self).training_step(model, inputs, num_items_in_batch))
            loss = torch.stack(losses).sum()
        self._step += 1
        self._metrics["train"]["step_time"].append(time.perf_counter() - began)
        return loss

    def _parts(self, batch: Mapping[str, Any]) -> list[list[int]]:
        """Rows of each part. Every process computes as many as every other, and none of them nothing."""
        count, size = self.args.steps_per_generation, self.args.per_device_train_batch_size
        everything = list(range(count * size))
        if not self.skips_zero_advantage:
            return [everything[start : start + size] for start in range(0, count * size, size)]
        advantages = batch["advantages"].reshape(count * size, -1)
        learnt = (batch["tool_mask"] * batch["completion_mask"]).any(1) & (advantages != 0).any(1)
        most = int(self.accelerator.gather(learnt.sum()[None]).max())
        kept = sorted(everything, key=lambda row: (not learnt[row], row))[: max(most, count)]
        return [sorted(kept)[len(kept) * part // count : len(kept) * (part + 1) // count] for part in range(count)]

    @property
    def skips_zero_advantage(self) -> bool:
        """Whether a rollout without advantage adds nothing to the loss: no divergence, no entropy, no mean over the rest."""
        return (
            self.beta == 0
            and not self._entropy_bonus_enabled
            and not self.aux_loss_enabled
            and self.loss_type != "bnpo"
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss of the rows that are computed; as a mean over all of them where TRL takes the mean over rows."""
        self.rows = inputs["rows"]
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        if self.loss_type in ("cispo", "dapo", "vespo"):  # over the tokens of the whole batch, whichever are computed
            return loss
        share = len(self.rows) / int(self.args.per_device_train_batch_size)
        return loss * share

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int,
        batch_size: int | None = None, **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:  # fmt: skip
        """Of the sampled tokens, from the episodes (update.py); 0 elsewhere, where TRL masks them."""
        chosen = [self.episodes[row] for row in self.rows]
        size = batch_size or max(1, len(chosen))
        bare = self.accelerator.unwrap_model(model)
        bare = bare.get_base_model() if hasattr(bare, "get_base_model") else bare
        found = []
        with self.accelerator.autocast():
            for start in range(0, len(chosen), size):
                part = chosen[start : start + size]
                found.append(
                    token_scores(model, bare, self.step.processor, part, self.temperature, self.shares_prompts)
                )
        sampled = sampled_of(chosen, logits_to_keep).to(input_ids.device)
        logprobs, entropies = (
            torch.zeros(sampled.shape, device=input_ids.device).masked_scatter(sampled, torch.cat(parts))
            for parts in zip(*found, strict=True)
        )
        return logprobs, entropies, None

    def _record(self, measured: dict[str, float]) -> None:
        """Means over the processes, into TRL's metrics; nan where nothing was measured."""
        values = torch.tensor([list(measured.values())], device=self.accelerator.device)
        means = self.accelerator.gather(values).nanmean(0).tolist()
        for name, mean in zip(measured, means, strict=True):
            if mean == mean:
                self._metrics["train"][name].append(mean)

    def _name_failures(self, evidence: Sequence[Any], rollouts: Sequence[Any]) -> None:
        failed = [(one, rollout) for one, rollout in zip(evidence, rollouts, strict=True) if isinstance(one, Failure)]
        self.failures = Counter(one.kind for one, _ in failed)
        for kind, count in self.failures.items():
            one, rollout = next(pair for pair in failed if pair[0].kind == kind)
            log.warning("%d of %d rollouts left out: %s, first of them sample %s: %s",
                        count, len(rollouts), kind, rollout.sample.id, one.error)  # fmt: skip


def _of_rows(value: Any, rows: list[int]) -> Any:
    """The part of a batch's tensor that belongs to these rows; what is about the whole batch (a number) stays."""
    return value[rows] if isinstance(value, torch.Tensor) and value.dim() else value


def _column(place: int, name: str) -> Any:
    """A reward function for TRL: the scores are there already; it logs them under this name."""

    def rewards(scores: Sequence[Sequence[float]], **_: Any) -> list[float | None]:
        return [row[place] if row[place] == row[place] else None for row in scores]

    rewards.__name__ = name
    return rewards


def trl_config(recipe: GrpoRecipe, out: Path | str) -> GRPOConfig:
    """TRL's arguments: the recipe's, and what must be so; UsageError where they do not go together."""
    on_gpu = torch.cuda.is_available()
    stated = {"report_to": "tensorboard", "logging_steps": 1, "save_total_limit": 2, "bf16": on_gpu} | dict(recipe.trl)
    try:
        return GRPOConfig(
            output_dir=str(out),
            seed=recipe.seed,
            temperature=recipe.temperature,
            max_completion_length=max(2, recipe.looks) * (2 * recipe.budget + recipe.max_completion_length),
            reward_weights=[reward.weight for reward in recipe.rewards],
            use_cpu=not on_gpu,
            log_multimodal=False,
            **stated,
        )
    except ValueError as error:  # arguments that do not go together, as a batch that is no whole number of groups
        raise UsageError(f"the recipe does not fit: trl: {error}") from error


def dtype_of_weights(recipe: GrpoRecipe, start: str, on_gpu: bool) -> torch.dtype:
    """float32, for steps as small as these are lost in fewer digits; bfloat16 where a GPU holds it still under adapters.

    `trl.bf16`, the default on a GPU, is about arithmetic, and has nothing to do with it.
    """
    still = recipe.lora is not None and on_gpu
    return torch.bfloat16 if still and AutoConfig.from_pretrained(start).dtype == torch.bfloat16 else torch.float32


def lora_config(arguments: Mapping[str, Any]) -> Any:
    """PEFT's arguments: the recipe's, and what must be so."""
    from peft import LoraConfig

    return LoraConfig(task_type="CAUSAL_LM", **arguments)


class TrlProcessor(ProcessorMixin):  # type: ignore[misc]
    """Our Processor where TRL and the checkpoints want one of transformers': TRL needs its tokenizer and its files; pictures it is not shown."""

    def __init__(self, processor: Processor, start: str) -> None:
        self.tokenizer = processor.tokenizer
        self.image_token_id = processor.image_id
        self.chat_template = processor.tokenizer.chat_template
        self._start = start

    def save_pretrained(self, folder: str, **_: Any) -> None:
        self.tokenizer.save_pretrained(folder)
        AutoImageProcessor.from_pretrained(self._start).save_pretrained(folder)
