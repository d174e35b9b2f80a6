"""What the cold start is taught, step by step: an endless, seeded stream of batches of packs.

Batch n depends on the recipe and n alone, so a resumed run sees what the undisturbed one would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from ergo.backends.transformers.processor import Processor
from ergo.core.flows import Question
from ergo.core.geometry import Box, TokenBudget
from ergo.core.view import View
from ergo.families.base import ModelFamily
from ergo.images.picture import Picture
from ergo.tiny.packing import IGNORED, Conversation, Exchange, collate, pack, tokens_in
from ergo.tiny.teacher import (
    LabelledReply,
    say_answer,
    say_early,
    say_patterns,
    say_places,
    say_plates,
    say_region,
    snapped,
)
from ergo.world.questions import CATEGORIES, PosedQuestion, ask
from ergo.world.scene import PLATE, Scene, compose, draw

SMALL = (0.075, 0.085)
"""Megapixels of the scenes that teach places only: drawn in a tenth of the time, alike in the coarse view."""

GROUPS = ("region", "look2", "crop", "coarse", "direct", "full", "early")


@dataclass(frozen=True)
class Mix:
    """One batch kind and how often it comes, in a stage of the course.

    pictures: per batch. questions: per picture. placed: share of questions drawn anew until they ask for a place in the picture.
    early: of the kind `as_needed`, share of questions answered at the first look, whatever they ask.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}  # read from a recipe

    kind: Literal["places", "crop", "looks", "as_needed", "direct", "full"]
    share: float
    pictures: int
    questions: int
    placed: float = 0.0
    early: float = 0.0


