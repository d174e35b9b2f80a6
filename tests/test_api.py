"""`ergo.ask`: from anything that names a picture to a Trace, or one line that says what to do."""

from __future__ import annotations

import ast
import asyncio
import base64
import io
import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
from faulty import FaultyServer
from PIL import Image, ImageOps
from test_images import corrupted, odd_files, saved

import ergo
from ergo import (
    BackendError,
    Box,
    Completion,
    Inquiry,
    Model,
    Picture,
    PictureError,
    Request,
    Sampling,
    ScriptedBackend,
    Size,
    UsageError,
)
from ergo.backends import TINY
from ergo.families import ERGO_TINY, QWEN2_5_VL, QWEN3_VL

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # TIFF and MPO readers talk of broken files
GREEN = Image.new("RGB", (3000, 2000), "green")
SCRIPTED = "scripted:<zoom>[0, 0, 200, 200]</zoom><answer>B</answer>"


def fake(script: Any = ("<zoom>[0, 0, 50, 50]</zoom>", "<answer>blue</answer>"), family: Any = QWEN2_5_VL) -> Model:
    return Model(ScriptedBackend(script), family, family.patch, "fake")


def asked_of(opened: Model) -> list[Request]:
    assert isinstance(opened.backend, ScriptedBackend)
    return opened.backend.requests


def test_anything_that_holds_a_picture_can_be_asked_about(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    image = GREEN.resize((300, 200))
    image.save(path)
    encoded = path.read_bytes()
    uri = "data:image/png;base64," + base64.b64encode(encoded).decode()
    pixels = np.asarray(image)
    transparent = np.dstack([pixels, np.full((200, 300), 255, np.uint8)])
    with path.open("rb") as file:
        sources: list[Any] = [path, str(path), encoded, bytearray(encoded), memoryview(encoded), uri, Picture(image)]
        sources += [file, io.BytesIO(encoded), image, Image.open(path), pixels, pixels[:, ::-1], transparent]
        for source in sources:
            opened = fake()
            result = ergo.ask(source, "Which?", model=opened)
            assert result.answer is not None
            assert (result.answer.text, result.answer.region_reading) == ("blue", "exact")
            view = asked_of(opened)[0].views[0]
            assert view.picture.size == Size(300, 200)
            assert view.pixels.getpixel((5, 5)) == (0, 128, 0)


def test_grey_arrays_and_modes_of_pillow_become_rgb() -> None:
    for source in (
        np.full((20, 30), 200, np.uint8),
        Image.new("L", (30, 20), 200),
        Image.new("RGBA", (30, 20), "white"),
    ):
        picture = ergo.load_image(source)
        assert picture.size == Size(30, 20)
        assert picture.pixels.mode == "RGB"
    assert ergo.load_image(Image.new("RGBA", (30, 20), (0, 0, 0, 0))).pixels.getpixel((3, 3)) == (255, 255, 255)


def test_a_pillow_image_stands_upright_as_its_file_would(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    path = tmp_path / "turned.jpg"
    Image.new("RGB", (60, 20), "red").save(path, exif=exif)
    for source in (path, Image.open(path), ImageOps.exif_transpose(Image.open(path))):
        assert ergo.load_image(source).size == Size(20, 60)


def test_an_array_is_copied() -> None:
    for pixels in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 4), np.uint8)):
        pixels[..., -1] = 255 if pixels.shape[2:] == (4,) else 0
        picture = ergo.load_image(pixels)
        pixels[:] = 9
        assert picture.pixels.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (np.zeros((3, 20, 30), np.float32), "bad_array"),
        (np.zeros((3, 20, 30), np.uint8), "bad_array"),
        (np.zeros((20, 30, 3), np.float64), "bad_array"),
        (np.zeros((0, 30, 3), np.uint8), "bad_array"),
        (np.zeros(30, np.uint8), "bad_array"),
        (np.zeros((2, 2), object), "bad_array"),
        (io.StringIO("text"), "text_file"),
        (io.BytesIO(b""), "empty"),
        (b"text", "not_a_picture"),
        (bytearray(b"text"), "not_a_picture"),
        (Image.new("RGB", (1_000_001, 1)), "too_large"),
    ],
)
def test_what_holds_no_picture_is_named(source: Any, kind: str) -> None:
    with pytest.raises(PictureError) as told:
        ergo.ask(source, "Which?", model=fake())
    assert told.value.kind == kind
    assert "\n" not in str(told.value)


