"""`python -m ergo.world.demo`: draw the bundled pictures anew from the test split, as they are in the repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ergo.images.picture import Picture
from ergo.samples.sample import write_samples
from ergo.world.questions import CATEGORIES, generate

HERE = Path(__file__).resolve().parent.parent / "demo"
SHOWN = ("attribute", "vague", "relation")
FIRST_SEED = 100_000  # beyond every seed that the test split's figures use


def make() -> None:
    """Three test-split scenes of 9 to 14 megapixels, one of each category shown."""
    samples = []
    for sample in generate("test", len(CATEGORIES), FIRST_SEED, (9.0, 14.0)):
        if sample.category in SHOWN:
            assert isinstance(sample.image, Picture)
            name = f"{sample.category}.jpg"
            sample.image.pixels.save(HERE / name, quality=80, optimize=True)
            samples.append(replace(sample, image=name))
    write_samples(HERE / "samples.jsonl", samples)


if __name__ == "__main__":
    make()
