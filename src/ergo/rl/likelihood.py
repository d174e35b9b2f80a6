"""How probable a text is as a model's answer: one forward pass, nothing sampled (graded verification, as in CropVLM)."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from ergo.backends.transformers.backend import TransformersBackend
from ergo.backends.transformers.processor import Processor
from ergo.core.errors import BackendError, UsageError
from ergo.core.messages import Request
from ergo.core.runner import Backend
from ergo.rl.episode import Episode
from ergo.rl.update import token_scores

log = logging.getLogger(__name__)

OPENING, CLOSING = "<answer>", "</answer>"  # as the prompts ask for it


def can_grade(backend: Backend) -> TransformersBackend:
    """The backend, if it can say how probable a text is; UsageError if not."""
    if not isinstance(backend, TransformersBackend):
        raise UsageError(
            "the reward likelihood needs a verifier in this process (a folder, hf:NAME or ergo-tiny): servers do not say "
            "how probable a text is that they have not written"
        )
    return backend


def likelihoods(backend: Backend, asked: Sequence[tuple[Request, str]]) -> list[float | BackendError]:
    """Of each text as the answer to its request: the geometric mean of its tokens' probabilities, 0 to 1."""
    model = can_grade(backend)
    rows = [_as_reply(model.processor, request, text) for request, text in asked]
    found: list[float | BackendError] = []
    size = max(1, model.batch)
    while len(found) < len(rows):
        part = rows[len(found) : len(found) + size]
        try:
            with torch.inference_mode():
                logprobs, _ = token_scores(model.model, model.model, model.processor, part, 1.0, share=True)
        except torch.cuda.OutOfMemoryError as error:
            reason = str(error)  # the error itself holds the tensors of the attempt
            torch.cuda.empty_cache()
            if len(part) == 1:
                found.append(BackendError(f"out of GPU memory with one crop ({reason})", "out_of_memory"))
            size = max(1, len(part) // 2)
            log.warning("%d crops at once do not fit into GPU memory: from now on %d", len(part), size)
            continue
        counts = [sum(one.sampled) for one in part]
        found += [own.mean().exp().item() for own in torch.split(logprobs, counts)]
    return found


def _as_reply(processor: Processor, request: Request, text: str) -> Episode:
    """The request answered by `text`, whose tokens alone count."""
    opening = processor.first(request.chat)
    encoded = processor.tokenizer(OPENING + text + CLOSING, add_special_tokens=False, return_offsets_mapping=True)
    begin, end = len(OPENING), len(OPENING) + len(text)
    counted = tuple(int(left < end and right > begin) for left, right in encoded["offset_mapping"])
    ids = tuple(encoded["input_ids"])
    return Episode(opening.ids, ids, counted, (0.0,) * len(ids), opening.views)