def test_a_pillow_image_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(PictureError) as told:
        ergo.load_image(Image.open(path))
    assert told.value.kind == "truncated"


# ── the result ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "chosen"), [("blue", 1), ("B", 1), ("(A)", 0), ("red or blue", None), ("", None), ("green", None)]
)
def test_a_result_names_the_option_chosen(said: str, chosen: int | None) -> None:
    result = ergo.ask(
        Picture(GREEN),
        "Which?",
        ["red", "blue"],
        model=fake(["<zoom>[0, 0, 50, 50]</zoom>", f"<answer>{said}</answer>"]),
    )
    assert (result.choice.index if result.choice else None) == chosen
    if result.choice:
        assert result.choice.text == ("red", "blue")[result.choice.index]
        assert result.choice.letter == "AB"[result.choice.index]
    assert result.to_dict()["choice"] == chosen


def test_without_options_or_answer_none_is_chosen() -> None:
    assert ergo.ask(Picture(GREEN), "Which?", model=fake()).choice is None
    failed = ergo.ask(Picture(GREEN), "Which?", ["red", "blue"], model=fake([BackendError("gone", "timeout")]))
    assert failed.choice is None
    assert failed.to_dict()["error"]["kind"] == "timeout"


def test_a_result_is_a_trace_and_saves_itself(tmp_path: Path) -> None:
    result = ergo.ask(Picture(GREEN, "meadow.png"), "Which?", ["red", "blue"], model=fake())
    assert isinstance(result, ergo.Trace)
    row = json.loads(json.dumps(result.to_dict()))
    assert (row["picture"], row["question"], row["options"]) == ("meadow.png", "Which?", ["red", "blue"])
    assert row["answer"] == "blue"
    with Image.open(result.save(tmp_path / "look.PNG")) as saved:
        assert saved.width > 500
    assert "meadow.png" in result.save(str(tmp_path / "look.html")).read_text(encoding="utf-8")
    for name, says in (("look.gif", r"\.png or \.html"), ("nowhere/look.png", "could not be written")):
        with pytest.raises(UsageError, match=says):
            result.save(tmp_path / name)


# ── many ───────────────────────────────────────────────────────────────────────────────────────


def test_many_are_answered_in_the_order_given() -> None:
    def numbered(request: Request) -> str:
        number = int(request.chat[-1].text.split("#")[1].split()[0])
        time.sleep(0.02 * (5 - number))
        return f"<zoom>[0, 0, 50, 50]</zoom><answer>{number}</answer>"

    inquiries = [Inquiry(Picture(GREEN), f"Which? #{number} ") for number in range(5)]
    inquiries.insert(2, Inquiry("missing.png", "Which? #0 "))
    results = list(ergo.ask_many(inquiries, model=fake(numbered), concurrency=5))
    assert [result.answer and result.answer.text for result in results] == ["0", "1", None, "2", "3", "4"]
    assert [result.question.text for result in results] == [inquiry.question for inquiry in inquiries]
    assert isinstance(results[2].error, PictureError)
    assert results[2].picture is None
    with pytest.raises(UsageError, match="nothing to save: there is no file"):
        results[2].save("look.png")


def test_awaited_questions_run_side_by_side() -> None:
    """Twenty that take 0.1 s for each of two looks; the event loop goes on meanwhile."""
    opened = Model(ScriptedBackend(lambda request: "<zoom>[0, 0, 50, 50]</zoom>", seconds=0.1), QWEN2_5_VL, 28, "slow")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def ask_all() -> list[ergo.Result]:
        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(*(ergo.aask(Picture(GREEN), f"{n}?", model=opened) for n in range(20)))
        ticking.cancel()
        return results

    started = time.perf_counter()
    results = asyncio.run(ask_all())
    assert time.perf_counter() - started < 2  # one after the other: 4 s
    assert [result.question.text for result in results] == [f"{n}?" for n in range(20)]
    assert ticks > 5


