"""What outlives an answer: the history in this browser, links, copies, saved pictures."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from browsing import ask, drop, encoded, reach, visit
from PIL import Image
from serving import scripted, serving

from ergo.api import BUNDLED
from ergo.images.decode import load_image

pytestmark = pytest.mark.page


def test_the_history_outlives_a_reload_and_can_be_cleared(browser: Any) -> None:
    with serving(scripted()) as address:
        page, complaints = visit(browser, address)
        drop(page, encoded())
        ask(page, "How many? #41")
        page.get_by_text("History (1)").wait_for()
        page.goto("about:blank")
        page.goto(address)
        page.get_by_text("History (1)").wait_for()
        page.get_by_text("History (1)").click()
        assert page.get_attribute("#history img", "src").startswith("data:image/jpeg;base64,")
        page.click("#history li button")
        reach(page, "answered")
        assert page.text_content("#answer") == "41"
        assert page.locator("#looks li").count() == 2
        assert page.locator(".box.seen").count() == 1
        ask(page, "And now? #5")
        assert page.text_content("#answer") == "5"
        page.get_by_text("History (2)").wait_for()
        page.click("#forget")
        page.wait_for_selector("#history", state="hidden")
        page.reload()
        page.wait_for_selector("body[data-loaded]")
        assert page.is_hidden("#history")
        assert complaints == []


def test_nothing_is_kept_where_that_is_not_wanted(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
        page.click("#more summary")
        page.uncheck("#keep")
        ask(page, "#1")
        page.wait_for_timeout(300)
        assert page.is_hidden("#history")
        page.reload()
        page.wait_for_selector("body[data-loaded]")
        assert not page.is_checked("#keep")


def test_only_the_latest_questions_are_kept(browser: Any) -> None:
    with serving(scripted(record=False)) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
        for number in range(32):
            ask(page, f"#{number}")
            page.get_by_text(f"History ({min(number + 1, 30)})").first.wait_for()
            page.evaluate("document.body.dataset.state = ''")  # so that the next answer is waited for
        assert "#31" in page.locator("#history li").first.text_content()


def test_a_link_brings_the_question_the_settings_and_an_examples_picture(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address)
        page.click("#samples button >> nth=0")
        page.get_by_text("plate.jpg:").first.wait_for()
        page.click("#more summary")
        page.fill("#budget", "320")
        ask(page, "Is it #3 & 50 %?", "a=b, ü")
        link = page.url
        asked = parse_qs(urlsplit(link).fragment)
        assert asked == {"question": ["Is it #3 & 50 %?"], "option": ["a=b", "ü"], "budget": ["320"], "picture": ["examples/plate.jpg"]}  # fmt: skip
        size = load_image(BUNDLED / "plate.jpg").size
        other, complaints = visit(browser, address, link.removeprefix(f"{address}/"))
        other.get_by_text(f"plate.jpg: {size.width:,} × {size.height:,} pixels").first.wait_for()
        assert other.input_value("#question") == "Is it #3 & 50 %?"
        assert other.input_value("#options") == "a=b, ü"
        assert other.input_value("#budget") == "320"
        assert other.get_attribute("body", "data-state") == "ready"  # a link asks nothing by itself
        assert complaints == []


def test_a_link_about_ones_own_picture_holds_no_picture(browser: Any) -> None:
    with serving(scripted()) as address:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page, _ = visit(browser, address, context=context)
        drop(page, encoded())
        page.click("#draw")
        ask(page, "What? #8")
        page.click("#link")
        page.get_by_text("It holds the question, not the picture.").first.wait_for()
        link = page.evaluate("navigator.clipboard.readText()")
        assert len(link) < 200
        assert set(parse_qs(urlsplit(link).fragment)) == {"question", "region"}
        other, _ = visit(browser, address, link.removeprefix(f"{address}/"))
        other.get_by_text("open the picture it is about").first.wait_for()
        assert other.input_value("#question") == "What? #8"
        drop(other, encoded())
        assert other.text_content("#ask") == "Ask about the box"


@pytest.mark.parametrize(
    "fragment",
    [
        "#picture=javascript:alert(1)&question=x",
        "#picture=//elsewhere.example/a.jpg&question=x",
        "#picture=v1/models&question=<img src=x onerror=alert(1)>",
        "#question=%00%ff&flow=none&budget=-1&region=1,2,x,4&picture=examples/..%2f..%2fhealth",
        "#picture=https://elsewhere.example/a.jpg&question=x",
    ],
)
def test_a_link_from_anyone_makes_the_page_fetch_nothing(browser: Any, fragment: str) -> None:
    with serving(scripted()) as address:
        page, complaints = visit(browser, address)
        page.wait_for_load_state("networkidle")  # the page's own questions about the server
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate("fragment => { location.hash = fragment }", fragment)
        page.wait_for_timeout(500)
        assert asked == []
        assert complaints == []
        assert page.locator("#asked img, #question img").count() == 0


def test_an_answer_is_copied_and_saved_as_a_picture(browser: Any) -> None:
    with serving(scripted()) as address:
        context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page, _ = visit(browser, address, context=context)
        drop(page, encoded())
        ask(page, "How many? #41")
        page.click("#copy")
        page.get_by_text("Copied.").first.wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == "41"
        with page.expect_download() as saved:
            page.click("#share")
        picture = Image.open(io.BytesIO(saved.value.path().read_bytes()))
        assert (picture.format, picture.width) == ("PNG", 1200)


def test_without_a_clipboard_of_its_own_the_page_copies_the_old_way(browser: Any) -> None:
    with serving(scripted()) as address:
        context = browser.new_context()
        context.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        page, complaints = visit(browser, address, context=context)
        drop(page, encoded())
        ask(page, "How many? #41")
        page.click("#copy")
        page.get_by_text("Copied.").first.wait_for()
        assert complaints == []
