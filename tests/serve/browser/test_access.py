"""For everybody: axe in each state and theme, keys alone, a narrow screen, no motion, paper."""

from __future__ import annotations

from typing import Any

import pytest
from browsing import ask, drop, encoded, reach, visit
from serving import scripted, serving
from test_asking import fails_when_told

from ergo.backends import open_backend

pytestmark = pytest.mark.page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_axe_finds_nothing_in_any_state(browser: Any, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs: pip install '.[page]'").Axe()
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, viewport={"width": width, "height": 844}, color_scheme=scheme)

        def check(state: str) -> None:
            assert page.get_attribute("body", "data-state") == state
            results = axe.run(page)
            assert not results.response["violations"], results.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth") <= width

        check("empty")
        drop(page, encoded(), encoded())
        page.click("#more summary")
        check("ready")
        ask(page, "What, slowly?", until="asking")
        page.wait_for_selector("#looks li")
        check("asking")
        reach(page, "answered")
        page.get_by_text("History (1)").click()
        check("answered")
        ask(page, "Will it fail?", until="failed")
        check("failed")
        ask(page, "What, slowly?", until="asking")
        page.click("#stop")
        reach(page, "stopped")
        check("stopped")


def test_everything_is_done_with_keys_alone_in_the_order_it_is_seen(browser: Any) -> None:
    with serving(scripted(fails_when_told, seconds=1.5)) as address:
        page, _ = visit(browser, address, viewport={"width": 1280, "height": 800})
        order = []
        for _ in range(8):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.id || document.activeElement.closest('[id]').id"))
        assert order == ["theme", "pick", "samples", "samples", "samples", "question", "options", "more"]
        page.focus("#samples button")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"  # focus is seen
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask:focus")
        page.keyboard.press("Enter")
        page.wait_for_selector("#stop", state="visible")
        assert page.evaluate("document.activeElement.id") == "stop"
        reach(page, "answered")
        assert page.evaluate("document.activeElement.id") == "another"
        page.keyboard.press("Enter")
        page.keyboard.type("Will it fail?")
        page.keyboard.press("Enter")
        reach(page, "failed")
        assert page.evaluate("document.activeElement.id") == "again"


def test_each_step_is_said_once(browser: Any) -> None:
    with serving(scripted(fails_when_told, seconds=0.3)) as address:
        page, _ = visit(browser, address)
        drop(page, encoded())
        page.evaluate(
            "window.heard = []; new MutationObserver(() => heard.push(document.getElementById('live').textContent))"
            ".observe(document.getElementById('live'), { childList: true })"
        )
        ask(page, "What?")
        assert page.evaluate("heard") == ["Looking at a small version …", "Looking closely …", "red"]


def test_it_fits_320_pixels_without_scrolling_sideways(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, viewport={"width": 320, "height": 640})
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        drop(page, encoded(), encoded())
        ask(page, "Supercalifragilistic" * 10, "one, " + "longword" * 20)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_nothing_moves_where_that_is_not_wanted(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, reduced_motion="reduce")
        drop(page, encoded())
        ask(page, "What, slowly?", until="asking")
        assert page.evaluate("document.getAnimations().length") == 0
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate("document.getAnimations().length") == 1


def test_a_notice_leaves_a_phone_its_screen_and_opens_with_a_key(browser: Any) -> None:
    with serving(open_backend("ergo-photo")) as address:
        page, complaints = visit(browser, address, viewport={"width": 390, "height": 844})
        page.get_by_text("the bundled model").wait_for()
        assert page.locator("#notice").bounding_box()["height"] < 70
        page.focus("#notice summary")
        page.keyboard.press("Enter")
        page.get_by_text("name a real model").wait_for()
        assert complaints == []


def test_what_is_touched_is_large_enough_and_a_picture_without_a_region_has_none_to_show(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        drop(page, encoded(), encoded())
        ask(page, "What?")
        assert page.is_enabled("#region")
        small = page.evaluate(
            "[...document.querySelectorAll('button, input:not([type=checkbox]), select, summary, label.check')]"
            ".filter(one => one.offsetParent && one.offsetHeight < 43).map(one => one.id || one.textContent)"
        )
        assert small == []
        drop(page, encoded())
        assert page.is_disabled("#region")


def test_on_paper_there_is_the_answer_and_no_form(browser: Any) -> None:
    with serving(scripted(fails_when_told)) as address:
        page, _ = visit(browser, address, color_scheme="dark")
        drop(page, encoded(), encoded())
        ask(page, "What?")
        page.emulate_media(media="print")
        assert page.is_hidden("#several")
        assert page.is_visible("#answer")
        assert page.is_visible("#frame canvas")
        assert page.is_hidden("#form")
        assert page.is_hidden("#copy")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_the_theme_is_chosen_and_remembered(browser: Any) -> None:
    with serving(scripted()) as address:
        page, _ = visit(browser, address, color_scheme="light")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark != light
        page.reload()
        page.wait_for_selector("body[data-loaded]")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
