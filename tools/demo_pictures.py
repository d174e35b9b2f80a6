"""The pictures of `ergo demo`: photographs of the test split that the bundled model reads with two looks, not with one.

    python -m ergo.photo_world.assets       # once
    python tools/demo_pictures.py src/ergo/demo

For each kind of question scenes are composed one after the other, on photographs under CC-BY or CC0 that no training
saw, and the first is taken that two looks answer and one look at the same tokens does not. How many were tried is
printed and stands in samples.jsonl: these pictures show what the model can do, not how often it does it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import ergo
from ergo.core.geometry import Box
from ergo.images.picture import Picture
from ergo.photo_world.assets import Assets, cache_folder, split_of
from ergo.photo_world.bundle import AUTHORS
from ergo.photo_world.paint import paint
from ergo.photo_world.questions import READ_BY_TEXT, pose, questioned_things
from ergo.photo_world.scene import compose
from ergo.photo_world.texts import TextKind
from ergo.samples.sample import Sample, write_samples

WANTED: tuple[tuple[TextKind, str], ...] = (
    ("plate", "read"),
    ("price", "read"),
    ("name", "choice"),
)  # the text, and how it is asked about; file names
MEGAPIXELS = (8.0, 9.0)
FIRST = 5_000_000  # seeds that no evaluation uses
UNSEEN = [name for name in AUTHORS if split_of(name) != "train"]


def scenes(assets: Assets, text: TextKind, category: str) -> Iterator[Sample]:
    """Scenes with a question of the kind wanted, painted."""
    for seed in itertools.count(FIRST):
        scene = compose(seed, assets, MEGAPIXELS)
        thing = questioned_things(scene)[0]
        if thing.sign is None or thing.sign.text_kind != text:
            continue
        posed = pose(scene, np.random.default_rng(seed), category, thing)
        if posed is not None:
            picture = Picture(paint(scene, assets, Box.whole(scene.size), scene.size), f"{text}.jpg")
            info = {"seed": seed, "photograph": assets.ground_names[scene.ground]}
            plain = READ_BY_TEXT[text][0].format(kind=thing.kind) if category == "read" else posed.question
            yield Sample(text, picture, plain, posed.answer, posed.choices, posed.region, category, info)


def main() -> None:
    """Write the pictures, their samples and their licences into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="ergo-photo")
    chosen = parser.parse_args()
    assets, model = Assets("test"), ergo.open_backend(chosen.model)
    assets.ground_names = UNSEEN
    assets.grounds = [np.load(cache_folder() / "grounds" / f"{name}.npy", mmap_mode="r") for name in UNSEEN]
    found: list[Sample] = []
    for text, category in WANTED:
        right = tried = 0
        for number, sample in enumerate(scenes(assets, text, category), 1):
            tried = number
            assert isinstance(sample.image, Picture)
            file = chosen.out / f"{text}.jpg"
            sample.image.pixels.save(file, quality=88)
            two, one = (
                ergo.ask(file, sample.question, sample.choices, model=model, flow=flow, budget=budget)
                for flow, budget in (("coarse_to_fine", None), ("one_look", 2 * model.family.budget))
            )
            right += is_right(two, sample)
            if is_right(two, sample) and not is_right(one, sample):
                break
        print(f"{file.name}: {sample.question} {sample.answer}; scene {tried}, of which two looks answered {right}")
        found.append(
            replace(sample, image=file.name, info=sample.info | {"scenes_tried": tried, "of_them_right": right})
        )
    write_samples(chosen.out / "samples.jsonl", found)
    licences = {
        str(sample.image): {
            "author": AUTHORS[sample.info["photograph"]][0],
            "licence": AUTHORS[sample.info["photograph"]][1],
            "changes": "cut and resized; things of Noto Color Emoji (Google Inc., OFL-1.1) and texts painted on it",
        }
        for sample in found
    }
    (chosen.out / "LICENCES.json").write_text(json.dumps(licences, indent=1) + "\n", "utf-8")


def is_right(result: ergo.Result, sample: Sample) -> bool:
    """Whether the answer is the truth, but for case."""
    return result.answer is not None and result.answer.text.strip().upper() == sample.answer.upper()


if __name__ == "__main__":
    main()
