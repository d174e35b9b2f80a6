"""A question on the page, from its picture to its answer: what is on screen in each state."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from browsing import ask, drop, encoded, outlined, reach, visit
from PIL import Image
from serving import scripted, serving

from ergo import api
from ergo.backends import open_backend
from ergo.core.errors import BackendError
from ergo.images.picture import Picture
from ergo.serve.settings import Limits, Settings
from ergo.world.questions import generate

pytestmark = pytest.mark.page
PHONE = {"width": 390, "height": 844}


def fails_when_told(request: Any) -> Any:
    """Two looks; "fail" in the question fails the second, "slowly" makes it take four seconds."""
    if request.expect == "region":
        return "<think>I see a <b>boat</b>.</think><zoom>[28, 28, 140, 112]</zoom>"
    if "slowly" in request.chat[-1].text:
        time.sleep(4)
    if "fail" in request.chat[-1].text:
        return BackendError("the line went dead", "cut_stream")
    return "<think>Its sail is red.</think><answer>red</answer>"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_outline_lies_where_the_region_is(browser: Any, width: int, scheme: str) -> None:
    sample = next(generate("test", 1, 300_000, (12.0, 12.0)))
    assert isinstance(sample.image, Picture)
    jpeg = encoded(sample.image.pixels, quality=90)
    expected = api.ask(jpeg, sample.question, sample.choices).answer
    assert expected is not None
    assert expected.region is not None
    with serving(open_backend("ergo-photo")) as address:
        page, complaints = visit(browser, address, viewport={"width": width, "height": 844}, color_scheme=scheme)
        drop(page, jpeg)
        ask(page, sample.question, ", ".join(sample.choices))
        assert page.text_content("#answer") == expected.text
        size = sample.image.size
        tolerance = 2 * size.width / page.locator("#frame").bounding_box()["width"]  # two screen pixels
        shown = outlined(page, ".box.seen", size.width, size.height)
        assert shown == pytest.approx(expected.region.corners, abs=tolerance)
        assert page.evaluate("getComputedStyle(document.querySelector('.box')).backgroundColor") == "rgba(0, 0, 0, 0)"
        assert complaints == []


def test_each_look_is_on_screen_while_the_next_is_still_made(browser: Any) -> None:
    first, second = threading.Event(), threading.Event()

    def waits(request: Any) -> Any:
        (first if request.expect == "region" else second).wait(60)
        return fails_when_told(request)

    with serving(scripted(waits)) as address:
        page, complaints = visit(browser, address, viewport=PHONE)
        drop(page, encoded())
        ask(page, "What?", until="asking")
        assert page.text_content("#step") == "Looking at a small version …"
        first.set()
        page.wait_for_selector("#looks li canvas")
        assert page.get_attribute("body", "data-state") == "asking"
        assert page.text_content("#step") == "Looking closely …"
        assert page.locator(".box.seen").count() == 1  # the region, before it was looked at
        assert page.locator("#looks .thought").all_text_contents() == ["I see a <b>boat</b>."]  # text, no markup
        assert page.is_hidden("#copy")
        second.set()
        reach(page, "answered")
        page.locator("#looks li canvas").nth(1).wait_for()
        assert page.locator("#looks .thought").all_text_contents() == ["I see a <b>boat</b>.", "Its sail is red."]
        assert page.text_content("#live") == "red"  # what a screen reader says
        assert complaints == []


def test_on_a_phone_the_answer_is_first_and_above_the_fold(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, viewport=PHONE, has_touch=True)
        drop(page, encoded())
        ask(page, "What?")
        answer, frame = page.locator("#answer").bounding_box(), page.locator("#frame").bounding_box()
        assert 0 <= answer["y"] < frame["y"]
        assert frame["y"] + frame["height"] < 844  # and the whole picture with it
        order = "document.getElementById('result').compareDocumentPosition(document.getElementById('stage'))"
        assert page.evaluate(order) == 4  # for those who listen as well: the picture follows


def test_after_an_error_and_after_stop_nothing_is_half_filled(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, viewport=PHONE)
        drop(page, encoded())
        ask(page, "What?")
        assert page.is_visible("#share")
        ask(page, "Will it fail?", until="failed")
        assert page.text_content("#answer") == "No answer: the line went dead"
        assert page.is_hidden("#share") and page.is_hidden("#copy") and page.is_hidden("#link")  # noqa: PT018
        assert page.locator("#looks li").count() == 1  # the look that it did take
        assert page.is_hidden("#cost")
        ask(page, "What, slowly?", until="asking")
        page.wait_for_selector("#looks li")
        page.click("#stop")
        reach(page, "stopped")
        assert page.text_content("#answer") == "Stopped before it answered."
        assert page.is_hidden("#share")
        assert page.is_hidden("#stop")
        page.click("#again")
        reach(page, "answered")
        assert page.text_content("#answer") == "red"


def test_a_stop_before_the_first_look_leaves_no_looks(browser: Any) -> None:
    with serving(scripted(fails_when_told, seconds=2.0)) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
        ask(page, "What?", until="asking")
        page.click("#stop")
        reach(page, "stopped")
        assert page.is_hidden("#looks")
        assert page.locator(".box").count() == 0


def test_a_follow_up_knows_what_was_said(browser: Any) -> None:
    model = scripted(lambda request: "<answer>42</answer>", seconds=0.0)
    with serving(model) as address:
        page, complaints = visit(browser, address)
        drop(page, encoded())
        ask(page, "How many boats?")
        page.click("#another")
        assert page.input_value("#question") == ""
        assert page.evaluate("document.activeElement.id") == "question"
        ask(page, "And how many are red?")
        told = model.backend.requests[-1].chat[-1].text  # type: ignore[attr-defined]
        assert "How many boats?" in told
        assert "42" in told
        assert page.locator("#thread li").all_text_contents() == ["How many boats?42"]
        page.click("#thread li button")
        assert "How many boats?" in page.text_content("#asked")
        page.uncheck("#follow")
        ask(page, "And in the sky?")
        assert "boats" not in model.backend.requests[-1].chat[-1].text  # type: ignore[attr-defined]
        assert complaints == []


def test_the_bundled_model_says_what_it_knows_and_an_answer_how_sure_it_is(browser: Any) -> None:
    with serving(open_backend("ergo-photo")) as address:
        page, complaints = visit(browser, address)
        page.get_by_text("the bundled model").first.wait_for()
        assert "--model" in page.text_content("#notice")
        page.click("#samples button >> nth=0")
        page.wait_for_selector("#ask:focus")
        page.keyboard.press("Enter")
        reach(page, "answered")
        assert "The model gives it a probability of" in page.text_content("#step")
        drop(page, encoded(Image.new("RGB", (640, 480), "navy")))
        ask(page, "Who painted this?")
        assert page.text_content("#answer") == "I cannot tell"
        assert complaints == []


def test_several_pictures_have_a_conversation_each(browser: Any) -> None:
    model = scripted(lambda request: "<answer>yes</answer>")
    with serving(model) as address:
        page, _ = visit(browser, address)
        drop(page, encoded(), encoded())
        page.get_by_text("A question is about the picture that is shown").first.wait_for()
        ask(page, "First?")
        page.click("#several li button >> nth=0")
        assert page.is_hidden("#result")
        ask(page, "Second?")
        assert "First?" not in model.backend.requests[-1].chat[-1].text  # type: ignore[attr-defined]
        page.click("#close")
        assert page.is_hidden("#several")
        assert "First?" in page.text_content("#asked")


def test_several_pictures_are_sent_together_and_what_the_server_says_of_that_is_shown(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address)
        drop(page, encoded(), encoded())
        page.check("#together")
        sent: list[Any] = []
        page.on("request", lambda request: sent.append(request.post_data_json) if request.method == "POST" else None)
        page.fill("#question", "Which is red? #3")
        page.press("#question", "Enter")
        page.wait_for_selector("body[data-state=answered], body[data-state=failed]")
        content = sent[0]["messages"][0]["content"]
        assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
        assert sent[0]["ergo"]["flow"] == "one_look"
        if page.get_attribute("body", "data-state") == "failed":  # a model that looks at one
            assert "holds 2 pictures" in page.text_content("#answer")
        else:
            assert page.locator("#looks figure").count() == 2


def test_a_key_is_asked_for_where_the_server_wants_one(browser: Any) -> None:
    with serving(scripted(), Settings(api_key="geheim")) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
        ask(page, "What is here? #7", until="failed")
        assert "the API key is missing or wrong" in page.text_content("#answer")
        assert page.evaluate("document.activeElement.id") == "key"
        page.keyboard.type("geheim")
        page.click("#again")
        reach(page, "answered")
        page.get_by_text("scripted · 640 vision tokens").first.wait_for()


def test_a_server_that_is_not_ready_says_so_until_it_is(browser: Any) -> None:
    def opened() -> Any:
        ready.wait()
        return scripted()

    ready = threading.Event()
    with serving(opened, ready=False) as address:
        page, _ = visit(browser, address)
        page.get_by_text("The model is still loading").first.wait_for()
        drop(page, encoded())
        ask(page, "What?", until="failed")
        assert "not loaded" in page.text_content("#answer")
        ready.set()
        page.get_by_text("scripted · 640 vision tokens a look").first.wait_for()
        page.wait_for_selector("#health", state="hidden")
        page.click("#again")
        reach(page, "answered")


def test_a_server_that_is_gone_is_named(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
    ask(page, "What?", until="failed")
    assert page.text_content("#answer") == "No answer: the server cannot be reached"


def test_a_picture_too_large_to_send_is_offered_smaller(browser: Any) -> None:
    with serving(scripted(), Settings(limits=Limits(body=30_000))) as address:
        page, _ = visit(browser, address)
        page.get_by_text("vision tokens a look").first.wait_for()
        drop(page, encoded(Image.effect_noise((900, 700), 90), quality=95))
        page.get_by_text("MB to send").first.wait_for()
        assert page.is_disabled("#ask")
        page.click("#smaller")
        page.get_by_text("Made smaller, from 900 × 700").first.wait_for()
        ask(page, "#7")
        assert page.text_content("#answer") == "7"
