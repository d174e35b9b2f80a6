"""The cold start: packed conversations are what they are alone, batches depend on their number, a killed run goes on."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ergo.backends import TINY, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.cli.train import train
from ergo.core.geometry import TokenBudget
from ergo.core.view import View
from ergo.families import ERGO_TINY
from ergo.tiny.lessons import GROUPS, Lessons, Mix, Stage
from ergo.tiny.packing import IGNORED, attention, collate, pack, tokens_of
from ergo.tiny.teacher import place, say_answer, say_plates, say_region, snapped, text_of
from ergo.world.questions import CATEGORIES, ask
from ergo.world.scene import Scene, compose, draw

LOOKS = partial(Mix, "looks", 1.0, 1)
KINDS = ("places", "looks", "crop", "direct", "full")


@pytest.fixture(scope="module")
def backend() -> TransformersBackend:
    backend = open_backend("ergo-tiny").backend
    assert isinstance(backend, TransformersBackend)
    return backend


def lessons(backend: TransformersBackend, *mixes: Mix) -> Lessons:
    return Lessons(backend.processor, ERGO_TINY, (Stage(9, mixes),), 3, (40,), 200)


def nothing_known(view: View, scene: Scene) -> np.ndarray:
    return np.full(view.tokens, IGNORED)


def logits_of(backend: TransformersBackend, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        seen = backend.model.model.get_image_features(batch["pixel_values"], batch["image_grid_thw"], return_dict=True)
        out = backend.model(
            input_ids=batch["input_ids"],
            attention_mask=attention(batch["branch"]),
            position_ids=batch["position_ids"],
            mm_encoder_outputs={"image": seen},
        )
    logits: torch.Tensor = out.logits
    return logits


def test_packed_conversations_are_what_they_are_alone(backend: TransformersBackend) -> None:
    scene = compose(5, "train", (0.1, 0.1))
    picture = draw(scene)
    conversations = lessons(backend)._looks(np.random.default_rng(0), scene, picture, LOOKS(4), TokenBudget(40))
    under = partial(nothing_known, scene=scene)
    packed = collate(backend.processor, [pack(backend.processor, conversations, GROUPS, under)])
    together = logits_of(backend, packed)[0]
    for number, conversation in enumerate(conversations, 1):
        alone = collate(backend.processor, [pack(backend.processor, [conversation], GROUPS, under)])
        apart = logits_of(backend, alone)[0]
        branch = apart[alone["branch"][0] == 1]
        assert torch.allclose(branch, together[packed["branch"][0] == number], atol=1e-4)


def test_a_taught_conversation_is_tokenised_as_at_inference(backend: TransformersBackend) -> None:
    scene = compose(6, "train", (0.1, 0.1))
    conversation = lessons(backend)._looks(np.random.default_rng(1), scene, draw(scene), LOOKS(1), TokenBudget(40))[-1]
    first, second = conversation.exchanges
    opening = backend.processor.first(first.asked)
    row = tokens_of(backend.processor, conversation)
    assert tuple(row.ids[: len(opening.ids)]) == opening.ids
    said = [token for token, taught in zip(row.ids, row.taught, strict=True) if taught]
    texts = [text_of(exchange.reply) for exchange in (first, second) if exchange.taught]
    assert backend.processor.tokenizer.decode(said) == "".join(f"{text}<|im_end|>" for text in texts)


def test_a_place_is_said_again_and_read_from_the_first_view(backend: TransformersBackend) -> None:
    scene = compose(6, "train", (0.1, 0.1))
    course = Lessons(backend.processor, ERGO_TINY, (Stage(9, ()),), 3, (40,), 200, repeat_location=True)
    looks = course._looks(np.random.default_rng(1), scene, draw(scene), LOOKS(2, placed=1.0), TokenBudget(40))
    [conversation] = [one for one in looks if len(one.exchanges) == 2]
    first, second = conversation.exchanges
    assert "quarter" in conversation.exchanges[0].asked[-1].text
    repeat_location = text_of(second.reply).split("</think>")[0]
    assert repeat_location in text_of(first.reply), "the same words for the same place"
    row = tokens_of(backend.processor, conversation)
    end = row.ids.index(backend.processor.end_id, row.ids.index(backend.processor.image_id))  # of the first question
    second_reply = len(row.ids) - len(backend.processor.tokenizer(text_of(second.reply))["input_ids"]) - 1
    [quiet] = [one for one in lessons(backend)._looks(np.random.default_rng(1), scene, draw(scene), LOOKS(2, placed=1.0), TokenBudget(40))
               if len(one.exchanges) == 2]  # fmt: skip
    assert "<think>" not in text_of(quiet.exchanges[1].reply), "only where the recipe says so"
    read = [under for place, under in row.look.items() if place >= second_reply]
    assert len(read) == 2, "x and y"
    assert all((under < end).all() for under in read)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_depends_on_its_number_alone(backend: TransformersBackend, kind: str) -> None:
    mix = Mix(kind, 1.0, 1, 3)
    first, repeat_location, other = lessons(backend, mix)[4], lessons(backend, mix)[4], lessons(backend, mix)[5]
    assert all(torch.equal(first[name], repeat_location[name]) for name in first)
    assert not torch.equal(first["pixel_values"][:5], other["pixel_values"][:5])
    assert (first["labels"] != IGNORED).any()


def test_what_is_taught_is_true(backend: TransformersBackend) -> None:
    """The teacher's answers are the scene's, and its regions hold what they are to show."""
    rng = np.random.default_rng(0)
    for seed in range(12):
        scene = compose(seed, "train", (0.1, 0.1))
        view = View.of(draw(scene), TokenBudget(60))
        for category in CATEGORIES:
            asked = ask(scene, rng, category, scene.landmarks[0])
            if asked is None:
                continue
            region = snapped(asked.honest, view)
            close = View.of(view.picture, TokenBudget(60), region)
            read = ERGO_TINY.read_region(text_of(say_region(asked, view, region)), view)
            assert read.reading == "exact"
            assert read.box
            assert read.box.coverage_of(asked.region) > 0.9
            reply = text_of(say_answer(asked, close, view))
            assert ERGO_TINY.read_answer(reply) == (asked.answer, "exact")
            if asked.placed:
                assert text_of(place(asked.marks[0], view)) in reply, "a place in the picture, not in the crop"
        names = {mark.pattern for mark in scene.landmarks} | {pattern for _, pattern in scene.decoys}
        assert set(text_of(say_plates(scene, view)).replace(",", " ").split()) - names <= {
            str(20 * n) for n in range(51)
        }


def test_a_loose_start_is_shown_regions_that_miss_and_reads_where_they_do_not(backend: TransformersBackend) -> None:
    scene = compose(6, "train", (0.1, 0.1))
    picture = draw(scene)

    def first_looks(course: Lessons) -> tuple[set[str], list[bool]]:
        """The regions that are taught where the answer is not, and whether one is where the answer is."""
        told = [
            one
            for seed in range(20)
            for one in course._looks(np.random.default_rng(seed), scene, picture, LOOKS(2), TokenBudget(40))[1:]
        ]
        regions = {text_of(one.exchanges[0].reply).split("</think>")[1] for one in told if len(one.exchanges) == 1}
        return regions, [one.exchanges[0].taught for one in told if len(one.exchanges) == 2]

    box_jitter, beside_an_answer = first_looks(
        Lessons(backend.processor, ERGO_TINY, (Stage(9, ()),), 3, (40,), 200, box_jitter=1.0)
    )
    exact, beside_an_exact_answer = first_looks(lessons(backend))
    assert len(box_jitter) > 1.5 * len(exact)
    assert any(beside_an_exact_answer)
    assert not any(beside_an_answer)


def rows(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_stopped_cold_start_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    recipe = Path(__file__).resolve().parents[2] / "src" / "ergo" / "recipes" / "tiny-sft.toml"
    small = [f"start='{TINY}'", "workers=0", "log_every=1", "save_every=2", "budgets=[40]"]
    course = "stage=[{until=%d, mix=[{kind='looks', share=1.0, pictures=1, questions=2}]}]"
    train(recipe, tmp_path / "whole", [*small, course % 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "ergo.tiny.cold_start._batches", lambda lessons, first, workers: (lessons[n] for n in range(first, 2))
        )
        train(recipe, tmp_path / "parts", [*small, course % 4])
    train(recipe, tmp_path / "parts", [*small, course % 4])
    whole, parts = rows(tmp_path / "whole"), rows(tmp_path / "parts")
    assert [row["step"] for row in parts] == [1, 2, 3, 4]
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
