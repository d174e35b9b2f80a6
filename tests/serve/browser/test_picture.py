"""The picture on the page: every way in, zoom and pan, one's own box, and the pixels that are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import ask, drop, encoded, outlined, paste, pixels, reach, until, visit
from PIL import Image
from serving import scripted, serving

from ergo.api import BUNDLED
from ergo.samples.reader import read_samples

pytestmark = pytest.mark.page
DESKTOP = {"width": 1280, "height": 800}


def percent(page: Any) -> float:
    return float(page.text_content("#zoom").removesuffix(" %"))


def checked() -> Image.Image:
    """Green, with one red pixel-sharp square, as a region that can be recognised."""
    picture = Image.new("RGB", (1000, 600), "green")
    picture.paste("red", (700, 100, 800, 200))
    return picture


def looks_at_the_square(request: Any) -> str:
    if request.expect == "region":
        view = request.views[0]
        sides = [700 * view.size.width / 1000, 100 * view.size.height / 600, 800 * view.size.width / 1000, 200 * view.size.height / 600]  # fmt: skip
        return f"<zoom>{[round(side) for side in sides]}</zoom>"
    return "<answer>red</answer>"


def test_keys_zoom_and_move(browser: Any) -> None:
    with serving(scripted(looks_at_the_square)) as address:
        page, complaints = visit(browser, address, viewport=DESKTOP)
        drop(page, encoded(checked()))
        ask(page, "What?")
        whole = percent(page)
        page.focus("#frame")
        page.keyboard.press("+")
        page.keyboard.press("+")
        assert percent(page) == pytest.approx(whole * 1.4**2, rel=0.05)
        before = page.locator(".box.seen").bounding_box()
        page.keyboard.press("ArrowRight")
        assert page.locator(".box.seen").bounding_box()["x"] < before["x"]
        page.keyboard.press("-")
        assert percent(page) == pytest.approx(whole * 1.4, rel=0.05)
        page.keyboard.press("r")
        frame = page.locator("#frame").bounding_box()
        region = page.locator(".box.seen").bounding_box()
        assert max(region["width"] / frame["width"], region["height"] / frame["height"]) == pytest.approx(0.6, abs=0.02)
        page.keyboard.press("0")
        assert percent(page) == whole
        assert complaints == []


def test_wheel_buttons_and_dragging(browser: Any) -> None:
    with serving(scripted(looks_at_the_square)) as address:
        page, _ = visit(browser, address, viewport=DESKTOP)
        drop(page, encoded(checked()))
        ask(page, "What?")
        whole, frame = percent(page), page.locator("#frame").bounding_box()
        centre = page.locator(".box.seen").bounding_box()
        x, y = centre["x"] + centre["width"] / 2, centre["y"] + centre["height"] / 2
        page.mouse.move(x, y)
        page.mouse.wheel(0, -500)
        until(page, "before => parseFloat(document.getElementById('zoom').textContent) > before", whole)
        zoomed = page.locator(".box.seen").bounding_box()
        assert zoomed["x"] + zoomed["width"] / 2 == pytest.approx(x, abs=2)  # what is under the pointer stays there
        page.mouse.down()
        page.mouse.move(x - 40, y + 25, steps=4)
        page.mouse.up()
        dragged = page.locator(".box.seen").bounding_box()
        assert (dragged["x"], dragged["y"]) == pytest.approx((zoomed["x"] - 40, zoomed["y"] + 25), abs=2)
        page.click("#fit")
        assert percent(page) == whole
        page.click("#in")
        assert percent(page) == pytest.approx(1.5 * whole, rel=0.05)
        page.click("#out")
        page.mouse.move(frame["x"] + 50, frame["y"] + 50)
        page.mouse.wheel(0, 300)  # nothing smaller than the whole: the page scrolls
        until(page, "() => scrollY > 0")
        assert percent(page) == whole


def test_two_fingers_zoom_about_their_middle(browser: Any) -> None:
    with serving(scripted(looks_at_the_square)) as address:
        page, _ = visit(browser, address, viewport={"width": 390, "height": 844}, has_touch=True)
        drop(page, encoded(checked()))
        whole, frame = percent(page), page.locator("#frame").bounding_box()
        x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
        fingers = page.context.new_cdp_session(page)
        for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 90), ("touchMove", 120)):
            points = [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        fingers.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert percent(page) == pytest.approx(3 * whole, rel=0.1)


def test_ones_own_box_is_asked_about_and_moves_with_the_keys(browser: Any) -> None:
    model = scripted(lambda request: "<answer><b>bold</b></answer>")
    with serving(model) as address:
        page, complaints = visit(browser, address, viewport={"width": 1000, "height": 800})
        drop(page, encoded(checked()))
        page.click("#draw")
        page.focus("#frame")
        area = page.locator("#frame").bounding_box()
        page.mouse.move(area["x"] + 150, area["y"] + 60)
        page.mouse.down()
        page.mouse.move(area["x"] + 300, area["y"] + 160)
        page.mouse.up()
        drawn = outlined(page, ".box.own", 1000, 600)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
        assert outlined(page, ".box.own", 1000, 600) == pytest.approx(
            [drawn[0] + 20, drawn[1], drawn[2] + 20, drawn[3] + 12], abs=1
        )
        expected = outlined(page, ".box.own", 1000, 600)
        assert page.text_content("#ask") == "Ask about the box"
        ask(page, "What is here?")
        [view] = [view for request in model.backend.requests for view in request.views]  # type: ignore[attr-defined]
        assert view.box.corners == pytest.approx(expected, abs=1)
        assert page.text_content("#answer") == "<b>bold</b>"  # text, not markup
        page.focus("#frame")
        page.keyboard.press("Escape")
        assert page.text_content("#ask") == "Ask"
        assert page.get_attribute("#draw", "aria-pressed") == "false"
        assert complaints == []


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photo_is_upright_and_so_are_its_looks(browser: Any, orientation: int) -> None:
    turned = checked().transpose(
        {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    with serving(scripted(looks_at_the_square)) as address:
        page, _ = visit(browser, address, viewport=DESKTOP)
        drop(page, encoded(turned, quality=95, exif=exif))
        page.get_by_text("1,000 × 600 pixels").first.wait_for()
        ask(page, "What?")
        assert outlined(page, ".box.seen", 1000, 600) == pytest.approx([700, 100, 800, 200], abs=4)
        page.locator("#looks li canvas").nth(1).wait_for()
        red, green, _ = pixels(page, "#looks li:nth-child(2) canvas").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
        assert red > 150
        assert green < 90


def test_of_a_large_picture_the_close_look_is_as_sharp_as_the_file(browser: Any) -> None:
    """Stripes of one pixel vanish in the screen's copy of 32 megapixels; the model saw them, and so does the reader."""
    picture = Image.new("RGB", (8000, 4000), "white")
    for x in range(6000, 6100, 2):
        picture.paste((0, 0, 0), (x, 1000, x + 1, 1100))

    def script(request: Any) -> str:
        if request.expect == "region":
            view = request.views[0].size
            return f"<zoom>[{round(6000 / 8000 * view.width)}, {round(view.height / 4)}, {round(6100 / 8000 * view.width)}, {round(1100 / 4000 * view.height)}]</zoom>"
        return "<answer>stripes</answer>"

    with serving(scripted(script)) as address:
        page, _ = visit(browser, address, viewport=DESKTOP)
        drop(page, encoded(picture, "PNG"), kind="image/png")
        ask(page, "What?")
        page.locator("#looks li canvas").nth(1).wait_for()
        close = pixels(page, "#looks li:nth-child(2) canvas").convert("L")
        row = [close.getpixel((x, close.height // 2)) for x in range(close.width // 3, 2 * close.width // 3)]
        assert max(row) - min(row) > 150  # type: ignore[type-var, operator]
        page.click("#region")
        page.wait_for_timeout(1500)
        shown = pixels(page, "#frame canvas").convert("L")
        row = [shown.getpixel((x, shown.height // 2)) for x in range(shown.width // 2 - 60, shown.width // 2 + 60)]
        assert max(row) - min(row) > 150  # type: ignore[type-var, operator]


def test_a_file_that_the_browser_cannot_show_is_still_asked_about(browser: Any) -> None:
    with serving(scripted(looks_at_the_square)) as address:
        page, complaints = visit(browser, address, viewport=DESKTOP)
        drop(page, encoded(checked(), "TIFF"), kind="image/tiff")
        page.get_by_text("this browser cannot show it").first.wait_for()
        ask(page, "What?")
        assert page.text_content("#answer") == "red"
        assert outlined(page, ".box.seen", 1000, 600) == pytest.approx([700, 100, 800, 200], abs=4)
        assert complaints == []


def test_a_picture_is_pasted_chosen_or_taken_with_the_camera(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address, viewport=DESKTOP)
        paste(page, encoded(checked()))
        page.set_input_files(
            "#file", {"name": "chosen.png", "mimeType": "image/png", "buffer": encoded(checked(), "PNG")}
        )
        page.get_by_text("chosen.png: 1,000 × 600 pixels").first.wait_for()
        assert page.get_attribute("#camera", "capture") == "environment"
        page.set_input_files("#file", {"name": "words.txt", "mimeType": "text/plain", "buffer": b"words"})
        page.get_by_text("words.txt: no picture.").first.wait_for()


def test_an_example_is_opened_with_its_question(browser: Any) -> None:
    _, second, _ = read_samples(BUNDLED / "samples.jsonl")
    with serving(scripted()) as address:
        page, complaints = visit(browser, address, viewport=DESKTOP)
        page.click("#samples button >> nth=1")
        page.get_by_text(f"{Path(str(second.image)).name}:").first.wait_for()
        assert page.input_value("#question") == second.question
        assert page.input_value("#options") == ", ".join(second.choices)
        page.wait_for_selector("#ask:focus")
        page.keyboard.press("Enter")
        reach(page, "answered")
        assert complaints == []
