"""What the cold start is taught, step by step: an endless, seeded stream of batches of packs.

Batch n depends on the recipe and n alone, so a resumed run sees what the undisturbed one would have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ergo.backends.processor import Processor
from ergo.chat import Message
from ergo.dialect import Dialect
from ergo.geometry import Box, TokenBudget
from ergo.image import Picture, View
from ergo.train.packing import Conversation, collate, pack
from ergo.world.questions import CATEGORIES, Asked, ask
from ergo.world.scene import Scene, compose, draw
from ergo.world.teacher import say_answer, say_region, snapped

GROUPS = ("region", "look2", "crop", "coarse", "direct", "full")


@dataclass(frozen=True)
class Mix:
    """One batch kind and how often it comes, in a stage of the course.

    pictures: per batch. questions: per picture.
    """

    kind: str
    share: float
    pictures: int
    questions: int


@dataclass(frozen=True)
class Stage:
    """until: last step (exclusive) of this stage."""

    until: int
    mixes: tuple[Mix, ...]


class Lessons(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Index = training step."""

    def __init__(
        self, processor: Processor, dialect: Dialect, stages: tuple[Stage, ...], seed: int, budget: int, full: int
    ) -> None:
        self.processor = processor
        self.dialect = dialect
        self.stages = stages
        self.seed = seed
        self.budget = budget
        self.full = full

    def __len__(self) -> int:
        return self.stages[-1].until

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([5, self.seed, step])
        stage = next(stage for stage in self.stages if step < stage.until)
        shares = np.array([mix.share for mix in stage.mixes])
        mix = stage.mixes[int(rng.choice(len(shares), p=shares / shares.sum()))]
        packs = []
        while len(packs) < mix.pictures:
            conversations = self._picture(rng, mix)
            if conversations:
                packs.append(pack(self.processor, conversations, GROUPS))
        return collate(self.processor, packs)

    def _picture(self, rng: np.random.Generator, mix: Mix) -> list[Conversation]:
        scene = compose(int(rng.integers(1 << 40)), "train")
        picture = draw(scene)
        if mix.kind == "looks":
            return self._looks(rng, scene, picture, mix.questions)
        if mix.kind == "crop":
            return self._crop(rng, scene, picture, mix.questions)
        budget = {"coarse": self.budget, "full": self.full}.get(mix.kind)
        if budget is None:  # direct: anything between the coarse view and the full picture
            budget = round(float(np.exp(rng.uniform(np.log(self.budget), np.log(self.full / 2)))))
        view = View.of(picture, TokenBudget(budget, patch=self.processor.patch))
        asked = self._questions(rng, scene, mix.questions)
        return [self._direct(view, one, mix.kind) for one in asked]

    def _questions(self, rng: np.random.Generator, scene: Scene, count: int) -> list[Asked]:
        asked = []
        for _ in range(4 * count):
            mark = scene.landmarks[int(rng.integers(len(scene.landmarks)))]
            one = ask(scene, rng, CATEGORIES[int(rng.integers(len(CATEGORIES)))], mark)
            if one is not None:
                asked.append(one)
            if len(asked) == count:
                break
        return asked

    def _direct(self, view: View, asked: Asked, group: str) -> Conversation:
        chat = (*self.dialect.ask_direct(view, asked.question, asked.choices), Message("assistant", (say_answer(asked),)))
        return Conversation(chat, (True,), group)

    def _crop(self, rng: np.random.Generator, scene: Scene, picture: Picture, count: int) -> list[Conversation]:
        """A region alone, as the verifier sees it."""
        asked = [one for one in self._questions(rng, scene, 3) if one.category != "coarse"][:1]
        if not asked:
            return []
        box = shaken(rng, asked[0].honest, scene)
        view = View.of(picture, TokenBudget(self.budget, patch=self.processor.patch), box)
        return [self._direct(view, asked[0], "crop")]

    def _looks(self, rng: np.random.Generator, scene: Scene, picture: Picture, count: int) -> list[Conversation]:
        """Regions for `count` questions; the second look for a quarter of them.

        Half of the second looks see a region a little off, which the first look then is not taught.
        """
        budget = TokenBudget(self.budget, patch=self.processor.patch)
        coarse = View.of(picture, budget)
        conversations = []
        for number, asked in enumerate(self._questions(rng, scene, count)):
            first = self.dialect.ask_region(coarse, asked.question)
            box = snapped(asked.honest, coarse)
            if number % 4:
                chat = (*first, Message("assistant", (say_region(asked, coarse, box),)))
                conversations.append(Conversation(chat, (True,), "region"))
                continue
            exact = bool(rng.integers(2))
            if not exact:
                box = snapped(shaken(rng, asked.honest, scene), coarse)
            reply = say_region(asked, coarse, box)
            close = View.of(picture, budget, box)
            chat = (
                *first,
                *self.dialect.ask_answer(reply, close, asked.question, asked.choices),
                Message("assistant", (say_answer(asked),)),
            )
            conversations.append(Conversation(chat, (exact, True), "look2"))
        return conversations


def shaken(rng: np.random.Generator, box: Box, scene: Scene) -> Box:
    """`box` moved and scaled by up to a fifth of its sides, inside the picture."""
    width, height = box.size.width, box.size.height
    dx, dy = rng.uniform(-0.18, 0.18, 2)
    grow = rng.uniform(-0.08, 0.2)
    moved = Box(
        round(box.left + (dx - grow) * width),
        round(box.top + (dy - grow) * height),
        round(box.right + (dx + grow) * width),
        round(box.bottom + (dy + grow) * height),
    )
    return moved.clamped(scene.size) or box
