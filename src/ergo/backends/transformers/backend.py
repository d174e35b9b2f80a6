"""A Qwen-VL checkpoint in this process, batched, its cache kept between the looks.

The second look's prompt begins with the whole first exchange, its pictures included. The cache of that part is
kept per conversation and put back, so that only the close view and the new text are computed. What makes this
exact, and what looks natural but is silently wrong, is written beside the code (bridge.py) and in
docs/how-it-works.md.

loading.py gets a checkpoint, processor.py makes ids and pixels of a chat, bridge.py holds what transformers
keeps to itself, sampling.py draws tokens, constrain.py holds a reply to the form of a region.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import torch
from transformers import DynamicCache

from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.bridge import (
    Kept,
    check_version,
    forward,
    image_features,
    is_recurrent,
    joined,
    kept_of,
    part_of,
    select_rows,
)
from ergo.backends.transformers.constrain import Forcer, OptionForcer, RegionForcer
from ergo.backends.transformers.loading import load_checkpoint
from ergo.backends.transformers.processor import Prepared, Processor, rope_positions
from ergo.backends.transformers.sampling import Penalties, end_ids, generator_for, pieces, sample
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request, Sampling, Seconds, Usage
from ergo.families.base import ModelFamily

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Past:
    """What one conversation left behind. ids: everything so far, the last sampled token included.

    The cache holds all of them but the last: a token's keys are made when it is fed.
    """

    ids: tuple[int, ...]
    prepared: Prepared
    cache: Kept


@dataclass
class Row:
    """One request being answered. ids, logprobs: as sampled. kept: its cache, once it has stopped."""

    request: Request
    prepared: Prepared
    past: Past | None
    forcer: Forcer | None
    generator: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    stopped: bool = False
    kept: Kept | None = None

    @property
    def cached(self) -> int:
        return self.past.cache.length if self.past else 0

    @property
    def views_seen(self) -> int:
        return len(self.past.prepared.views) if self.past else 0


def _distinct(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """Rows that begin different conversations, or go on with one; and for each row the place of its like among them."""
    found: dict[Any, int] = {}
    distinct: list[Row] = []
    places = []
    for number, row in enumerate(rows):
        shown = ((id(view.picture), view.box, view.size) for view in row.prepared.views)
        key = number if row.past else (row.prepared.ids, *shown)
        if key not in found:
            found[key] = len(distinct)
            distinct.append(row)
        places.append(found[key])
    return distinct, places


class TransformersBackend:
    """A model in this process.

    batch: most requests computed together. reuse: keep keys and values for the second look.
    force_region: replies that should name a region are held to a well-formed <zoom>[...]</zoom>.
    hold_options: replies of a family that spells are held to the options of the question.
    penalties: a repetition penalty and top-k beside what requests say; none unless given (LocalSettings.generation).

    wanted: asked at each token whether anybody still waits for the reply to a request; a server sets it.
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
        penalties: Penalties = Penalties(),
        hold_options: bool = False,
    ) -> None:
        check_version()
        self.model = model.eval()
        self.processor = processor
        self.family = family
        self.batch = batch
        self.reuse = reuse
        self.force_region = force_region
        self.penalties = penalties
        self.hold_options = hold_options
        self.wanted: Callable[[Request], bool] = lambda _: True
        self._ends = end_ids(model, processor.end_id)
        self._recurrent = is_recurrent(model)

    @classmethod
    def open(cls, name: str, settings: LocalSettings | None = None) -> TransformersBackend:
        """Load a checkpoint by Hub name or folder."""
        settings = settings or LocalSettings()
        found = load_checkpoint(name, settings)
        stated = Penalties.of(found.model.generation_config)
        penalties = stated if settings.generation == "checkpoint" else Penalties()
        if penalties != stated:
            logger.info("%s asks for %s: not applied (generation='checkpoint' would)", name, stated)
        return cls(
            found.model,
            found.processor,
            found.family,
            settings.batch_size,
            settings.reuse,
            settings.force_region,
            penalties,
            hold_options=True,
        )

    # ── answering ──────────────────────────────────────────────────────────────────────────────
    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """Requests that continue a conversation are batched apart from those that begin one."""
        results: list[Completion | BackendError | None] = [None] * len(requests)
        groups: dict[tuple[bool, Sampling], list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            continues = self.reuse and request.previous is not None and isinstance(request.previous.state, Past)
            groups[continues, replace(request.sampling, seed=None)].append(place)
        for places in groups.values():
            size = self.batch  # which may become smaller on the way
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                for place, result in zip(chosen, self._answer([requests[p] for p in chosen]), strict=True):
                    results[place] = result
        return [result for result in results if result is not None]

    def _answer(self, requests: list[Request]) -> list[Completion | BackendError]:
        rows = [self._row(request) for request in requests]
        context = self.model.config.get_text_config().max_position_embeddings
        lengths = [len(row.prepared.ids) for row in rows]
        fitting = [row for row, length in zip(rows, lengths, strict=True) if length < context]
        answers = iter(self._generate_within_memory(fitting))
        return [
            next(answers)
            if length < context
            else BackendError(
                f"prompt and reply may have {length:,} tokens, and the model's context holds {context:,}",
                "context_length",
            )
            for length in lengths
        ]

    def _generate_within_memory(self, rows: list[Row]) -> list[Completion | BackendError]:
        """A batch that does not fit is halved until it does, and later ones are no larger; a single request may fail."""
        try:
            with torch.inference_mode():
                return list(self._generate(rows)) if rows else []
        except torch.cuda.OutOfMemoryError as error:
            reason = str(error)  # the error itself holds the tensors of the attempt
        torch.cuda.empty_cache()
        if len(rows) == 1:
            return [BackendError(f"out of GPU memory with one request ({reason}); lower the budget", "out_of_memory")]
        half = len(rows) // 2
        self.batch = min(self.batch, half)
        logger.warning("%d requests at once do not fit into GPU memory: from now on at most %d", len(rows), half)
        fresh = [self._row(row.request) for row in rows]  # without what was sampled in the attempt
        parts = [fresh[start : start + half] for start in range(0, len(fresh), half)]
        return [result for part in parts for result in self._generate_within_memory(part)]

    def _generate(self, rows: list[Row]) -> list[Completion]:
        started = time.perf_counter()
        distinct, places = _distinct(rows)  # the rollouts of a group begin alike
        new_views = [view for row in distinct for view in row.prepared.views[row.views_seen :]]
        pixels = self.processor.pixels(new_views) if new_views else None
        image_done = time.perf_counter()
        features = image_features(self.model, *(tensor.to(self.model.device) for tensor in pixels)) if pixels else None
        vision_done = self._now()
        cache, mask, logits, positions = self._prefill(distinct, features)
        if len(distinct) < len(rows):
            chosen = torch.tensor(places, device=mask.device)
            select_rows(cache, chosen)
            mask, logits, positions = mask[chosen], logits[chosen], positions[chosen]
        prefill_done = self._now()
        self._decode(rows, cache, mask, logits, positions)
        ended = self._now()
        seconds = Seconds(
            (ended - started) / len(rows),
            (image_done - started) / len(rows),
            (vision_done - image_done) / len(rows),
            (prefill_done - vision_done) / len(rows),
            (ended - prefill_done) / len(rows),
        )
        return [self._completion(row, seconds) for row in rows]

    def _now(self) -> float:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()  # kernels run behind: without this their time falls to the next part
        return time.perf_counter()

    def _row(self, request: Request) -> Row:
        past = request.previous.state if request.previous and self.reuse else None
        if isinstance(past, Past):
            prepared = self.processor.continued(past.ids, past.prepared.views, request.chat)
        else:
            past = None
            prepared = self.processor.whole(request)
        return Row(request, prepared, past, self._forcer(request), generator_for(request.sampling, self.model.device))

    def _forcer(self, request: Request) -> Forcer | None:
        if request.expect != "text":
            return self._region_forcer(request.expect == "fractions") if self.force_region else None
        options = self.family.options_in(request.chat) if self.hold_options else []
        return OptionForcer(self.processor.tokenizer, options) if options else None

    @cached_property
    def _region_forcer(self) -> Callable[[bool], RegionForcer]:
        return lru_cache(lambda fractions: RegionForcer(self.processor.tokenizer, fractions))

    def _prefill(self, rows: list[Row], features: Any) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Feed everything not yet in the cache.

        Returns the cache, its mask [rows, length], the last logits [rows, vocabulary] and each row's
        next position [rows]. Padding stands on the left twice, before the old part and before the new one:

            . . old old old | . new new     and masked; positions count on as if it were not there
            old old old old | new new new
        """
        device = self.model.device
        old = max(row.cached for row in rows)
        lengths = {len(row.prepared.ids) - row.cached for row in rows}
        new = max(lengths)
        if old and len(lengths) > 1 and self._recurrent:
            return self._prefill_one_by_one(rows, features)
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
            # not the count of tokens: a picture's tokens share positions, so the text goes on at a lower number
            following[number] = places.max() + 1
        cache = joined([row.past.cache for row in rows if row.past], self.model)
        mask = mask.to(device)
        logits = forward(self.model, ids.to(device), mask, positions.to(device), cache, features)
        return cache, mask, logits, following.to(device)

    def _prefill_one_by_one(
        self, rows: list[Row], features: Any
    ) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same without padding between old and new: a recurrent layer would forget a little at each of it."""
        kept, logits, following, seen = [], [], [], 0
        for row in rows:
            views = len(row.prepared.views) - row.views_seen
            cache, mask, last, position = self._prefill([row], part_of(features, seen, seen + views) if views else None)
            kept.append(kept_of(cache, 0, mask[0]))
            logits.append(last)
            following.append(position)
            seen += views
        longest = max(part.length for part in kept)
        mask = torch.zeros((len(rows), longest), dtype=torch.long, device=self.model.device)
        for number, part in enumerate(kept):
            mask[number, longest - part.length :] = 1
        return joined(kept, self.model), mask, torch.cat(logits), torch.cat(following)

    def _decode(
        self, rows: list[Row], cache: DynamicCache, mask: torch.Tensor, logits: torch.Tensor, following: torch.Tensor
    ) -> None:
        """Sample until every row has stopped. Rows that have stopped feed masked padding meanwhile."""
        sampling = rows[0].request.sampling
        for step in range(sampling.max_tokens):
            going = [row for row in rows if not row.stopped]
            chosen = self._choose(rows, logits, sampling)
            last = step == sampling.max_tokens - 1
            if self.reuse:
                # now, not at the end: what is fed meanwhile would stand between this row's part and its padding
                for number, row in enumerate(rows):
                    if row in going and (row.stopped or last):
                        row.kept = kept_of(cache, number, mask[number])
            if last or all(row.stopped for row in rows):
                return
            feeding = torch.tensor([not row.stopped for row in rows], device=mask.device)
            mask = torch.cat([mask, feeding[:, None].long()], 1)
            positions = following.expand(3, -1)[..., None]
            logits = forward(self.model, chosen[:, None], mask, positions, cache, None)
            following = following + 1

    def _choose(self, rows: list[Row], logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        """One token per row [rows], written into the rows that have not stopped."""
        scores = logits.float()
        scores[:, self.processor.unsayable] = -torch.inf
        for number, row in enumerate(rows):
            if self.penalties != Penalties():
                self.penalties.apply(scores[number], (*row.prepared.ids, *row.ids), drawn=sampling.temperature > 0)
            if row.forcer and not row.stopped:
                row.forcer.restrict(scores[number], row.ids, sampling.max_tokens - len(row.ids), self._ends)
        chosen = sample(scores, sampling, [row.generator for row in rows])
        logprobs = (scores / (sampling.temperature or 1.0)).log_softmax(-1).gather(1, chosen[:, None])[:, 0]
        for number, row in enumerate(rows):
            if row.stopped:
                continue
            row.ids.append(int(chosen[number]))
            row.logprobs.append(float(logprobs[number]))
            stops = row.request.sampling.stop
            row.stopped = row.ids[-1] in self._ends or bool(stops and any(stop in self._text(row) for stop in stops))
            row.stopped |= not self.wanted(row.request)
        return chosen

    def _text(self, row: Row) -> str:
        shown = row.ids[:-1] if row.ids[-1] in self._ends else row.ids
        return str(self.processor.tokenizer.decode(shown))

    def _completion(self, row: Row, seconds: Seconds) -> Completion:
        text = self._text(row)
        for stop in row.request.sampling.stop:
            text = text.split(stop)[0]
        past = Past((*row.prepared.ids, *row.ids), row.prepared, row.kept) if row.kept else None
        usage = Usage(
            prompt_tokens=len(row.prepared.ids),
            vision_tokens=sum(view.tokens for view in row.prepared.views),
            cached_tokens=row.cached,
            generated_tokens=len(row.ids),
        )
        finish = "stop" if row.stopped else "length"
        texts = pieces(self.processor.tokenizer, row.ids)
        return Completion(text, usage, seconds, finish, tuple(row.ids), tuple(row.logprobs), texts, past)  # type: ignore[arg-type]
