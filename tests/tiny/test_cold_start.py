"""The cold start: packed conversations are what they are alone, batches depend on their number, a killed run goes on."""

from __future__ import annotations

import doctest
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from ergo.backends import TINY, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.cli.train import train
from ergo.core.flows import LookConfig, Question, as_needed
from ergo.core.geometry import TokenBudget
from ergo.core.messages import Completion
from ergo.core.view import View
from ergo.families import ERGO_TINY
from ergo.recipes import find, read_recipe
from ergo.tiny import cold_start
from ergo.tiny.cold_start import learn, schedule
from ergo.tiny.lessons import GROUPS, Lessons, Mix, Stage
from ergo.tiny.losses import Accuracy, coordinate_tokens, smoothed_targets
from ergo.tiny.packing import IGNORED, attention, collate, pack, tokens_of
from ergo.tiny.recipe import sft_recipe
from ergo.tiny.teacher import GRID, place, say_answer, say_plates, say_region, snapped, text_of
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
    opening = backend.processor.first(first.prompt)
    row = tokens_of(backend.processor, conversation)
    assert tuple(row.ids[: len(opening.ids)]) == opening.ids
    taught_ids = [token for token, taught in zip(row.ids, row.taught, strict=True) if taught]
    texts = [text_of(exchange.reply) for exchange in (first, second) if exchange.taught]
    assert backend.processor.tokenizer.decode(taught_ids) == "".join(f"{text}<|im_end|>" for text in texts)


def test_a_place_is_repeated_and_read_from_the_first_view(backend: TransformersBackend) -> None:
    scene = compose(6, "train", (0.1, 0.1))
    course = Lessons(backend.processor, ERGO_TINY, (Stage(9, ()),), 3, (40,), 200, repeat_location=True)
    looks = course._looks(np.random.default_rng(1), scene, draw(scene), LOOKS(2, placed=1.0), TokenBudget(40))
    [conversation] = [one for one in looks if len(one.exchanges) == 2]
    first, second = conversation.exchanges
    assert "quarter" in conversation.exchanges[0].prompt[-1].text
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
    first, repeated, other = lessons(backend, mix)[4], lessons(backend, mix)[4], lessons(backend, mix)[5]
    assert all(torch.equal(first[name], repeated[name]) for name in first)
    assert not torch.equal(first["pixel_values"][:5], other["pixel_values"][:5])
    assert (first["labels"] != IGNORED).any()


def test_what_is_taught_is_true(backend: TransformersBackend) -> None:
    """The teacher's answers are the scene's, and its regions hold what they are to show."""
    rng = np.random.default_rng(0)
    for seed in range(12):
        scene = compose(seed, "train", (0.1, 0.1))
        view = View.of(draw(scene), TokenBudget(60))
        for category in CATEGORIES:
            posed = ask(scene, rng, category, scene.landmarks[0])
            if posed is None:
                continue
            region = snapped(posed.honest, view)
            close = View.of(view.picture, TokenBudget(60), region)
            read = ERGO_TINY.read_region(text_of(say_region(posed, view, region)), view)
            assert read.reading == "exact"
            assert read.box
            assert read.box.coverage_of(posed.region) > 0.9
            reply = text_of(say_answer(posed, close, view))
            assert ERGO_TINY.read_answer(reply) == (posed.answer, "exact")
            if posed.placed:
                assert text_of(place(posed.marks[0], view)) in reply, "a place in the picture, not in the crop"
        names = {mark.pattern for mark in scene.landmarks} | {pattern for _, pattern in scene.decoys}
        assert set(text_of(say_plates(scene, view)).replace(",", " ").split()) - names <= {
            str(20 * n) for n in range(51)
        }


