"""A real Chromium for the page's tests, and what they do with it again and again."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from PIL import Image

from ergo.world.questions import generate

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

DROP = """([type, pictures]) => {
  const all = new DataTransfer();
  for (const [name, data] of pictures) all.items.add(new File([Uint8Array.from(atob(data), one => one.charCodeAt(0))], name, { type }));
  document.getElementById("stage").dispatchEvent(new DragEvent("drop", { dataTransfer: all, bubbles: true, cancelable: true }));
}"""

PASTE = """([type, data]) => {
  const all = new DataTransfer();
  all.items.add(new File([Uint8Array.from(atob(data), one => one.charCodeAt(0))], "pasted", { type }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: all, bubbles: true }));
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; a test that needs one is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need: pip install '.[page]'")
    if CHROMIUM is None:
        pytest.skip("the page's tests need Chromium: apt-get install chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


def visit(
    browser: Any, address: str, fragment: str = "", context: Any = None, **settings: Any
) -> tuple[Any, list[str]]:
    """The page, and what its console complained about: errors, warnings, refused styles, requests to anyone else."""
    page = (context or browser.new_context(**settings)).new_page()
    page.set_default_timeout(15_000)
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
    page.goto(f"{address}/{fragment}")
    page.wait_for_selector("body[data-loaded]")
    return page, complaints


def encoded(picture: Image.Image | None = None, kind: str = "JPEG", **how: Any) -> bytes:
    """A picture's file; of the world if none is given."""
    out = io.BytesIO()
    picture = picture or next(generate("test", 1)).image.pixels  # type: ignore[union-attr]
    picture.save(out, kind, **how)
    return out.getvalue()


def drop(page: Any, *pictures: bytes, kind: str = "image/jpeg") -> None:
    """The files are dropped on the page; the last one is shown."""
    named = [[f"{number}.file", base64.b64encode(one).decode()] for number, one in enumerate(pictures)]
    page.evaluate(DROP, [kind, named])
    page.get_by_text(f"{len(pictures) - 1}.file:").first.wait_for()


def paste(page: Any, picture: bytes, kind: str = "image/jpeg") -> None:
    page.evaluate(PASTE, [kind, base64.b64encode(picture).decode()])
    page.get_by_text("pasted:").first.wait_for()


def ask(page: Any, question: str, options: str = "", until: str = "answered") -> None:
    """A question is typed and asked; returns in the state `until`."""
    page.fill("#question", question)
    page.fill("#options", options)
    page.press("#question", "Enter")
    reach(page, until)


def reach(page: Any, state: str) -> None:
    page.wait_for_selector(f"body[data-state={state}]")


def until(page: Any, condition: str, argument: Any = None) -> None:
    """Waits for a JavaScript function to be true; the page's own policy forbids what Playwright does for this."""
    for _ in range(100):
        if page.evaluate(condition, argument):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"never true: {condition}")


def outlined(page: Any, box: str, width: int, height: int) -> list[float]:
    """A box on screen in pixels of the upright picture, which is shown whole and in the middle of its frame."""
    inner, frame = page.locator(box).bounding_box(), page.locator("#frame").bounding_box()
    scale = min(frame["width"] / width, frame["height"] / height)
    left = (inner["x"] - frame["x"] - (frame["width"] - width * scale) / 2) / scale
    top = (inner["y"] - frame["y"] - (frame["height"] - height * scale) / 2) / scale
    return [left, top, left + inner["width"] / scale, top + inner["height"] / scale]


def pixels(page: Any, canvas: str) -> Image.Image:
    """What is on a canvas."""
    uri = page.evaluate("name => document.querySelector(name).toDataURL()", canvas)
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
