"""Where training questions come from: the world, or any table of samples. Addressed by number, so that a resume is exact."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

import numpy as np

from ergo.core.errors import UsageError
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample
from ergo.world.questions import CATEGORIES, ask, to_sample
from ergo.world.scene import SPLITS, Split, compose, draw


class Source(Protocol):
    """Questions by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sample: ...

    @property
    def identity(self) -> str:
        """What these questions are, so that a changed file is noticed; of pictures in files, their names only."""
        ...


class World:
    """Scenes of one split, drawn when asked for; categories alternated, as in the splits that are measured.

    categories: alternated in this order; one may stand there several times. first: seed of the first scene. Each number owns ATTEMPTS seeds, of which the first whose scene has a question
    of its category is taken.
    """

    ATTEMPTS = 64

    def __init__(self, split: Split, count: int, first: int, categories: Sequence[str] = CATEGORIES) -> None:
        self.split = split
        self.count = count
        self.first = first
        self.categories = tuple(categories)

    @property
    def identity(self) -> str:
        only = "" if self.categories == CATEGORIES else f" of {','.join(self.categories)}"
        return f"world:{self.split}, {self.count} from seed {self.first}{only}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Sample:
        category = self.categories[number % len(self.categories)]
        for attempt in range(self.ATTEMPTS):
            seed = self.first + number * self.ATTEMPTS + attempt
            scene = compose(seed, self.split)
            rng = np.random.default_rng([11, SPLITS.index(self.split), seed])
            posed = ask(scene, rng, category, scene.landmarks[0])
            if posed is not None:
                return to_sample(scene, posed, draw(scene))
        raise UsageError(f"no {category} question in {self.ATTEMPTS} scenes of the {self.split} split")


class Lines:
    """A table of samples; pictures stay on disk until they are looked at."""

    def __init__(self, path: Path) -> None:
        self._samples = list(read_samples(path))
        self.identity = f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
        if not self._samples:
            raise UsageError(f"{path} holds no samples")
        repeated = [id for id, count in Counter(sample.id for sample in self._samples).items() if count > 1]
        if repeated:
            raise UsageError(
                f"{path}: {len(repeated)} ids stand on several lines, {repeated[0]!r} first: ids are unique"
            )

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> Sample:
        return self._samples[number]


def source_of(name: str, count: int, first: int = 1_000_000) -> Source:
    """`world`, `world:validation`, or `module:function` of your own (`count` of them, from seed `first`),
    `world:train:coarse,vague`, or a table (all of it)."""
    if name.split(":")[0] == "world":
        split, _, listed = (name.partition(":")[2] or "train").partition(":")
        if split not in SPLITS:
            raise UsageError(f"the world has the splits {', '.join(SPLITS)}, not {split!r}")
        categories = listed.split(",") if listed else CATEGORIES
        unknown = [category for category in categories if category not in CATEGORIES]
        if unknown:
            raise UsageError(f"the world has the categories {', '.join(CATEGORIES)}, not {unknown[0]!r}")
        return World(split, count, first, categories)
    path = Path(name)
    if path.is_file():
        return Lines(path)
    module, separator, function = name.partition(":")
    if not separator:
        raise UsageError(
            f"{name} is not a file: data is `world`, `world:validation`, a table of samples (docs/benchmarks.md) or "
            "`module:function` of your own"
        )
    try:
        source: Source = getattr(import_module(module), function)(count, first)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the data {name} cannot be imported: {error}") from error
    return source
