"""Any Qwen2.5-VL or Qwen3-VL checkpoint in this process, batched, its cache kept between the looks.

The second look's prompt begins with the whole first exchange, its pictures included. Keys and values
of that part are kept per conversation and put back, so only the close view and the new text are
computed. What makes this exact (and what looks natural but is silently wrong) is in
docs/how-it-works.md: positions are computed here for the whole conversation and always passed, so
nothing depends on the position state that transformers keeps on the model between calls.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, DynamicCache

# not from the top: before transformers 5.11 that name wants torchvision, the class itself does not
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.utils import cached_file

from ergo.backends.transformers.constrain import RegionForcer
from ergo.backends.transformers.processor import Normalisation, Prepared, Processor, rope_positions
from ergo.core.errors import BackendError, MissingExtra, UsageError
from ergo.core.messages import Completion, Request, Sampling, Seconds, Usage
from ergo.families import FAMILIES, QWEN2_5_VL, QWEN3_VL
from ergo.families.base import ModelFamily

CHECKPOINT_TYPES: dict[str, ModelFamily] = {"qwen2_vl": QWEN2_5_VL, "qwen2_5_vl": QWEN2_5_VL, "qwen3_vl": QWEN3_VL}

KeyValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Per layer, keys and values [heads, length, head_dim] of one conversation, without padding."""


@dataclass(frozen=True)
class Past:
    """What one conversation left behind. ids: everything so far, the last sampled token included.

    The cache holds the first `len(ids) - 1` of them: a token's keys are made when it is fed.
    """

    ids: tuple[int, ...]
    prepared: Prepared
    cache: KeyValues

    @property
    def length(self) -> int:
        return int(self.cache[0][0].shape[1])


@dataclass
class _Row:
    """One request being answered. fresh: ids not in the cache yet. ids and logprobs: as sampled."""

    request: Request
    prepared: Prepared
    past: Past | None
    ids: list[int]
    logprobs: list[float]
    forcer: RegionForcer | None = None
    generator: torch.Generator | None = None
    stopped: bool = False

    @property
    def cached(self) -> int:
        return self.past.length if self.past else 0


