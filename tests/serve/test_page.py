"""The page in a real Chromium: a picture is dropped, and the box on screen lies where the region is."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from serving import scripted, serving

from ergo.api import ask
from ergo.backends import open_backend
from ergo.core.errors import BackendError
from ergo.images.picture import Picture
from ergo.serve.settings import Limits, Settings
from ergo.world.questions import generate

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DROP = """([name, type, data]) => {
  const bytes = Uint8Array.from(atob(data), one => one.charCodeAt(0)), all = new DataTransfer();
  all.items.add(new File([bytes], name, { type }));
  document.getElementById("stage").dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need: pip install playwright")
    if CHROMIUM is None:
        pytest.skip("the page's tests need Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def opened(browser: Any, address: str, **context: Any) -> tuple[Any, list[str]]:
    """The page, and what it complained about."""
    page = browser.new_context(**context).new_page()
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            complaints.append(request.url) if not request.url.startswith((address, "data:", "blob:")) else None
        ),
    )
    page.goto(address)
    return page, complaints


def dropped(page: Any, jpeg: bytes) -> None:
    page.evaluate(DROP, ["a.jpg", "image/jpeg", base64.b64encode(jpeg).decode()])
    page.get_by_text("pixels").first.wait_for()


def on_screen(page: Any, box: str, size: Any) -> list[float]:
    """An element's corners on the picture, in pixels of the upright picture."""
    inner, outer = page.locator(box).bounding_box(), page.locator("#picture").bounding_box()
    x, y = size.width / outer["width"], size.height / outer["height"]
    left, top = (inner["x"] - outer["x"]) * x, (inner["y"] - outer["y"]) * y
    return [left, top, left + inner["width"] * x, top + inner["height"] * y]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_box_lies_where_the_region_is(browser: Any, width: int, scheme: str) -> None:
    sample = next(generate("test", 1, 300_000, (12.0, 12.0)))
    assert isinstance(sample.image, Picture)
    out = io.BytesIO()
    sample.image.pixels.save(out, "JPEG", quality=90)
    expected = ask(out.getvalue(), sample.question, sample.choices).answer
    assert expected is not None
    assert expected.region is not None
    with serving(open_backend("ergo-tiny")) as address:
        page, complaints = opened(browser, address, viewport={"width": width, "height": 844}, color_scheme=scheme)
        dropped(page, out.getvalue())
        page.fill("#question", sample.question)
        page.fill("#options", ", ".join(sample.choices))
        page.press("#question", "Enter")
        page.get_by_text("done", exact=True).wait_for()
        page.wait_for_timeout(800)  # the box glides to its place
        assert page.text_content("#answer") == expected.text
        shown = on_screen(page, "#seen", sample.image.size)
        tolerance = (
            3 * sample.image.size.width / page.locator("#picture").bounding_box()["width"]
        )  # three screen pixels
        assert shown == pytest.approx(expected.region.corners, abs=tolerance)
        assert complaints == []


def test_ones_own_box_is_asked_about_and_moves_with_the_keys(browser: Any) -> None:
    model = scripted(lambda request: "<answer><b>bold</b></answer>")
    with serving(model) as address:
        page, complaints = opened(browser, address, viewport={"width": 1000, "height": 800})
        out = io.BytesIO()
        next(generate("test", 1)).image.pixels.save(out, "JPEG")  # type: ignore[union-attr]
        dropped(page, out.getvalue())
        page.click("#draw")
        area = page.locator("#picture").bounding_box()
        page.mouse.move(area["x"] + 50, area["y"] + 60)
        page.mouse.down()
        page.mouse.move(area["x"] + 200, area["y"] + 160)
        page.mouse.up()
        page.focus("#frame")
        page.keyboard.press("ArrowRight")
        drawn = page.evaluate("own")
        page.fill("#question", "What is here?")
        page.click("#ask")
        page.get_by_text("done", exact=True).wait_for()
        views = [view for request in model.backend.requests for view in request.views]  # type: ignore[attr-defined]
        assert [list(view.box.corners) for view in views] == [drawn]
        assert page.text_content("#answer") == "<b>bold</b>"  # text, not markup
        assert complaints == []


def test_what_goes_wrong_is_said(browser: Any) -> None:
    with serving(scripted(), Settings(api_key="geheim")) as address:
        page, _ = opened(browser, address)
        out = io.BytesIO()
        next(generate("test", 1)).image.pixels.save(out, "JPEG")  # type: ignore[union-attr]
        dropped(page, out.getvalue())
        page.fill("#question", "What is here?")
        page.click("#ask")
        page.get_by_text("the API key is missing or wrong").wait_for()
        page.click("summary")
        page.fill("#key", "geheim")
        page.click("#ask")
        page.get_by_text("done", exact=True).wait_for()


def test_after_an_error_and_after_stop_the_page_says_where_it_stands(browser: Any) -> None:
    """Nothing of the last answer stays, nothing is shared that is none, and the next question works."""

    def script(request: Any) -> Any:
        if request.expect == "region":
            return "<zoom>[28, 28, 140, 112]</zoom>"
        return (
            BackendError("the line went dead", "cut_stream")
            if "fail" in request.chat[-1].text
            else "<answer>red</answer>"
        )

    with serving(scripted(script, seconds=0.5)) as address:
        page, _ = opened(browser, address, viewport={"width": 390, "height": 844})
        page.get_by_text("scripted · 640 vision tokens a look").wait_for()
        out = io.BytesIO()
        next(generate("test", 1)).image.pixels.save(out, "JPEG")  # type: ignore[union-attr]
        dropped(page, out.getvalue())
        page.fill("#question", "What?")
        page.click("#ask")
        page.get_by_text("done", exact=True).wait_for()
        assert page.text_content("#answer") == "red"
        assert page.locator("#answer").bounding_box()["y"] < page.locator("#picture").bounding_box()["y"]
        assert page.is_enabled("#share")
        page.fill("#question", "fail")
        page.click("#ask")
        page.get_by_text("no answer: the line went dead").wait_for()
        assert page.is_disabled("#share")
        assert page.is_hidden("#second")
        page.fill("#question", "What?")
        page.click("#ask")
        page.get_by_text("looking closely").wait_for()
        page.click("#stop")
        page.get_by_text("stopped before it answered").wait_for()
        assert page.is_disabled("#share")
        assert page.is_hidden("#stop")
        page.click("#ask")
        page.get_by_text("done", exact=True).wait_for()
        assert page.text_content("#answer") == "red"


def test_a_picture_too_large_to_send_is_offered_smaller(browser: Any) -> None:
    with serving(scripted(), Settings(limits=Limits(body=30_000))) as address:
        page, _ = opened(browser, address)
        page.get_by_text("vision tokens a look").wait_for()
        out = io.BytesIO()
        Image.effect_noise((900, 700), 90).save(out, "JPEG", quality=95)
        dropped(page, out.getvalue())
        page.get_by_text("MB to send").wait_for()
        assert page.is_disabled("#ask")
        for _ in range(6):
            page.wait_for_timeout(1000)
            if page.is_hidden("#smaller"):
                break
            page.click("#smaller")
        page.fill("#question", "#7")
        page.click("#ask")
        page.get_by_text("done", exact=True).wait_for()
        assert page.text_content("#answer") == "7"
