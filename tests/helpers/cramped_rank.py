"""For torchrun: two steps of training, in which the second process runs out of GPU memory in its `update` or its `rollouts`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from training import make_step, recipe

from ergo.backends import TINY
from ergo.core.errors import TrainingStopped
from ergo.rl.trl_bridge import TrlTrainer
from ergo.rl.watch import Watch


def main(where: str, out: Path) -> None:
    chosen = recipe("trl.max_steps=2")
    trainer = TrlTrainer(make_step(chosen), TINY, out)
    trainer.add_callback(Watch(chosen, trainer, out))
    rank = trainer.accelerator.process_index

    def refuse(model: Any, _: Any, inputs: dict[str, Any]) -> None:
        """The update does not fit at all; of rollouts one at a time does."""
        if model.training if where == "update" else not model.training and inputs["input_ids"].shape[0] > 1:
            raise torch.cuda.OutOfMemoryError("tried to allocate 7 GiB")

    if rank == 1:
        trainer.model.register_forward_pre_hook(refuse, with_kwargs=True)
    try:
        trainer.train()
    except TrainingStopped as stopped:
        sys.exit(f"process {rank}: {stopped}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