class TransformersBackend:
    """A model in this process.

    batch: most requests computed together. reuse: keep keys and values for the second look.
    force_region: replies that should name a region are held to a well-formed <zoom>[...]</zoom>.
    Generation settings are those of the request alone: a checkpoint's own repetition penalty or
    temperature is not applied.
    """

    parallel = False

    def __init__(
        self,
        model: Any,
        processor: Processor,
        family: ModelFamily,
        batch: int = 8,
        reuse: bool = True,
        force_region: bool = False,
    ) -> None:
        self.model = model.eval()
        self.processor = processor
        self.family = family
        self.batch = batch
        self.reuse = reuse
        self.force_region = force_region
        self._ends = _end_ids(model, processor)

    @classmethod
    def open(
        cls,
        name: str,
        adapter: str | None = None,
        device: str | None = None,
        dtype: str = "auto",
        batch: int = 8,
        reuse: bool = True,
        force_region: bool = False,
    ) -> TransformersBackend:
        """Load a checkpoint by Hub name or folder. adapter: a LoRA adapter's name or folder.

        device: cuda if there is one. dtype: as stored on a GPU, float32 on a CPU.
        """
        _check_folder(name)
        adapter, name = _adapter_of(name, adapter)
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in CHECKPOINT_TYPES:
            known = ", ".join(CHECKPOINT_TYPES)
            raise UsageError(f"{name} is a {config.model_type}; ergo speaks {known}: add its dialect (docs/models.md)")
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        precision: Any = (torch.float32 if device == "cpu" else "auto") if dtype == "auto" else getattr(torch, dtype)
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=precision).to(device)
        if adapter:
            model = _with_adapter(model, adapter)
        return cls(model, load_processor(name), family_of(config), batch, reuse, force_region)

    # ── answering ──────────────────────────────────────────────────────────────────────────────
    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """Requests that continue a conversation are batched apart from those that begin one."""
        results: list[Completion | BackendError | None] = [None] * len(requests)
        groups: dict[tuple[bool, Sampling], list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            continues = self.reuse and request.previous is not None and isinstance(request.previous.state, Past)
            groups[continues, replace(request.sampling, seed=None)].append(place)
        for places in groups.values():
            for start in range(0, len(places), self.batch):
                chosen = places[start : start + self.batch]
                for place, result in zip(chosen, self._answer([requests[p] for p in chosen]), strict=True):
                    results[place] = result
        return [result for result in results if result is not None]

    def _answer(self, requests: list[Request]) -> list[Completion | BackendError]:
        try:
            with torch.inference_mode():
                return list(self._generate(requests))
        except torch.cuda.OutOfMemoryError as error:
            message = f"out of GPU memory with {len(requests)} requests at once ({error}); lower batch or the budget"
            return [BackendError(message, "out_of_memory") for _ in requests]

    def _generate(self, requests: list[Request]) -> list[Completion]:
        started = time.perf_counter()
        rows = [self._row(request) for request in requests]
        new_views = [view for row in rows for view in row.prepared.views[self._seen(row) :]]
        pixels = self.processor.pixels(new_views) if new_views else None
        image_done = time.perf_counter()
        features = self._see(pixels) if pixels else None
        vision_done = self._now()
        cache, mask, logits, positions = self._prefill(rows, features)
        prefill_done = self._now()
        mask = self._decode(rows, cache, mask, logits, positions)
        ended = self._now()
        seconds = Seconds(
            (ended - started) / len(rows),
            (image_done - started) / len(rows),
            (vision_done - image_done) / len(rows),
            (prefill_done - vision_done) / len(rows),
            (ended - prefill_done) / len(rows),
        )
        return [self._completion(row, seconds, cache, mask, number) for number, row in enumerate(rows)]

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _row(self, request: Request) -> _Row:
        past = request.previous.state if request.previous and self.reuse else None
        if isinstance(past, Past):
            prepared = self.processor.continued(past.ids, past.prepared.views, request.chat)
        else:
            past = None
            prepared = self.processor.whole(request)
        forced = self.force_region and request.expect == "region"
        return _Row(
            request, prepared, past, [], [], self._forcer if forced else None, self._generator(request.sampling)
        )

    @cached_property
    def _forcer(self) -> RegionForcer:
        return RegionForcer(self.processor.tokenizer)

    def _generator(self, sampling: Sampling) -> torch.Generator | None:
        """Each row has its own, so that a seed gives the same reply whatever else is in the batch."""
        if sampling.temperature <= 0:
            return None
        generator = torch.Generator(self.model.device)
        generator.manual_seed(sampling.seed) if sampling.seed is not None else generator.seed()
        return generator

    def _seen(self, row: _Row) -> int:
        return len(row.past.prepared.views) if row.past else 0

    def _see(self, pixels: tuple[torch.Tensor, torch.Tensor]) -> Any:
        values, grids = (tensor.to(self.model.device) for tensor in pixels)
        return self.model.model.get_image_features(values.to(self.model.dtype), grids, return_dict=True)

    def _prefill(
        self, rows: list[_Row], features: Any
    ) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Feed everything not yet in the cache.

        Returns the cache, its mask [rows, length], the last logits [rows, vocabulary] and each row's
        next position [rows].
        """
        device = self.model.device
        old = max(row.cached for row in rows)
        new = max(len(row.prepared.ids) - row.cached for row in rows)
        ids = torch.full((len(rows), new), self.processor.tokenizer.pad_token_id or 0)
        mask = torch.zeros((len(rows), old + new), dtype=torch.long)
        positions = torch.zeros((3, len(rows), new), dtype=torch.long)
        following = torch.zeros(len(rows), dtype=torch.long)
        for number, row in enumerate(rows):
            fresh = row.prepared.ids[row.cached :]
            places = torch.from_numpy(rope_positions(row.prepared.ids, row.prepared.views, self.processor.image_id))
            ids[number, new - len(fresh) :] = torch.tensor(fresh)
            positions[:, number, new - len(fresh) :] = places[:, row.cached :]
            mask[number, old - row.cached : old] = 1
            mask[number, old + new - len(fresh) :] = 1
            following[number] = places.max() + 1
        cache = _joined([row.past.cache if row.past else None for row in rows], old, self.model)
        mask = mask.to(device)
        ids = ids.to(device)
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions.to(device),
            past_key_values=cache,
            mm_encoder_outputs={"image": features} if features is not None else None,
            use_cache=True,
            logits_to_keep=1,
        )
        return cache, mask, out.logits[:, -1], following.to(device)

    def _decode(
        self, rows: list[_Row], cache: DynamicCache, mask: torch.Tensor, logits: torch.Tensor, following: torch.Tensor
    ) -> torch.Tensor:
        """Sample until every row has ended; returns the cache's mask. Ended rows feed masked padding."""
        sampling = rows[0].request.sampling
        for step in range(sampling.max_tokens):
            chosen = self._choose(rows, logits, sampling)
            if all(row.stopped for row in rows) or step == sampling.max_tokens - 1:
                break
            going = torch.tensor([not row.stopped for row in rows], device=mask.device)
            mask = torch.cat([mask, going[:, None].long()], 1)
            out = self.model(
                input_ids=chosen[:, None],
                attention_mask=mask,
                position_ids=following.expand(3, -1)[..., None],
                past_key_values=cache,
                use_cache=True,
            )
            logits = out.logits[:, -1]
            following = following + 1
        return mask

    def _choose(self, rows: list[_Row], logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        """One token per row [rows], written into the rows that are not stopped."""
        scores = logits.float()
        scores[:, self.processor.unsayable] = -torch.inf
        for number, row in enumerate(rows):
            if row.forcer and not row.stopped:
                row.forcer.restrict(scores[number], row.ids, sampling.max_tokens - len(row.ids), self._ends)
        chosen = sample(scores, sampling, [row.generator for row in rows])
        logprobs = (scores / (sampling.temperature or 1.0)).log_softmax(-1).gather(1, chosen[:, None])[:, 0]
        for number, row in enumerate(rows):
            if row.stopped:
                continue
            row.ids.append(int(chosen[number]))
            row.logprobs.append(float(logprobs[number]))
            row.stopped = row.ids[-1] in self._ends or self._says_stop(row)
        return chosen

    def _says_stop(self, row: _Row) -> bool:
        stops = row.request.sampling.stop
        return bool(stops) and any(stop in self._text(row.ids) for stop in stops)

    def _text(self, ids: list[int]) -> str:
        shown = ids[:-1] if ids and ids[-1] in self._ends else ids
        return str(self.processor.tokenizer.decode(shown))

    def _completion(
        self, row: _Row, seconds: Seconds, cache: DynamicCache, mask: torch.Tensor, number: int
    ) -> Completion:
        text = self._text(row.ids)
        for stop in row.request.sampling.stop:
            text = text.split(stop)[0]
        past = None
        if self.reuse:
            ids = (*row.prepared.ids, *row.ids)
            past = Past(ids, row.prepared, _own(cache, mask[number].bool(), len(ids) - 1, number))
        usage = Usage(
            prompt_tokens=len(row.prepared.ids),
            vision_tokens=sum(view.tokens for view in row.prepared.views),
            cached_tokens=row.cached,
            generated_tokens=len(row.ids),
        )
        finish = "stop" if row.stopped else "length"
        return Completion(text, usage, seconds, finish, tuple(row.ids), tuple(row.logprobs), past)  # type: ignore[arg-type]


def sample(scores: torch.Tensor, sampling: Sampling, generator: Sequence[torch.Generator | None]) -> torch.Tensor:
    """scores [rows, vocabulary] -> ids [rows]; greedy at temperature 0, else nucleus sampling. dice: one a row."""
    if sampling.temperature <= 0:
        return scores.argmax(-1)
    probabilities = (scores / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, places = probabilities.sort(-1, descending=True)
        ordered[ordered.cumsum(-1) - ordered > sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
    drawn = [torch.multinomial(row, 1, generator=own) for row, own in zip(probabilities, generator, strict=True)]
    return torch.cat(drawn)


def _joined(pasts: list[KeyValues | None], length: int, model: Any) -> DynamicCache:
    """One batched cache from many conversations, each left-padded with zeros to `length`."""
    cache = DynamicCache(config=model.config.get_text_config())
    if length == 0:
        return cache
    known = next(past for past in pasts if past is not None)
    for layer, (keys, values) in enumerate(known):
        shape = (len(pasts), keys.shape[0], length, keys.shape[2])
        all_keys, all_values = keys.new_zeros(shape), values.new_zeros(shape)
        for number, past in enumerate(pasts):
            if past is not None:
                kept = past[layer][0].shape[1]
                all_keys[number, :, length - kept :] = past[layer][0]
                all_values[number, :, length - kept :] = past[layer][1]
        cache.update(all_keys, all_values, layer)
    return cache


def _own(cache: DynamicCache, mask: torch.Tensor, count: int, number: int) -> KeyValues:
    """One row's keys and values without padding; mask [length] of what is real, `count` of it kept."""
    places = mask.nonzero()[:, 0][:count]
    return [(layer.keys[number][:, places], layer.values[number][:, places]) for layer in cache.layers]


# ── loading ────────────────────────────────────────────────────────────────────────────────────


def family_of(config: Any) -> ModelFamily:
    """The dialect a checkpoint's configuration names, or its family's."""
    return FAMILIES.get(getattr(config, "ergo_family", ""), CHECKPOINT_TYPES[config.model_type])


def load_processor(name: str) -> Processor:
    """Tokenizer, chat template and picture settings of a checkpoint, without torchvision."""
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    if not tokenizer.chat_template:
        found = cached_file(name, "chat_template.json", _raise_exceptions_for_missing_entries=False)
        if found is None:
            raise UsageError(f"{name} has no chat template; ergo needs one to know how the model is asked")
        tokenizer.chat_template = json.loads(Path(found).read_text())["chat_template"]
    settings = AutoImageProcessor.from_pretrained(name)
    return Processor(
        tokenizer,
        settings.patch_size,
        settings.merge_size,
        settings.temporal_patch_size,
        Normalisation(tuple(settings.image_mean), tuple(settings.image_std)),
    )


def _check_folder(name: str) -> None:
    """A folder that is not there would be looked for on the Hub, and the message would speak of that."""
    if not Path(name).is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UsageError(f"there is no folder {name}: give a checkpoint's folder or its name on the Hub (owner/model)")


def _adapter_of(name: str, adapter: str | None) -> tuple[str | None, str]:
    """A folder that holds only a LoRA adapter names its base model itself."""
    config = Path(name) / "adapter_config.json"
    if adapter is None and config.is_file():
        return name, str(json.loads(config.read_text())["base_model_name_or_path"])
    return adapter, name


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra("loading a LoRA adapter", "lora") from error
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _end_ids(model: Any, processor: Processor) -> set[int]:
    stated = getattr(model.generation_config, "eos_token_id", None)
    stated = stated if isinstance(stated, list) else [stated]
    known = range(model.get_input_embeddings().num_embeddings)  # shrunk checkpoints name ends they do not have
    return {processor.end_id, *(token for token in stated if token in known)}
