"""The reader's training: the stock class's numbers, the product's own tokens, and a run that can be stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ergo.backends.transformers.backend import TransformersBackend  # noqa: E402
from ergo.backends.transformers.processor import Normalisation, Processor  # noqa: E402
from ergo.core.flows import LookConfig, Question, coarse_to_fine, one_look  # noqa: E402
from ergo.core.geometry import Box  # noqa: E402
from ergo.core.messages import Completion, Sampling  # noqa: E402
from ergo.core.runner import drive  # noqa: E402
from ergo.core.view import View  # noqa: E402
from ergo.families.ergo_photo import FAMILY  # noqa: E402
from ergo.images.decode import load_image  # noqa: E402
from ergo.images.picture import Picture  # noqa: E402
from ergo.photo_world import found  # noqa: E402
from ergo.photo_world.assets import Assets  # noqa: E402
from ergo.photo_world.dataset import make_samples  # noqa: E402
from ergo.photo_world.evaluate import _png as png  # noqa: E402
from ergo.photo_world.evaluate import error_rate, jobs, measure, report  # noqa: E402
from ergo.photo_world.kinds import KINDS  # noqa: E402
from ergo.photo_world.learner import ATTENTION_LAYER, Learner, load_start, save_heads, words_of_labels  # noqa: E402
from ergo.photo_world.lessons import (  # noqa: E402
    CLOSE,
    COARSE,
    GROUPS,
    Mix,
    empty_lesson,
    find,
    make_talks,
    scene_lesson,
    shaken,
    words_lesson,
)
from ergo.photo_world.model import GRID, make_config, make_model, make_tokenizer, save  # noqa: E402
from ergo.photo_world.pages import LABELS, PATCH, STICKER, THING, Crop, make_word  # noqa: E402
from ergo.photo_world.paint import paint  # noqa: E402
from ergo.photo_world.place_heads import start_place_heads  # noqa: E402
from ergo.photo_world.questions import CATEGORIES, all_words, kinds_questioned_in, region_of  # noqa: E402
from ergo.photo_world.rows import HEADS, IGNORED, PLACE_HEADS, Rows  # noqa: E402
from ergo.photo_world.scene import compose  # noqa: E402
from ergo.photo_world.texts import CANNOT_TELL  # noqa: E402
from ergo.photo_world.tower import in_tower_order, merge, patches_of, see  # noqa: E402
from ergo.photo_world.training import Optimisers, load_state, save_state  # noqa: E402
from ergo.traces.run import run  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer(all_words())


def as_picture(pixels: np.ndarray) -> Picture:
    return load_image(png(pixels))


def small_model(tokenizer: Any, seed: int = 0) -> Any:
    torch.manual_seed(9)
    return make_model(make_config(tokenizer, 96, 2, 2, 6), tokenizer, torch.randn(400, 3 * PATCH * PATCH), seed)


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> Any:
    return small_model(tokenizer)


def test_the_batched_tower_is_the_stock_tower(model: Any, train_assets: Assets) -> None:
    crops = [make_word(np.random.default_rng(n), train_assets, (252, 112), 1.0) for n in range(3)]
    patches = patches_of(np.stack([crop.pixels for crop in crops]), PATCH)
    with torch.no_grad():
        hidden = see(model.model.visual, patches, 8, 18)
        stock = model.model.visual(patches.flatten(0, 1), torch.tensor([[1, 8, 18]] * 3))
    assert torch.allclose(hidden.flatten(0, 1), stock.last_hidden_state, atol=1e-4)
    assert torch.allclose(merge(model.model.visual, hidden).flatten(0, 1), stock.pooler_output, atol=1e-4)


def test_patches_and_labels_stand_in_the_order_of_the_products_processor(tokenizer: Any) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1, 84, 112, 3), dtype=np.uint8)
    processor = Processor(tokenizer, PATCH, 2, 1, Normalisation((0.5,) * 3, (0.25,) * 3))
    view = View.of(as_picture(pixels[0]), COARSE)
    values, grid = processor.pixels([view])
    assert grid.tolist() == [[1, 6, 8]]
    assert torch.allclose(patches_of(pixels, PATCH)[0], values, atol=1e-5)
    numbered = np.arange(6 * 8).reshape(1, 6, 8)
    assert in_tower_order(numbered)[0, :4].tolist() == [0, 1, 8, 9]


def test_rows_hold_the_tokens_that_the_product_asks_with(tokenizer: Any, test_assets: Assets) -> None:
    """What is trained on is, token for token, the conversation that coarse_to_fine has."""
    scene = compose(0, test_assets, (2.0, 2.1))
    rng = np.random.default_rng(4)
    talks = scene_lesson(rng, test_assets, scene, 0.0, 6, close=True)
    talk = next(talk for talk in talks if len(talk) == 2 and talk[0].taught and "<zoom>" in talk[0].reply[-1].text)
    row = Rows(tokenizer, GROUPS).row([talk])
    processor = Processor(tokenizer, PATCH, 2, 1, Normalisation((0.5,) * 3, (0.25,) * 3))
    picture = as_picture(np.asarray(paint(scene, test_assets, Box.whole(scene.size), scene.size)))
    replies = ["".join(piece.text for piece in turn.reply) for turn in talk]
    question, *options = talk[1].question.split("\n")
    choices = tuple(option.split(") ", 1)[1] for option in options)
    flow = coarse_to_fine(picture, Question(question, choices), LookConfig(FAMILY, COARSE, CLOSE))
    first = next(flow)
    ids = list(processor.first(first.chat).ids)
    ids += tokenizer(replies[0], add_special_tokens=False)["input_ids"]
    second = flow.send(Completion(replies[0]))
    ids = list(processor.continued(ids, first.views, second.chat).ids)
    ids += [*tokenizer(replies[1], add_special_tokens=False)["input_ids"], processor.end_id]
    assert row.ids.tolist() == ids


def test_only_replies_are_taught_and_every_character_is_read_from_where_it_stands(
    tokenizer: Any, train_assets: Assets
) -> None:
    rows = Rows(tokenizer, GROUPS)
    for [talk] in words_lesson(np.random.default_rng(0), train_assets, 0.3, 8):
        row = rows.row([talk])
        taught = row.labels[row.labels != IGNORED]
        text = "".join(piece.text for piece in talk[0].reply)
        assert tokenizer.decode(taught) == text + "<|im_end|>"
        crop: Crop = talk[0].shown
        columns = crop.codes.shape[1] // 2
        centres = [
            np.mean((np.asarray(at) - row.slots[0]) % columns)
            for _, at in sorted((place, at) for place, head, at in row.hints if head == 0)
        ]
        assert len(centres) >= len(crop.text) - 2
        assert centres == sorted(centres)


def test_branches_of_a_row_do_not_see_each_other(model: Any, tokenizer: Any, train_assets: Assets) -> None:
    """The logits of a conversation in a row are those of the conversation alone."""
    from ergo.photo_world.learner import collate
    from ergo.tiny.packing import attention

    talks = make_talks(train_assets, Mix(0, 1, 0), 3, 0)[0][:3]
    learner = Learner(model, tokenizer)
    hidden = []
    for chosen in (talks, talks[2:]):
        row = learner.rows.row(chosen)
        tokens, _ = learner._see(row.shown, {})
        ids, _, branch, _, positions = collate([row], tokenizer.pad_token_id)
        language = model.model.language_model
        embedded = language.embed_tokens(ids)
        embedded[0, row.slots] = torch.cat(tokens)
        with torch.no_grad():
            out = language(
                inputs_embeds=embedded, attention_mask=attention(branch), position_ids=positions
            ).last_hidden_state
        hidden.append(out[0, row.branch == row.branch.max()])
    assert torch.allclose(hidden[0], hidden[1], atol=1e-4)


def test_a_run_that_was_stopped_is_the_run_that_was_not(tokenizer: Any, train_assets: Assets, tmp_path: Path) -> None:
    def steps(learner: Learner, optimisers: Optimisers, first: int, last: int) -> float:
        for step in range(first, last):
            rows = [
                learner.rows.row(talks) for talks in words_lesson(np.random.default_rng(step), train_assets, 0.5, 3)
            ]
            loss, _ = learner.loss(rows, 0.3, 0.5)
            optimisers.step(loss, 0.5)
        return float(loss.detach())

    through = Learner(small_model(tokenizer), tokenizer)
    torch.manual_seed(1)
    whole = steps(through, Optimisers(through.named_parameters(), 1e-3, 3e-3), 0, 1)
    start = Learner(small_model(tokenizer), tokenizer)
    for module, other in zip(start.modules, through.modules, strict=True):
        module.load_state_dict(other.state_dict())
    optimisers = Optimisers(start.named_parameters(), 1e-3, 3e-3)
    steps(start, optimisers, 1, 2)
    save_state(tmp_path / "state.pt", 2, start.modules, optimisers)
    expected = steps(start, optimisers, 2, 4)
    again = Learner(small_model(tokenizer, seed=5), tokenizer)
    fresh = Optimisers(again.named_parameters(), 1e-3, 3e-3)
    assert load_state(tmp_path / "state.pt", again.modules, fresh) == 2
    assert steps(again, fresh, 2, 4) == pytest.approx(expected, rel=1e-5)
    assert expected < whole


def test_a_saved_reader_answers_through_the_product(
    model: Any, tokenizer: Any, test_assets: Assets, tmp_path: Path
) -> None:
    """It loads without code of ours, and whatever it says ends."""
    save(tmp_path, model, tokenizer)
    backend = TransformersBackend.open(str(tmp_path))
    assert backend.family is FAMILY
    scene = compose(0, test_assets, (1.0, 1.1))
    picture = as_picture(np.asarray(paint(scene, test_assets, Box.whole(scene.size), scene.size)))
    config = LookConfig(FAMILY, COARSE, CLOSE, Sampling(max_tokens=12))
    trace = drive((None, lambda: coarse_to_fine(picture, Question("What is the cat called?"), config)), backend)
    assert trace.answer is not None
    assert trace.vision_tokens <= COARSE.max_tokens + CLOSE.max_tokens
    assert CANNOT_TELL in tokenizer.get_vocab()


def test_a_reply_to_options_is_one_of_them(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    """Also from weights that have learnt nothing, whether an option is a token or is spelt; or it cannot tell."""
    save(tmp_path, model, tokenizer)
    backend = TransformersBackend.open(str(tmp_path))
    picture = as_picture(np.random.default_rng(0).integers(0, 255, (280, 280, 3), dtype=np.uint8))
    config = LookConfig(FAMILY, COARSE, CLOSE, Sampling(max_tokens=24))
    for options in (("$1.5", "AB-12", "AB-17"), ("red", "blue"), ("left", "Anna's café")):
        question = Question("Which of these is it?", options)
        trace = drive((None, lambda asked=question: one_look(picture, asked, config)), backend)  # type: ignore[misc]
        assert trace.answer
        said = trace.answer.text.strip().upper()
        assert said in {"CANNOT TELL", *(option.upper() for option in options)}
    free = drive((None, lambda: one_look(picture, Question("What is it?"), config)), backend)
    assert free.answer
    assert free.answer.text.strip().upper() not in {"CANNOT TELL", "RED"}


def test_an_exported_run_is_where_another_starts(tokenizer: Any, tmp_path: Path) -> None:
    """In half precision, heads included."""
    kept = Learner(small_model(tokenizer, seed=1), tokenizer)
    save(tmp_path, kept.model.half(), tokenizer)
    save_heads(kept, tmp_path)
    other = Learner(small_model(tokenizer, seed=2), tokenizer)
    load_start(other, tmp_path)
    for mine, theirs in zip(kept.modules, other.modules, strict=True):
        for name, weight in mine.state_dict().items():
            assert torch.allclose(weight.float(), theirs.state_dict()[name].float(), atol=1e-3), name


def test_an_evaluation_asks_every_sample_in_every_way_and_keeps_what_was_said(
    model: Any, tokenizer: Any, test_assets: Assets, tmp_path: Path
) -> None:
    save(tmp_path / "model", model, tokenizer)
    backend = TransformersBackend.open(str(tmp_path / "model"))
    samples = [
        replace(sample, image=tmp_path / str(sample.image))
        for sample in make_samples(test_assets, 8, tmp_path / "test", megapixels=(1.0, 1.2))
    ]
    assert [sample.category for sample in samples] == list(CATEGORIES)
    report(measure(run(jobs(samples, backend, (40, 72), 1, True), backend, 8)), tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    asked = sorted((row["id"], row["condition"]) for row in rows)
    always = ["two_looks@140", "one_look@140", "two_looks@172", "one_look@172"]
    expected = [(s.id, c) for s in samples for c in always + ["true_region@72", "two_looks@painted"] * bool(s.region)]
    expected.append((samples[0].id, "one_look@full"))
    assert asked == sorted(expected)
    for row in rows:
        allowed = row["condition"].split("@")[1]
        assert not allowed.isdigit() or row["tokens"] <= int(allowed)


@pytest.mark.parametrize(
    ("answer", "truth", "rate"),
    [("AB-12", "AB-12", 0.0), ("AB12", "AB-12", 0.2), ("", "CAT", 1.0), ("SCATTERED", "CAT", 1.0)],
)
def test_the_error_rate_counts_edits_per_character(answer: str, truth: str, rate: float) -> None:
    assert error_rate(answer, truth) == pytest.approx(rate)


def test_what_is_asked_about_in_vain_is_named(tokenizer: Any, train_assets: Assets) -> None:
    """A small picture of nothing: the reply names what the question names, and cannot tell."""
    for [[turn]] in empty_lesson(np.random.default_rng(0), train_assets, 20):
        reply = "".join(piece.text for piece in turn.reply)
        named = reply.removeprefix("<think> ").split(" no</think>")[0]
        assert named in turn.question
        assert named in KINDS
        assert reply.endswith(f"<answer>{CANNOT_TELL}</answer>")
        row = Rows(tokenizer, GROUPS).row([(turn,)])
        kind = tokenizer.convert_tokens_to_ids(f"Ġ{named}")
        assert (row.ids == kind).sum() == 2  # the question's own token, once more


def test_the_place_of_a_thing_is_read_where_it_stands_and_the_other_heads_rest(
    tokenizer: Any, train_assets: Assets
) -> None:
    scene = compose(3, train_assets, (2.0, 2.1))
    [places, *_] = scene_lesson(np.random.default_rng(0), train_assets, scene, 0.0, 2, close=False)
    row = Rows(tokenizer, GROUPS).row([places])
    coarse = places[0].shown
    centres = coarse.centres
    assert centres is not None
    spoken = [place for place, what in row.spots.items() if what == "thing"]
    assert len(spoken) == 2 * len(scene.things)
    for place in spoken:
        at = {head: under for hinted, head, under in row.hints if hinted == place}
        assert set(at) == set(PLACE_HEADS)
        [reading] = [head for head, under in at.items() if under[0]]
        axis = HEADS["thing"].index(reading)
        said = int(tokenizer.decode([row.labels[place]])) / 1000
        seen = centres.reshape(-1, 2)[at[reading] - row.slots[0], axis]
        assert np.nanmin(abs(seen - said)) <= 0.011  # half a grid step: the token holds the thing's very centre


def test_a_thing_without_a_text_and_a_thing_that_is_not_there_are_looked_for_first(
    tokenizer: Any, train_assets: Assets
) -> None:
    """ " no" is learnt where the heads that would have found the place rest."""
    found = set()
    for seed in range(12):
        scene = compose(seed, train_assets, (2.0, 2.1))
        for talk in scene_lesson(np.random.default_rng(seed), train_assets, scene, 0.0, 6, close=False):
            row = Rows(tokenizer, GROUPS).row([talk])
            for place in np.flatnonzero(row.labels == tokenizer(" no", add_special_tokens=False)["input_ids"][0]):
                found.add("sign" if tokenizer.decode([row.ids[place]]) == " sign" else "thing")
                assert {head for at, head, under in row.hints if at == place and not under.any()} == set(PLACE_HEADS)
    assert found == {"sign", "thing"}


def test_place_heads_find_as_letter_heads_do_and_pass_on_where(tokenizer: Any, train_assets: Assets) -> None:
    learner = Learner(small_model(tokenizer), tokenizer)
    own = learner.model.model.language_model.layers[ATTENTION_LAYER].self_attn
    before = own.v_proj.weight.detach().clone()
    start_place_heads(learner, train_assets, 1, scenes=24)
    part = own.head_dim
    heads = own.q_proj.weight.view(-1, part, own.q_proj.in_features)
    for name in ("thing", "sign"):
        assert torch.equal(heads[list(HEADS[name])], heads[list(HEADS["letter"])])
    letters = slice(0, 2 * part)
    assert torch.equal(own.v_proj.weight[letters], before[letters])
    assert not torch.allclose(own.v_proj.weight[2 * part :], before[2 * part :])
    loss, notes = learner.loss(
        [learner.rows.row(talks) for talks in make_talks(train_assets, Mix(0, 1, 0), 3, 0)], 0.3, 0.5
    )
    assert torch.isfinite(loss)
    assert {"sees_thing", "sees_sign", "near_thing", "near_sign"} <= set(notes)


def test_lessons_of_close_views_ask_for_what_stands_in_them(tokenizer: Any, train_assets: Assets) -> None:
    rows = make_talks(train_assets, Mix(0, 0, 0, crops=1.0), 1, 0)
    assert len(rows) >= 12
    for [[turn]] in rows:
        reply = "".join(piece.text for piece in turn.reply)
        assert reply.startswith("<answer>")
        assert turn.shown.pixels.shape[0] * turn.shown.pixels.shape[1] <= CLOSE.max_tokens * (2 * PATCH) ** 2
        words = reply.removeprefix("<answer>").removesuffix("</answer>")
        if words.startswith(" "):  # a word of the world, one token
            assert len(tokenizer(words, add_special_tokens=False)["input_ids"]) == 1


def test_weights_from_before_a_label_came_start_where_they_were(tokenizer: Any, tmp_path: Path) -> None:
    """The labels of stickers are the last of the table; a start that has none of them keeps all the others."""
    kept = Learner(small_model(tokenizer, seed=1), tokenizer)
    save(tmp_path, kept.model, tokenizer)
    before = LABELS - len(STICKER)
    kept.labels.head.weight = torch.nn.Parameter(kept.labels.head.weight[:before].detach().clone())
    kept.labels.head.bias = torch.nn.Parameter(kept.labels.head.bias[:before].detach().clone())
    save_heads(kept, tmp_path)
    other = Learner(small_model(tokenizer, seed=2), tokenizer)
    afresh = other.labels.head.weight[before:].detach().clone()
    load_start(other, tmp_path)
    assert torch.allclose(other.labels.head.weight[:before], kept.labels.head.weight, atol=1e-3)
    assert torch.equal(other.labels.head.weight[before:], afresh)


def test_a_sticker_is_called_by_its_colour_and_by_its_shape(tokenizer: Any) -> None:
    words, called = words_of_labels(tokenizer)
    assert torch.allclose(called.sum(1), torch.ones(LABELS))
    spoken = tokenizer.decode(words[called[STICKER["red", "star"]] > 0])
    assert sorted(spoken.split()) == ["red", "star"]
    assert tokenizer.decode([words[called[THING["bus"]].argmax()]]) == " bus"


def test_every_kind_is_looked_for_whatever_the_split_asks_about(train_assets: Assets) -> None:
    """Kinds that only other splits ask about are found, and missed, because of a question too."""
    others = set(KINDS) - set(kinds_questioned_in("train"))
    found, missed = set(), set()
    for seed in range(120):
        rng = np.random.default_rng(seed)
        posed = find(rng, compose(seed, train_assets, (2.0, 2.1)))
        (missed if posed.missing else found).add(posed.missing or posed.mentioned[0].kind)
    assert found & others
    assert missed & others


def test_a_shaken_region_is_at_most_a_step_and_a_fifth_off(train_assets: Assets) -> None:
    rng = np.random.default_rng(0)
    off = []
    for seed in range(40):
        scene = compose(seed, train_assets, (2.0, 2.1))
        good = region_of(scene, scene.signs[0].box)
        moved = shaken(rng, good, scene.size)
        step = np.array([scene.size.width, scene.size.height] * 2) * GRID / 1000
        off.append((np.array(moved.corners) - good.corners) / step)
    assert np.abs(off).max() <= 1.3
    assert np.abs(off).mean() > 0.4


def test_reinforcement_learning_draws_the_worlds_questions() -> None:
    """By the name that the recipe gives; each number is the same question whenever it is drawn."""
    from ergo.rl.source import source_of

    source = source_of("ergo.photo_world.dataset:training", 16, 3)
    assert len(source) == 16
    for number in (0, 7):
        sample, again = source[number], source[number]
        assert sample.question == again.question
        assert isinstance(sample.image, Picture)
        assert sample.category == CATEGORIES[number]
        assert (sample.region is None) == (sample.category == "none")
    assert {source.identity} == {source_of("ergo.photo_world.dataset:training", 16, 3).identity}


def test_the_found_photographs_are_annotated_inside_of_what_is_fetched() -> None:
    for file, count in ((found.TEXT, 50), (found.FOREIGN, 40)):
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        assert len(rows) == count
        for row in rows:
            assert {"image", "package", "author", "licence", "question", "answer", "region"} == set(row)
            assert all(row[key] for key in ("question", "answer", "author", "licence"))
            if file == found.TEXT:
                left, top, right, bottom = row["region"]
                assert 0 <= left < right
                assert 0 <= top < bottom
