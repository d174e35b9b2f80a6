"""Questions about painted scenes as samples: a JSONL with its pictures, for `ergo eval` and anyone else.

ergo world OUT --split test --limit 1000
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ergo.core.errors import UsageError
from ergo.core.geometry import Box
from ergo.images.picture import Picture
from ergo.photo_world.assets import Assets, Split, assets_of
from ergo.photo_world.paint import paint
from ergo.photo_world.questions import CATEGORIES, PosedQuestion, pose
from ergo.photo_world.scene import Scene, compose
from ergo.samples.sample import Sample, write_samples

JPEG_QUALITY = 90
MEGAPIXELS = (4.0, 10.0)
TRIES = 50  # scenes looked at for one that has a question of the category wanted


def make_samples(
    assets: Assets, count: int, folder: Path, first: int = 0, megapixels: tuple[float, float] = MEGAPIXELS
) -> Iterator[Sample]:
    """`count` samples, all categories in turn; their pictures are written to `folder`. first: number of the first one."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        category = CATEGORIES[number % len(CATEGORIES)]
        scene, posed = _one(assets, number, category, megapixels)
        path = folder / f"{assets.split}-{number:05d}.jpg"
        paint(scene, assets, Box.whole(scene.size), scene.size).save(path, quality=JPEG_QUALITY)
        yield _sample(assets, number, category, scene, posed, f"{folder.name}/{path.name}")


class Photos:
    """A split's questions by number, drawn when asked for: what `ergo train` learns from (rl/source.py).

    Scenes are small, 2 to 3 megapixels: letters are as high in a close view as those of larger ones, nearly, and a
    question costs a third.
    """

    def __init__(self, split: Split, count: int, first: int) -> None:
        self._assets = assets_of(split)
        self._count, self._first = count, first
        self.identity = f"photographs:{split}, {count} from {first}"

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Sample:
        category = CATEGORIES[number % len(CATEGORIES)]
        scene, posed = _one(self._assets, self._first + number, category, (2.0, 3.0))
        seen = paint(scene, self._assets, Box.whole(scene.size), scene.size)
        picture = Picture(seen, f"photo-{self._first + number}")
        return _sample(self._assets, self._first + number, category, scene, posed, picture)


def training(count: int, first: int) -> Photos:
    """`data` of a recipe: the training split."""
    return Photos("train", count, first)


def validation(count: int, first: int) -> Photos:
    """`validation` of a recipe."""
    return Photos("validation", count, first)


def _sample(
    assets: Assets, number: int, category: str, scene: Scene, posed: PosedQuestion, image: str | Picture
) -> Sample:
    return Sample(
        id=f"photo-{assets.split}-{number:05d}",
        image=image,
        question=posed.question,
        answer=posed.answer,
        choices=posed.choices,
        region=posed.region,
        category=category,
        info=facts(scene, posed, assets),
    )


def _one(assets: Assets, number: int, category: str, megapixels: tuple[float, float]) -> tuple[Scene, PosedQuestion]:
    """The first scene from this sample's own seeds whose first thing can be asked about so."""
    for attempt in range(TRIES):
        scene = compose(number * TRIES + attempt, assets, megapixels)
        posed = pose(scene, np.random.default_rng([number, attempt]), category, scene.things[0])
        if posed is not None:
            return scene, posed
    raise RuntimeError(f"no question of category {category} in {TRIES} scenes for sample {number}")


def facts(scene: Scene, posed: PosedQuestion, assets: Assets) -> dict[str, Any]:
    """What an evaluation may want to group by. letter: height in pixels. target: the region's share of the picture."""
    found: dict[str, Any] = {
        "ambiguity": posed.ambiguity,
        "photograph": assets.ground_names[scene.ground],
        "target": round(posed.region.area / scene.size.area, 6) if posed.region else None,
    }
    if posed.sign:
        found |= {
            "letter": round(posed.sign.letter, 1),
            "text_kind": posed.sign.text_kind,
            "font": Path(posed.sign.font).name,
        }
    return found


def write(out: Path, split: Split, count: int, megapixels: tuple[float, float] = MEGAPIXELS) -> int:
    """Write `out`/samples.jsonl and its pictures; returns the number of samples."""
    if count < 1 or not 1 <= megapixels[0] <= megapixels[1] <= 64:
        raise UsageError("photographs are at least one, of 1 to 64 megapixels, the least before the most")
    out.mkdir(parents=True, exist_ok=True)
    samples = make_samples(assets_of(split), count, out / "pictures", megapixels=megapixels)
    return write_samples(out / "samples.jsonl", samples)
