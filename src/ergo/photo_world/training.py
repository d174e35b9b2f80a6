"""What every training of the reader shares: optimisers, the rate's course, the log, and going on after a stop."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

log = logging.getLogger(__name__)

PATCH_RATE = 0.1  # of the rate: the patch embedding starts whitened, and a full step would undo that


def half_products() -> Any:
    """Matrix products in bfloat16, everything else and all weights in float32: twice as fast where the processor has
    bfloat16 products (avx512_bf16, amx), slower elsewhere, so only there."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled="bf16" in flags)


class Optimisers:
    """Muon for matrices between hidden layers, AdamW for the rest."""

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], rate: float, matrix_rate: float) -> None:
        patches: list[torch.nn.Parameter] = []
        matrices: list[torch.nn.Parameter] = []
        others: list[torch.nn.Parameter] = []
        for name, weight in named:
            hidden = weight.dim() == 2 and "embed" not in name and "head" not in name
            (patches if "patch_embed" in name else matrices if hidden else others).append(weight)
        self.parameters = [*patches, *matrices, *others]
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                [{"params": matrices, "highest": matrix_rate}], weight_decay=0.02, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(
                [{"params": others, "highest": rate}, {"params": patches, "highest": PATCH_RATE * rate}],
                betas=(0.9, 0.98),
                weight_decay=0.02,
            ),
        )

    def step(self, loss: torch.Tensor, share: float) -> float:
        """Learn from `loss` at `share` of the highest rates; returns the gradient's norm."""
        for weight in self.parameters:
            weight.grad = None
        torch.autograd.backward(loss)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0))
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = group["highest"] * share
            part.step()
        return norm


def rate_share(step: int, warmup: int, total: int) -> float:
    """Of the highest rate: up in `warmup` steps, then down a cosine to a twentieth."""
    cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
    return min(1.0, (step + 1) / warmup) * cosine


class Journal:
    """Means of what was measured, a line of JSON every so many steps."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        self._values: dict[str, list[float]] = defaultdict(list)
        self._started = time.perf_counter()

    def note(self, step: int, **values: float) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self._values[name].append(value)
        if (step + 1) % self._every == 0:
            row: dict[str, float] = {"step": step + 1, "seconds": round(time.perf_counter() - self._started, 1)}
            row |= {name: round(float(np.mean(kept)), 4) for name, kept in sorted(self._values.items())}
            self._values.clear()
            with self._path.open("a") as lines:
                lines.write(json.dumps(row) + "\n")
            log.info("%s", row)


def save_state(path: Path, step: int, modules: Sequence[Any], optimisers: Optimisers) -> None:
    """Everything a resume needs; written aside and moved into place."""
    state = {
        "step": step,
        "modules": [module.state_dict() for module in modules],
        "optimisers": [part.state_dict() for part in optimisers.parts],
    }
    aside = path.with_suffix(".new")
    torch.save(state, aside)
    aside.replace(path)


def load_state(path: Path, modules: Sequence[Any], optimisers: Optimisers) -> int:
    """The step to go on from; 0 if nothing was saved."""
    if not path.is_file():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for module, kept in zip(modules, state["modules"], strict=True):
        module.load_state_dict(kept)
    for part, kept in zip(optimisers.parts, state["optimisers"], strict=True):
        part.load_state_dict(kept)
    return int(state["step"])


def share_right(predicted: torch.Tensor, truth: torch.Tensor, chosen: torch.Tensor) -> float:
    """Share of the chosen that are predicted right; NaN (which no journal notes) if none is chosen."""
    return float((predicted[chosen] == truth[chosen]).float().mean()) if bool(chosen.any()) else math.nan