def test_awaited_questions_to_a_model_in_this_process_are_computed_together() -> None:
    """Never two calls at once, and what waits meanwhile goes in one."""
    calls: list[int] = []
    inside = Lock()

    @dataclass
    class OneAtATime:
        """Like a model of one's own: no server, and, being a dataclass, not hashable."""

        parallel: bool = False

        def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
            assert inside.acquire(blocking=False)
            time.sleep(0.05)
            calls.append(len(requests))
            inside.release()
            return [Completion(f"<zoom>[0, 0, 50, 50]</zoom><answer>{r.chat[-1].text[:2]}</answer>") for r in requests]

    opened = Model(OneAtATime(), ERGO_TINY, ERGO_TINY.patch, "own")

    async def ask_all() -> list[ergo.Result]:
        return await asyncio.gather(*(ergo.aask(Picture(GREEN), f"{n:02}?", model=opened) for n in range(12)))

    results = asyncio.run(ask_all())
    assert [result.answer and result.answer.text for result in results] == [f"{n:02}" for n in range(12)]
    assert sum(calls) == 24
    assert max(calls) > 1
    assert len(calls) < 12


def test_a_mistake_that_a_shared_model_finds_reaches_everyone_who_made_it() -> None:
    class Refusing:
        parallel = False

        def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
            time.sleep(0.02)
            raise UsageError(f"{requests[0].sampling.max_tokens} tokens are too many")

    async def ask_all() -> list[Any]:
        opened = Model.of(Refusing(), "qwen2_5_vl")
        asked = (ergo.aask(Picture(GREEN), "Which?", model=opened) for _ in range(4))
        return await asyncio.gather(*asked, return_exceptions=True)

    errors = asyncio.run(ask_all())
    assert [str(error) for error in errors] == ["1024 tokens are too many"] * 4
    assert all(isinstance(error, UsageError) for error in errors)


def test_what_an_awaited_question_raises_is_raised_where_it_is_awaited() -> None:
    async def ask_two() -> list[Any]:
        asked = (ergo.aask(source, "Which?", model=fake()) for source in ("missing.png", Picture(GREEN)))
        return await asyncio.gather(*asked, return_exceptions=True)

    missing, answered = asyncio.run(ask_two())
    assert isinstance(missing, PictureError)
    assert answered.answer.text == "blue"


def test_a_model_that_is_named_stays_open() -> None:
    with FaultyServer(models={"data": [{"id": "Qwen/Qwen2.5-VL-7B-Instruct", "owned_by": "vllm"}]}) as server:
        for _ in range(3):
            ergo.ask(Picture(GREEN), "Which?", model=f"openai:{server.url}", budget=16)
        assert (server.listed, len(server.payloads)) == (1, 6)
        ergo.ask(Picture(GREEN), "Which?", model=SCRIPTED)  # only the last one does
        ergo.ask(Picture(GREEN), "Which?", model=f"openai:{server.url}", budget=16)
        assert server.listed == 2