def test_jittered_regions_miss_and_reading_is_taught_where_they_do_not(backend: TransformersBackend) -> None:
    scene = compose(6, "train", (0.1, 0.1))
    picture = draw(scene)

    def first_looks(course: Lessons) -> tuple[set[str], list[bool]]:
        """The regions that are taught where the answer is not, and whether one is where the answer is."""
        taught = [
            one
            for seed in range(20)
            for one in course._looks(np.random.default_rng(seed), scene, picture, LOOKS(2), TokenBudget(40))[1:]
        ]
        regions = {text_of(one.exchanges[0].reply).split("</think>")[1] for one in taught if len(one.exchanges) == 1}
        return regions, [one.exchanges[0].taught for one in taught if len(one.exchanges) == 2]

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


def test_the_examples_hold() -> None:
    assert doctest.testmod(cold_start).attempted > 0
    assert doctest.testmod(cold_start).failed == 0


def one_step(backend: TransformersBackend, *changes: str) -> tuple[Any, dict[str, float]]:
    """The model with the gradients of one batch, and what was measured."""
    recipe = sft_recipe(read_recipe(find("tiny-sft"), [f"start='{TINY}'", "budgets=[40]", *changes]))
    model = AutoModelForImageTextToText.from_pretrained(TINY).float().train()
    batch = lessons(backend, Mix("looks", 1.0, 1, 2))[0]
    targets = smoothed_targets(backend.processor.tokenizer, recipe.label_smoothing)
    accuracy = Accuracy(backend.processor.tokenizer)
    learn(model, (), batch, targets, accuracy, recipe)
    return model, accuracy.summary()


def norm_of(model: Any) -> float:
    return float(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]).norm())


def test_gradients_are_clipped_at_the_recipe_s_norm(backend: TransformersBackend) -> None:
    clipped, measured = one_step(backend, "clip=0.25")
    free, also = one_step(backend, "clip=1e9")
    assert measured["gradient_norm"] == also["gradient_norm"] > 0.5, "the norm before it was clipped"
    assert norm_of(clipped) == pytest.approx(0.25, rel=1e-3)
    assert norm_of(free) == pytest.approx(also["gradient_norm"], rel=1e-3)


def test_each_loss_has_its_weight(backend: TransformersBackend) -> None:
    """Gradients of the sum are the sums of gradients; measured with one part switched on at a time."""

    def gradient(*changes: str) -> torch.Tensor:
        model, _ = one_step(backend, "clip=1e9", *changes)
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    alone = gradient("attention_weight=0.0", "patch_label_weight=0.0")
    attending = gradient("attention_weight=0.5", "patch_label_weight=0.0") - alone
    twice = gradient("attention_weight=1.0", "patch_label_weight=0.0") - alone
    labelling = gradient("attention_weight=0.0", "patch_label_weight=0.5") - alone
    both = gradient("attention_weight=0.5", "patch_label_weight=0.5") - alone
    assert attending.norm() > 0.01 * alone.norm()
    assert labelling.norm() > 0.01 * alone.norm()
    assert torch.allclose(twice, 2 * attending, atol=1e-3 * float(twice.norm()))
    assert torch.allclose(both, attending + labelling, atol=1e-3 * float(both.norm()))


def test_rates_rise_over_the_warm_up_and_are_those_of_the_recipe(tmp_path: Path) -> None:
    course = "stage=[{until=8, mix=[{kind='places', share=1.0, pictures=1, questions=0}]}]"
    small = [f"start='{TINY}'", "workers=0", "log_every=1", "save_every=9", "budgets=[40]", course, "warmup=4"]
    train(find("tiny-sft"), tmp_path, small)
    rates = [row["rate"] for row in rows(tmp_path)]
    assert rates == pytest.approx([schedule(step, 4, 8) for step in range(8)], abs=1e-4)
    assert rates[0] < rates[1] < rates[2] > rates[-1]
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    muon, adam = (group["param_groups"] for group in state["optimisers"])
    highest = [group["highest"] for group in (*muon, *adam)]
    assert highest == pytest.approx([2e-3, 1e-3, 0.03e-3]), "matrices, the rest, the patch embedding"
    assert [group["lr"] for group in (*muon, *adam)] == pytest.approx([rates[-1] * one for one in highest], rel=1e-3)


