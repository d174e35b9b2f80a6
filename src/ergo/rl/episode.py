"""A rollout as the trainer needs it: one row of token ids, what of it was sampled, and the views in it.

Made with the same Processor as at inference and from the ids that were sampled; nothing is
tokenised again (tests/train/test_episode.py compares ids, pixels, positions and log-probabilities).
"""

from __future__ import annotations

from dataclasses import dataclass

from ergo.backends.transformers.processor import Processor
from ergo.core.runner import Trace
from ergo.core.view import View


@dataclass(frozen=True)
class Episode:
    """prompt: ids up to the first reply. completion: both replies and what stands between them.

    sampled, logprobs: as long as completion; sampled is 0 and the log-probability 0 where the ids
    came from the conversation (the close view, the second question), not from the model.
    views: in order of appearance.
    """

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    sampled: tuple[int, ...]
    logprobs: tuple[float, ...]
    views: tuple[View, ...]


def episode_of(processor: Processor, trace: Trace) -> Episode:
    """trace: of a flow over a backend that returns token ids; it may have ended early."""
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
