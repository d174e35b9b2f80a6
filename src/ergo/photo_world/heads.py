"""What stands beside the model while it learns, and what its targets are: heads that are thrown away afterwards."""

from __future__ import annotations

import math
from typing import Any

import torch

from ergo.photo_world.lettering import NOTHING
from ergo.photo_world.model import GRID
from ergo.photo_world.pages import LABELS
from ergo.tiny.model import waves

LONGEST = 12  # characters whose order in their word is learnt
BACKGROUND = 0.2  # weight of a patch with nothing under it


class LabelHead(torch.nn.Module):
    """Says what lies under a patch; only for training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, LABELS)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., width] -> [..., LABELS]"""
        logits: torch.Tensor = self.head(self.norm(hidden))
        return logits


def label_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy; patches with nothing under them count less."""
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    weights = torch.where(labels.flatten() == NOTHING, BACKGROUND, 1.0)
    mean: torch.Tensor = (losses * weights).sum() / weights.sum()
    return mean


class OrderHead(torch.nn.Module):
    """Says which character of its word lies under a patch, counted from 1; only for training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, LONGEST + 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[..., width] -> [..., LONGEST + 1]"""
        logits: torch.Tensor = self.head(self.norm(hidden))
        return logits


class PlaceHead(torch.nn.Module):
    """Says, as waves of x and y, where in its view the middle of what a vision token shows is; only for training.

    A token of the background says where it stands itself. Labels alone drive the position out of what the tower says
    (docs/log.md); this keeps it where the language model reads, and finer than tokens are.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.count = width // 8
        self.norm = torch.nn.LayerNorm(width)
        self.head = torch.nn.Linear(width, 4 * self.count)

    def loss(self, tokens: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
        """Mean square error for tokens [B, rows * columns, width]; centres [B, rows, columns, 2] as in Crop."""
        rows, columns = centres.shape[1:3]
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        shown = ~centres.isnan()
        points = torch.where(shown, centres, torch.stack([x, y], -1)).flatten(0, 2)
        truth = torch.cat([waves(points[:, 0], self.count), waves(points[:, 1], self.count)], 1)
        errors = (self.head(self.norm(tokens)).float().flatten(0, 1) - truth).square().mean(1)
        weights = torch.where(shown[..., 0].flatten(), 1.0, BACKGROUND)
        error: torch.Tensor = (errors * weights).sum() / weights.sum()
        return error


def coordinate_values(tokenizer: Any) -> dict[int, tuple[str, int]]:
    """Token id -> (what stands before the number, its value) of every coordinate."""
    values = {}
    for word, token in tokenizer.get_vocab().items():
        digits = word[1:]
        if (
            word[0] in "Ġ["
            and digits.isdecimal()
            and digits.isascii()
            and int(digits) <= 1000
            and int(digits) % GRID == 0
        ):
            values[token] = (word[0], int(digits))
    return values


def softened(tokenizer: Any, deviation: float = 15.0) -> torch.Tensor:
    """[vocabulary, vocabulary]: row = target distribution of a label; one-hot but for coordinates."""
    table = torch.eye(len(tokenizer))
    values = coordinate_values(tokenizer)
    for token, (before, value) in values.items():
        for other, (other_before, other_value) in values.items():
            if before == other_before:
                table[token, other] = math.exp(-(((value - other_value) / deviation) ** 2) / 2)
    return table / table.sum(1, keepdim=True)
