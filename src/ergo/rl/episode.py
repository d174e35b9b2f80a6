"""A rollout as the trainer needs it: one row of token ids, what of it was sampled, and the views in it.

Made with the same Processor as at inference and from the ids that were sampled; nothing is
tokenised again (tests/rl/test_episode.py compares ids, pixels, positions and log-probabilities).
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from ergo.backends.transformers.processor import Processor
from ergo.core.geometry import TokenBudget
from ergo.core.messages import Message
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.images.picture import Picture


@dataclass(frozen=True)
class Episode:
    """prompt: ids up to the first reply. completion: both replies and what stands between them.

    sampled, logprobs: as long as completion; sampled is 0 and the log-probability 0 where the ids
    came from the conversation (the close view, the second question), not from the model.
    views: in order of appearance, at least one.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]
    views: tuple[View, ...]


def episode_of(processor: Processor, trace: Trace) -> Episode:
    """trace: of a flow over a backend that returns token ids; it may have ended early, even before its first reply."""
    if not trace.completions:
        return _blank(processor)
    opening = processor.first(trace.requests[0].chat)
    ids, views = list(opening.ids), opening.views
    sampled = [0] * len(ids)
    logprobs = [0.0] * len(ids)
    for number, (request, completion) in enumerate(zip(trace.requests, trace.completions, strict=True)):
        if number:
            prepared = processor.continued(ids, views, request.chat)
            between = len(prepared.ids) - len(ids)
            ids, views = list(prepared.ids), prepared.views
            sampled += [0] * between
            logprobs += [0.0] * between
        assert completion.token_ids is not None  # training needs a backend that returns ids
        assert completion.logprobs is not None
        ids += completion.token_ids
        sampled += [1] * len(completion.token_ids)
        logprobs += completion.logprobs
    start = len(opening.ids)
    return Episode(opening.ids, tuple(ids[start:]), tuple(sampled[start:]), tuple(logprobs[start:]), views)


def _blank(processor: Processor) -> Episode:
    """In place of a rollout without a reply: a grey view and an end token that nothing is learnt from.

    Not an empty row: the engines split pixels by row, and under FSDP every process must run the vision tower.
    """
    grey = Picture(Image.new("RGB", (2 * processor.patch, 2 * processor.patch), (128, 128, 128)), "blank")
    view = View.of(grey, TokenBudget(4, patch=processor.patch))
    opening = processor.first((Message("user", (view,)),))
    return Episode(opening.ids, (processor.end_id,), (0,), (0.0,), opening.views)
