"""The world as files: pictures and the samples.jsonl that every benchmark reader understands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ergo.core.errors import UsageError
from ergo.images.picture import Picture
from ergo.samples.sample import Sample, write_samples
from ergo.world.questions import generate
from ergo.world.scene import Split


def write(out: Path, split: Split, count: int, megapixels: tuple[float, float]) -> int:
    """Draw `count` samples of a split into folder `out`; lossless, so the truth stays exact."""
    if count < 1 or not 0.1 <= megapixels[0] <= megapixels[1] <= 64:
        raise UsageError("the world wants at least one sample, and 0.1 <= least <= most <= 64 megapixels")
    (out / "pictures").mkdir(parents=True, exist_ok=True)

    def saved() -> Iterator[Sample]:
        for sample in generate(split, count, megapixels=megapixels):
            assert isinstance(sample.image, Picture)
            name = f"pictures/{sample.id}.png"
            sample.image.pixels.save(out / name, compress_level=1)
            yield replace(sample, image=name)

    return write_samples(out / "samples.jsonl", saved())
