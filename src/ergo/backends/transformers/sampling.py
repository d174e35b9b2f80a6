"""From scores to one token per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ergo.core.messages import Sampling


@dataclass(frozen=True)
class Penalties:
    """What changes scores before a token is chosen, beyond what a request says; 1 and 0 change nothing.

    repetition: scores of every token that stands in the conversation so far are divided by it where positive,
    multiplied where negative (arXiv 1909.05858). top_k: only so many of the likeliest can be drawn.
    """

    repetition: float = 1.0
    top_k: int = 0

    @classmethod
    def of(cls, generation_config: Any) -> Penalties:
        """Those of a checkpoint's generation_config.json."""
        repetition, top_k = (getattr(generation_config, name, None) for name in ("repetition_penalty", "top_k"))
        return cls(float(repetition or 1.0), int(top_k or 0))

    def apply(self, scores: torch.Tensor, conversation: Sequence[int], drawn: bool) -> None:
        """scores [vocabulary] of one row, changed in place. drawn: whether a token is drawn, or the best one taken."""
        if self.repetition != 1.0:
            seen = torch.tensor(sorted(set(conversation)), device=scores.device)
            at = scores[seen]
            scores[seen] = torch.where(at < 0, at * self.repetition, at / self.repetition)
        if drawn and 0 < self.top_k < len(scores):
            scores[scores < scores.topk(self.top_k).values[-1]] = -torch.inf


def stated_by(generation_config: Any) -> dict[str, Any]:
    """How a checkpoint's generation_config.json would have replies sampled, whether or not they are."""
    names = ("do_sample", "temperature", "top_p", "top_k", "repetition_penalty")
    values = {name: getattr(generation_config, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def sample(scores: torch.Tensor, sampling: Sampling, generators: Sequence[torch.Generator | None]) -> torch.Tensor:
    """scores [rows, vocabulary] -> ids [rows]; greedy at temperature 0, else nucleus sampling, one generator a row."""
    if sampling.temperature <= 0:
        return scores.argmax(-1)
    probabilities = (scores / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        ordered, places = probabilities.sort(-1, descending=True)
        # what comes before a token decides: the one that crosses top_p stays in
        ordered[ordered.cumsum(-1) - ordered > sampling.top_p] = 0
        probabilities = torch.zeros_like(probabilities).scatter(-1, places, ordered)
    # row by row: drawn together, a row's token would depend on how many rows stand before it
    drawn = [torch.multinomial(row, 1, generator=own) for row, own in zip(probabilities, generators, strict=True)]
    return torch.cat(drawn)


def generator_for(sampling: Sampling, device: torch.device) -> torch.Generator | None:
    """A row's own, so that a seed gives the same reply whatever else is in the batch; None where nothing is drawn."""
    if sampling.temperature <= 0:
        return None
    generator = torch.Generator(device)
    generator.manual_seed(sampling.seed) if sampling.seed is not None else generator.seed()
    return generator


def pieces(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token; a character of several tokens belongs to the one that completes it."""
    found, begun = [], 0
    for end in range(1, len(ids) + 1):
        text = str(tokenizer.decode(ids[begun:end]))
        is_whole = not text.endswith("\ufffd") or end - begun == 4  # UTF-8 has four bytes at most
        found.append(text if is_whole else "")
        begun = end if is_whole else begun
    return tuple(found)


def end_ids(model: Any, end_id: int) -> frozenset[int]:
    """Tokens that end a reply: the chat template's own (`end_id`) and those that the checkpoint states."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    stated = stated if isinstance(stated, list) else [stated]
    known = range(model.get_input_embeddings().num_embeddings)  # shrunk checkpoints name ends they do not have
    return frozenset({end_id, *(token for token in stated if token in known)})
