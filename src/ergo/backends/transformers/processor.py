"""Chat -> what a Qwen-VL model is fed. The one place that prepares it, for sampling and for training.

transformers' own AutoProcessor needs torchvision; this does the same with Pillow, numpy and the
checkpoint's tokenizer and chat template, and is tested equal to transformers' PIL image processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ergo.core.messages import Chat, Message, Request
from ergo.core.view import View

IMAGE_PAD = "<|image_pad|>"
PICTURE_TOKENS = (IMAGE_PAD, "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")


@dataclass(frozen=True)
class Prepared:
    """One conversation, ready for the model.

    ids: token ids with every image pad repeated once per vision token. views: in order of appearance.
    """

    ids: tuple[int, ...]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and deviation of RGB in 0..1, from preprocessor_config.json."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Processor:
    """Token ids and pixels for one checkpoint.

    patch_size, merge: side in pixels of a vision patch, and patches per token side; their product
    is the `patch` of TokenBudget and View. unsayable: tokens that stand for pictures, which no reply may hold.
    """

    def __init__(self, tokenizer: Any, patch_size: int, merge: int, temporal: int, norm: Normalisation) -> None:
        self.tokenizer = tokenizer
        self.patch_size = patch_size
        self.merge = merge
        self.temporal = temporal
        # value in 0..255 -> normalised, as float32 in the order transformers computes it
        levels = np.arange(256, dtype=np.float64)[:, None] / 255.0
        self._levels = ((levels - np.array(norm.mean)) / np.array(norm.std)).astype(np.float32)
        self.image_id: int = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        self.end_id: int = tokenizer.convert_tokens_to_ids("<|im_end|>")
        vocabulary = tokenizer.get_vocab()
        self.unsayable: list[int] = [vocabulary[token] for token in PICTURE_TOKENS if token in vocabulary]
        self._special: list[str] = sorted(
            (str(token) for token in tokenizer.get_added_vocab() if str(token).startswith("<|")), key=len, reverse=True
        )

    @property
    def patch(self) -> int:
        return self.patch_size * self.merge

    # ── text ───────────────────────────────────────────────────────────────────────────────────
    def first(self, chat: Chat) -> Prepared:
        """A whole conversation that ends with a user's message, up to the reply's first token."""
        views = tuple(view for message in chat for view in message.views)
        return Prepared(tuple(self._tokenize(self._render(chat, reply=True), views)), views)

    def continued(self, before: Sequence[int], seen: Sequence[View], chat: Chat) -> Prepared:
        """A conversation whose last message is new.

        before: the ids so far, the sampled reply included, with or without its end token; they are
        kept as they are and never made again from text. seen: the views in them.
        """
        ids = list(before)
        if ids[-1] != self.end_id:
            ids.append(self.end_id)
        # templates of thinking models shorten old replies, and then the two renderings would not align
        unsaid = tuple(Message("assistant", ("",)) if message.role == "assistant" else message for message in chat)
        old = self._render(unsaid[:-1], reply=False)
        tail = self._render(unsaid, reply=True)[len(old) :]
        newline = "\n" if old.endswith("\n") else ""
        views = chat[-1].views
        return Prepared((*ids, *self._tokenize(newline + tail, views)), (*seen, *views))

    def whole(self, request: Request) -> Prepared:
        """A request's whole conversation; a reply that was sampled before is kept as the ids it was sampled as."""
        before = request.previous
        if before is None or before.token_ids is None:
            return self.first(request.chat)
        opening = self.first(request.chat[:-2])
        return self.continued([*opening.ids, *before.token_ids], opening.views, request.chat)

    def _render(self, chat: Chat, reply: bool) -> str:
        messages = [{"role": message.role, "content": self._content(message)} for message in chat]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=reply))

    def _content(self, message: Message) -> list[dict[str, str]] | str:
        """Parts for the template; control tokens inside a user's or model's text are made harmless."""
        if not message.views:
            return self._harmless(message.text)
        return [
            {"type": "text", "text": self._harmless(part)} if isinstance(part, str) else {"type": "image"}
            for part in message.parts
        ]

    def _harmless(self, text: str) -> str:
        for token in self._special:
            if token in text:
                text = text.replace(token, token.replace("<|", "< |"))
        return text

    def _tokenize(self, text: str, views: Sequence[View]) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        remaining = iter(views)
        expanded: list[int] = []
        for token in ids:
            expanded.extend([token] * (next(remaining).tokens if token == self.image_id else 1))
        return expanded

    # ── pixels ─────────────────────────────────────────────────────────────────────────────────
    def pixels(self, views: Sequence[View]) -> tuple[torch.Tensor, torch.Tensor]:
        """pixel_values [patches, channels * temporal * patch * patch] and image_grid_thw [views, 3]."""
        values = np.concatenate([self._patches(view) for view in views])
        grids = [(1, view.size.height // self.patch_size, view.size.width // self.patch_size) for view in views]
        return torch.from_numpy(values), torch.tensor(grids, dtype=torch.long)

    def _patches(self, view: View) -> np.ndarray:
        if view.patch != self.patch:
            raise ValueError(f"a view made for patch {view.patch} is shown to a model of patch {self.patch}")
        side, merge = self.patch_size, self.merge
        rgb = np.asarray(view.pixels)
        rows, columns = rgb.shape[0] // self.patch, rgb.shape[1] // self.patch
        channels = np.stack([self._levels[rgb[..., c], c] for c in range(3)])  # [3, H, W]
        grid = channels.reshape(3, rows, merge, side, columns, merge, side)
        grid = grid.transpose(1, 4, 2, 5, 0, 3, 6)  # rows, columns, merge y, merge x, channel, y, x
        flat = grid.reshape(rows * columns * merge * merge, 3, 1, side * side)
        return np.repeat(flat, self.temporal, axis=2).reshape(flat.shape[0], -1)


def rope_positions(ids: Sequence[int] | np.ndarray, views: Sequence[View], image_id: int) -> np.ndarray:
    """Temporal, row and column position of every token, [3, length]; equal to transformers' get_rope_index."""
    columns: list[np.ndarray] = []
    position, place, remaining = 0, 0, iter(views)
    array = np.asarray(ids)
    while place < len(array):
        if array[place] == image_id:
            view = next(remaining)
            rows, cols = view.size.height // view.patch, view.size.width // view.patch
            y, x = np.divmod(np.arange(rows * cols), cols)
            columns.append(np.stack([np.zeros_like(x), y, x]) + position)
            position += max(rows, cols)
            place += rows * cols
        else:
            ends = np.flatnonzero(array[place:] == image_id)
            end = place + int(ends[0]) if len(ends) else len(array)
            columns.append(np.tile(np.arange(position, position + end - place), (3, 1)))
            position += end - place
            place = end
    return np.concatenate(columns, axis=1)