def test_a_checkpoint_that_was_written_anew_is_opened_anew(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    picture = GREEN.resize((90, 60))
    assert ergo.ask(picture, "Which?", model=f"hf:{folder}", budget=16, max_tokens=2).error is None
    (folder / "config.json").write_text("half a file")
    with pytest.raises(UsageError, match="cannot be loaded"):
        ergo.ask(picture, "Which?", model=f"hf:{folder}", budget=16, max_tokens=2)


# ── the package ────────────────────────────────────────────────────────────────────────────────


def test_every_public_name_is_there_listed_and_typed() -> None:
    source = ast.parse(Path(ergo.__file__).read_text(encoding="utf-8"))
    [typed] = [node for node in source.body if isinstance(node, ast.If)]
    imported = {alias.name for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert sorted(imported) == ergo.__all__ == dir(ergo)
    for name in ergo.__all__:
        assert getattr(ergo, name).__name__
    with pytest.raises(AttributeError, match="no attribute 'askk'"):
        ergo.askk  # type: ignore[attr-defined] # noqa: B018


def test_every_error_is_public() -> None:
    from ergo.core import errors

    named = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert named <= set(ergo.__all__)


def test_options_are_shown_in_the_second_look_only() -> None:
    opened = fake()
    ergo.ask(Picture(GREEN), "Which?", ["red", "blue"], model=opened)
    first, second = asked_of(opened)
    assert "red" not in first.chat[-1].text
    assert "(A) red\n(B) blue" in second.chat[-1].text


@pytest.mark.parametrize(("family", "patch"), [(QWEN2_5_VL, 28), (QWEN3_VL, 32)])
def test_a_budget_holds_for_each_look(family: Any, patch: int) -> None:
    trace = ergo.ask(Picture(GREEN), "Which?", model=fake(family=family), budget=70)
    assert [turn.views[0].patch for turn in trace.turns] == [patch, patch]
    assert all(0 < turn.views[0].tokens <= 70 for turn in trace.turns)
    usual = ergo.ask(Picture(GREEN), "Which?", model=fake(family=family))
    assert 500 < usual.turns[0].views[0].tokens <= family.budget
    assert ergo.ask(Picture(GREEN), "Which?", model=fake(), budget=4).vision_tokens == 8


def test_the_three_flows_and_how_they_sample() -> None:
    for how, requests in (
        ({}, 2),
        ({"flow": "one_look"}, 1),
        ({"region": Box(-10, 5, 100, 100)}, 1),
        ({"region": (-10.2, 5, 100, 100), "flow": "crop_only"}, 1),
    ):
        opened = fake()
        trace = ergo.ask(Picture(GREEN), "Which?", model=opened, max_tokens=5, temperature=0.5, seed=1, **how)  # type: ignore[arg-type]
        assert len(asked_of(opened)) == requests
        assert all(request.sampling == Sampling(5, 0.5, seed=1) for request in asked_of(opened))
    assert trace.answer is not None
    assert trace.answer.region == Box(0, 5, 100, 100)  # cut to the picture


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"question": " \n"}, "the question is a text that is not empty"),
        ({"model": "gpt"}, "say ergo-photo, hf:NAME"),
        ({"model": "openai:"}, "say ergo-photo, hf:NAME"),
        ({"budget": 0}, "--budget 4 or more, not 0"),
        ({"max_tokens": 0}, "at least 1 token"),
        ({"flow": "crop_only"}, "needs a region inside"),
        ({"flow": "three_looks"}, "there are coarse_to_fine, one_look, crop_only"),
        ({"region": Box(5000, 0, 5001, 9)}, "needs a region inside"),
        ({"region": Box(0, 0, 9, 9), "flow": "one_look"}, "a region is for crop_only"),
        ({"region": (0, 0, 9)}, "left, top, right, bottom in pixels"),
        ({"region": (9, 9, 1, 1)}, "left, top, right, bottom in pixels"),
        ({"region": (0.1, 0.1, 0.4, 0.4)}, "in pixels of the picture"),
        ({"region": "0 0 9 9"}, "left, top, right, bottom in pixels"),
        ({"options": "red"}, r"such as \['red', 'blue'\], not 'red'"),
        ({"options": [1, 2]}, r"such as \['red', 'blue'\], not \[1, 2\]"),
        ({"picture": 7}, "an array of uint8, not a int"),
        ({"family": "qwen3_vl"}, "a Model knows its family"),
        ({"max_looks": 0, "flow": "as_needed"}, "max_looks is at least 1"),
        ({"max_looks": 5}, "max_looks is for the flow as_needed; coarse_to_fine looks as often as it says"),
        ({"max_looks": "5", "flow": "as_needed"}, "max_looks is a whole number, not '5'"),
        ({"model": 5}, "a model is a name, such as 'ergo-photo'.*, not 5"),
        ({"model": None}, "a model is a name, .* not None"),
        ({"model": SCRIPTED, "family": 5}, "a family is a name or a ModelFamily, not 5"),
        ({"picture": None}, "a picture is a path, .* not a NoneType"),
        ({"question": 5}, "the question is a text that is not empty, not 5"),
        ({"budget": "100"}, "budget is a whole number, not '100'"),
        ({"budget": 100.5}, "budget is a whole number, not 100.5"),
        ({"budget": True}, "budget is a whole number, not True"),
        ({"max_tokens": "9"}, "max_tokens is a whole number, not '9'"),
        ({"max_tokens": None}, "max_tokens is a whole number, not None"),
        ({"temperature": "0"}, "temperature is a number from 0 to 100, not '0'"),
        ({"temperature": None}, "temperature is a number from 0 to 100, not None"),
        ({"seed": "x"}, "seed is a whole number, not 'x'"),
        ({"flow": 5}, "a flow is a name, one of coarse_to_fine"),
        ({"flow": ["one_look"]}, "a flow is a name, one of coarse_to_fine"),
        ({"options": None}, r"such as \['red', 'blue'\], not None"),
        ({"options": 5}, r"such as \['red', 'blue'\], not 5"),
        ({"options": {"red": 1, "blue": 2}}, r"such as \['red', 'blue'\], not {"),
        ({"options": ["bars,slashes"]}, r"did you mean 2, \['bars', 'slashes'\]\?"),
        ({"options": ["bars"]}, "options are two or more to choose from, not 'bars' alone$"),
        ({"options": ["bars,", "slashes,", "stripes"]}, "the options end in commas"),
        ({"options": ["red", "red"]}, "options differ from each other, and none is empty, unlike 'red'"),
        ({"options": ["red", ""]}, "options differ from each other, and none is empty, unlike ''"),
        ({"options": [str(number) for number in range(27)]}, "there are letters for 26 options, not for 27"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(how: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as told:
        ergo.ask(**({"picture": Picture(GREEN), "question": "Which?", "model": fake()} | how))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("inquiries", "concurrency", "says"),
    [
        (None, 16, "ask_many is given Inquiries, not None"),
        (["photo.jpg"], 16, "not 'photo.jpg'"),
        ([], "16", "concurrency is a whole number, not '16'"),
        ([], None, "concurrency is a whole number, not None"),
    ],
)
def test_what_cannot_be_asked_of_many_is_said_in_one_line(inquiries: Any, concurrency: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        list(ergo.ask_many(inquiries, model=fake(), concurrency=concurrency))


def test_options_may_come_from_anything_ordered_and_numbers_from_numpy() -> None:
    colours = ("red", "blue")
    for options in (
        list(colours),
        colours,
        dict.fromkeys(colours).keys() and iter(colours),
        np.array(colours).tolist(),
    ):
        result = ergo.ask(GREEN, "Which?", options, model=fake(), budget=np.int64(64))  # type: ignore[arg-type]
        assert result.choice is not None
        assert result.choice.text == "blue"


@pytest.mark.parametrize(
    ("reply", "options", "remark"),
    [
        ("<answer>blue</answer>", (), None),
        ("<answer>blue</answer>", ("red", "blue"), None),
        ("<answer>green</answer>", ("red", "blue"), "no_option"),
        ("<answer>red or blue</answer>", ("red", "blue"), "no_option"),
        ("<answer></answer>", (), "empty"),
        ("<answer></answer>", ("red", "blue"), "empty"),
        ("", (), "empty"),
        ("<answer>cannot tell</answer>", (), "cannot_tell"),
        ("<answer>I can't tell.</answer>", ("red", "blue"), "cannot_tell"),
        ("<answer>It cannot be determined.</answer>", (), "cannot_tell"),
        ("<answer>You cannot tell a book by its cover</answer>", (), None),
        (Completion("<think>The boat is", finish="length"), (), "cut"),
        (Completion("<answer>blue</answer> and so", finish="length"), (), None),
        (Completion("I cannot help with that.", finish="refusal"), (), "refused"),
    ],
)
def test_what_to_know_of_an_answer_is_remarked(reply: Any, options: tuple[str, ...], remark: str | None) -> None:
    result = ergo.ask(GREEN, "Which?", options, model=fake([reply]), flow="one_look")
    assert (result.remark, result.to_dict()["remark"]) == (remark, remark)


def test_a_broken_picture_is_told_before_any_model_is_opened() -> None:
    with pytest.raises(PictureError):
        ergo.ask("no such picture.png", "Which?", model="hf:/no/such/folder")


def test_a_model_that_does_not_answer_is_a_trace_with_its_error() -> None:
    trace = ergo.ask(Picture(GREEN), "Which?", model=fake([BackendError("gone", "timeout")]))
    assert trace.answer is None
    assert trace.error is not None
    assert trace.error.kind == "timeout"


def test_words_that_are_no_text_are_asked_as_far_as_they_are() -> None:
    opened = fake()
    ergo.ask(Picture(GREEN), "caf\udce9?", ["r\udcffd", "blue"], model=opened)
    for request in asked_of(opened):
        request.chat[-1].text.encode("utf-8")
    assert asked_of(opened)[0].chat[-1].text.startswith("caf\ufffd?")


def test_looks_of_a_model_are_within_its_family_s_budget() -> None:
    looking = fake().look_config()
    assert looking.coarse == looking.close
    assert (looking.coarse.max_tokens, looking.coarse.patch) == (640, 28)


def test_a_family_is_said_by_name_or_as_an_object() -> None:
    mine = replace(QWEN2_5_VL, name="mine", prompts=replace(QWEN2_5_VL.prompts, region="Find {question}"))
    for family, said in (("qwen3_vl", "qwen3_vl"), (mine, "mine")):
        result = ergo.ask(GREEN, "Which?", model=SCRIPTED, family=family, budget=64)
        assert result.turns[0].views[0].patch == (32 if said == "qwen3_vl" else 28)
        assert result.requests[0].chat[-1].text.startswith("Find Which?") == (said == "mine")
    with pytest.raises(UsageError, match="no family is called 'llava'"):
        ergo.ask(GREEN, "Which?", model=SCRIPTED, family="llava")


def test_as_needed_looks_no_oftener_than_allowed() -> None:
    for most in (1, 2, 4):
        opened = fake("<zoom>[0, 0, 200, 200]</zoom>" for _ in range(9))
        ergo.ask(GREEN, "Which?", model=opened, flow="as_needed", max_looks=most)
        assert len(asked_of(opened)) == most


# ── any file ───────────────────────────────────────────────────────────────────────────────────


def files(count: int) -> list[bytes]:
    """Odd but whole files of every kind, then ones with bytes changed, cut or repeated, then no pictures."""
    generator = random.Random(4)
    whole = odd_files()
    sizes = [(1, 1), (1, 3000), (3000, 1), (2, 1500)]
    slivers = [saved(Image.new("RGB", size, "red"), "PNG") for size in sizes]
    junk = [b"", b"\0" * 100, b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"%PDF-1.7", b"<svg xmlns='x'/>"]
    made = [*whole, *slivers, *junk]
    return made + [corrupted(generator.choice(whole), generator) for _ in range(count - len(made))]


def outcome(path: Path) -> str:
    """How asking about this file ends; whatever is neither a Trace nor a PictureError fails the test."""
    try:
        trace = ergo.ask(path, "Which?", model=SCRIPTED, budget=64)
    except PictureError as error:
        return error.kind if "\n" not in str(error) else "more than one line"
    within = all(turn.views[0].tokens <= 64 for turn in trace.turns)
    return "answered" if trace.answer and within else "failed"


def test_two_hundred_odd_files_give_a_trace_or_one_line(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    path = tmp_path / "picture"
    for content in files(200):
        path.write_bytes(content)
        outcomes[outcome(path)] += 1
    assert outcomes.total() == 200
    assert outcomes["answered"] >= 20
    assert {"answered", "empty", "not_a_picture", "broken", "truncated"} <= set(outcomes)
    assert set(outcomes) <= {
        "answered",
        "empty",
        "not_a_picture",
        "broken",
        "truncated",
        "too_large",
        "unsupported_mode",
    }