@dataclass(frozen=True)
class Stage:
    """until: last step (exclusive) of this stage."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    until: int
    mix: tuple[Mix, ...]


class Lessons(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Index = training step."""

    def __init__(
        self,
        processor: Processor,
        family: ModelFamily,
        stages: tuple[Stage, ...],
        seed: int,
        budgets: tuple[int, ...],
        full: int,
        box_jitter: float = 0.0,
        repeat_location: bool = False,
    ) -> None:
        self.processor = processor
        self.family = family
        self.stages = stages
        self.seed = seed
        self.budgets = budgets
        self.full = full
        self.box_jitter = box_jitter
        self.repeat_location = repeat_location

    def __len__(self) -> int:
        return self.stages[-1].until

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng([5, self.seed, step])
        stage = next(stage for stage in self.stages if step < stage.until)
        mix = _chosen(rng, stage.mix)
        budget = self.budgets[int(rng.integers(len(self.budgets)))]
        packs = []
        for _ in range(mix.pictures):
            seed = int(rng.integers(1 << 40))
            scene = compose(seed, "train", SMALL, (1, 6)) if mix.kind == "places" else compose(seed, "train")
            for conversations in self._about(rng, scene, draw(scene), mix, budget):
                packs.append(pack(self.processor, conversations, GROUPS, partial(self._under, scene=scene)))
        return collate(self.processor, packs)

    def _about(
        self, rng: np.random.Generator, scene: Scene, picture: Picture, mix: Mix, budget: int
    ) -> list[list[Conversation]]:
        """Packs about one picture. budget: vision tokens of a coarse or close view."""
        look = TokenBudget(budget, patch=self.processor.patch)
        if mix.kind == "places":
            view = View.of(picture, look)
            return [[self._lesson(view, "What is where?", say_places(scene, view), "region")]]
        if mix.kind == "crop":
            return self._crops(rng, scene, picture, mix, look)
        if mix.kind in ("looks", "as_needed"):
            return [self._looks(rng, scene, picture, mix, look)]
        if mix.kind == "full":
            budget = self.full
        elif mix.kind == "direct":  # anything between the coarse view and the full picture
            budget = round(float(np.exp(rng.uniform(np.log(budget), np.log(self.full / 2)))))
        view = View.of(picture, TokenBudget(budget, patch=self.processor.patch))
        questions = self._questions(rng, scene, mix)
        listed = self._lesson(view, "What is on each?", say_patterns(scene), mix.kind)
        return [[listed, *(self._direct(view, one, mix.kind) for one in questions)]]

    def _questions(self, rng: np.random.Generator, scene: Scene, mix: Mix) -> list[PosedQuestion]:
        questions: list[PosedQuestion] = []
        for _ in range(4 * mix.questions):
            mark = scene.landmarks[int(rng.integers(len(scene.landmarks)))]
            place = bool(mix.placed) and rng.random() < mix.placed
            one = ask(scene, rng, "coarse" if place else CATEGORIES[int(rng.integers(len(CATEGORIES)))], mark)
            if one is not None and (one.placed or not place):
                questions.append(one)
            if len(questions) == mix.questions:
                break
        return questions

    def _direct(self, view: View, posed: PosedQuestion, group: str) -> Conversation:
        chat = self.family.ask_direct(view, posed.question, posed.choices)
        return Conversation(
            (Exchange(chat, say_answer(posed, view, view if self.repeat_location else None)),), group, group == "crop"
        )

    def _under(self, view: View, scene: Scene) -> np.ndarray:
        """The word for what lies under each vision token [tokens]: a landmark's colour, a plate's
        pattern where tokens are fine enough to show it, and the padding word for bare ground."""
        token_width = view.box.size.width / (view.size.width // view.patch)
        token_height = view.box.size.height / (view.size.height // view.patch)
        labels = np.full(view.tokens, self.processor.tokenizer.pad_token_id)
        readable = max(token_width, token_height) < 1.3 * PLATE * scene.unit
        for mark in scene.landmarks:
            labels[tokens_in(view, (mark.box,))] = self._word(mark.colour)
        for box, pattern in [*((mark.plate, mark.pattern) for mark in scene.landmarks), *scene.decoys]:
            labels[tokens_in(view, (box,))] = self._word(pattern) if readable else IGNORED
        return labels

    def _word(self, word: str) -> int:
        return int(self.processor.tokenizer.convert_tokens_to_ids("Ġ" + word))

    def _lesson(self, view: View, question: str, reply: LabelledReply, group: str) -> Conversation:
        chat = self.family.ask_direct(view, question, ())
        return Conversation((Exchange(chat, reply),), group, group not in ("direct", "full"))

    def _crops(
        self, rng: np.random.Generator, scene: Scene, picture: Picture, mix: Mix, look: TokenBudget
    ) -> list[list[Conversation]]:
        """Regions alone, each a pack of its own, as the verifier sees them."""
        packs = []
        for posed in self._questions(rng, scene, mix):
            if posed.placed:  # a crop does not tell where in the picture it lies
                continue
            view = View.of(picture, look, shaken(rng, posed.honest, scene))
            listed = self._lesson(view, "Which plates are here?", say_plates(scene, view), "crop")
            packs.append([listed, self._direct(view, posed, "crop")])
        return packs

    def _looks(
        self, rng: np.random.Generator, scene: Scene, picture: Picture, mix: Mix, look: TokenBudget
    ) -> list[Conversation]:
        """Regions for the mix's questions; the second look for every other one.

        Half of the second looks see a region a little off, which the first look then is not taught; where taught
        regions are jittered, all of them do, so that reading is learnt from what can be read.
        One more conversation lists all landmarks: dense, and so it teaches places soonest. Where looks are taken as
        needed, some questions are answered at the first.
        """
        family, as_needed = self.family, mix.kind == "as_needed"
        coarse = View.of(picture, look)
        conversations = [self._lesson(coarse, "What is where?", say_places(scene, coarse), "region")]
        for number, posed in enumerate(self._questions(rng, scene, mix)):
            first = (
                family.ask_look(coarse, posed.question, posed.choices)
                if as_needed
                else family.ask_region(coarse, posed.question)
            )
            if as_needed and rng.random() < mix.early:
                conversations.append(Conversation((Exchange(first, say_early(posed, coarse)),), "early"))
                continue
            box = snapped(posed.honest, coarse)
            closely = number % 2 == 0
            exact = not closely or (bool(rng.integers(2)) and not self.box_jitter)
            if not exact:
                box = snapped(shaken(rng, posed.honest, scene), coarse)
            elif self.box_jitter:
                box = snapped(shaken(rng, posed.honest, scene, self.box_jitter), coarse)
            looks = [Exchange(first, say_region(posed, coarse, box), taught=exact)]
            if closely:
                close = View.of(picture, look, box)
                _, second = (
                    family.ask_again("", (close,), Question(posed.question, posed.choices), 0)
                    if as_needed
                    else family.ask_answer("", close, posed.question, posed.choices)
                )
                looks.append(Exchange((second,), say_answer(posed, close, coarse if self.repeat_location else None)))
            conversations.append(Conversation(tuple(looks), "look2" if closely else "region"))
        return conversations


def _chosen(rng: np.random.Generator, mixes: tuple[Mix, ...]) -> Mix:
    if len(mixes) == 1:
        return mixes[0]
    shares = np.array([mix.share for mix in mixes])
    return mixes[int(rng.choice(len(shares), p=shares / shares.sum()))]


def shaken(rng: np.random.Generator, box: Box, scene: Scene, shift: float = 0.18) -> Box:
    """`box` moved by up to `shift` of its sides and scaled by up to a fifth, inside the picture."""
    width, height = box.size.width, box.size.height
    dx, dy = rng.uniform(-shift, shift, 2)
    grow = rng.uniform(-0.08, 0.2)
    moved = Box(
        round(box.left + (dx - grow) * width),
        round(box.top + (dy - grow) * height),
        round(box.right + (dx + grow) * width),
        round(box.bottom + (dy + grow) * height),
    )
    return moved.clamped(scene.size) or box