def test_near_is_one_step_of_the_grid_and_no_more(backend: TransformersBackend) -> None:
    tokenizer = backend.processor.tokenizer
    token = {value: token for token, (spaced, value) in coordinate_tokens(tokenizer).items() if spaced}
    accuracy = Accuracy(tokenizer)
    labels = torch.tensor([token[500]] * 4)
    predicted = torch.tensor([token[500], token[500 + GRID], token[500 - GRID], token[500 + 2 * GRID]])
    logits = torch.nn.functional.one_hot(predicted, len(tokenizer)).float()
    accuracy.add(logits, labels, torch.zeros(4, dtype=torch.long), loss=1.0)
    accuracy.add(logits[:1], labels[:1], torch.zeros(1, dtype=torch.long), loss=2.0)
    assert accuracy.summary() == {f"near_{GROUPS[0]}": pytest.approx((0.75 + 1) / 2), "loss": 1.5}
    assert accuracy.summary() == {}


def test_a_coordinate_s_target_is_spread_over_its_neighbours_and_a_word_s_is_not(backend: TransformersBackend) -> None:
    tokenizer = backend.processor.tokenizer
    coordinates = coordinate_tokens(tokenizer)
    token = {value: token for token, (spaced, value) in coordinates.items() if spaced}
    table = smoothed_targets(tokenizer, 25.0)
    assert torch.allclose(table.sum(1), torch.ones(len(tokenizer)))
    row = table[token[500]]
    assert row.argmax() == token[500]
    assert row[token[520]] == row[token[480]]
    assert row[token[520]] / row[token[500]] == pytest.approx(math.exp(-((20 / 25) ** 2) / 2))
    unspaced = [other for other, (spaced, _) in coordinates.items() if not spaced]
    assert not row[unspaced].any(), "another token than the one that stands after a space"
    word = tokenizer.convert_tokens_to_ids("Ġred")
    assert table[word, word] == 1
    assert torch.equal(smoothed_targets(tokenizer, 0.0), torch.eye(len(tokenizer)))


def test_looks_as_needed_are_taught_in_both_forms_whatever_is_asked(backend: TransformersBackend) -> None:
    """Each conversation is asked as the flow asks, and its answer at the first look is read as an answer."""
    mix = Mix("as_needed", 1.0, 1, 8, early=0.5)
    course, config = lessons(backend), LookConfig(ERGO_TINY, TokenBudget(40), TokenBudget(40), max_looks=2)
    early: set[str] = set()
    looked: set[str] = set()
    for seed in range(12):
        scene = compose(seed, "train", (0.1, 0.1))
        picture, rng = draw(scene), np.random.default_rng(seed)
        posed = {one.question: one for one in (ask(scene, np.random.default_rng(n), c, mark) for n in range(60)
                 for c in CATEGORIES for mark in scene.landmarks) if one}  # fmt: skip
        for conversation in course._looks(rng, scene, picture, mix, TokenBudget(40))[1:]:
            replies = [text_of(exchange.reply) for exchange in conversation.exchanges]
            question = conversation.exchanges[0].prompt[-1].text.removesuffix(" Where?")
            (early if conversation.group == "early" else looked).add(posed[question].category)
            first = ERGO_TINY.read(replies[0], View.of(picture, TokenBudget(40)))
            assert first.is_answer == (conversation.group == "early")
            flow = as_needed(picture, Question(question, posed[question].choices), config)
            assert next(flow).chat[-1].text == conversation.exchanges[0].prompt[-1].text
            if first.is_answer:
                assert first.answer == posed[question].answer
                continue
            again = flow.send(Completion(replies[0])).chat[-1]
            taught = conversation.exchanges[-1].prompt[-1] if len(replies) == 2 else again
            assert [again.text.split("\n")[0], len(again.views)] == [taught.text.split("\n")[0], len(taught.views)]
            assert "(A)" in again.text
    assert early == looked == set(CATEGORIES), "when to answer early is not what is taught"
