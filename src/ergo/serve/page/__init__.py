"""The page at `/`: files as they lie here, no build step. It asks nobody but this server.

index.html   what there is to see           style.css    how; the colours are those of every drawn page (viz/palette)
main.js      the states, and who does what  server.js    the server: what it is, a question's stream of events
picture.js   an opened file                 stage.js     zoom, pan, regions, one's own box
answer.js    the answer and its looks       sharing.js   link, copy, an answer as a picture
history.js   what this browser keeps
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ergo.api import BUNDLED
from ergo.samples.reader import read_samples
from ergo.serve.replies import Json
from ergo.viz.html import render
from ergo.viz.palette import DARK, LIGHT

HERE = Path(__file__).resolve().parent
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",  # the page and its files are of one version
}
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".jpg": "image/jpeg"}


class Page:
    """The page's files and the bundled examples, read once."""

    def __init__(self) -> None:
        colours = render("colours.css", light=asdict(LIGHT), dark=asdict(DARK)).encode()
        self._files = {path.name: path.read_bytes() for path in HERE.iterdir() if path.suffix in KINDS}
        self._files["style.css"] = colours + self._files["style.css"]
        self._examples = [
            {"picture": f"examples/{Path(str(sample.image)).name}", "question": sample.question, "options": sample.choices}
            for sample in read_samples(BUNDLED / "samples.jsonl")
        ]  # fmt: skip
        self._pictures = {path.name: path.read_bytes() for path in BUNDLED.glob("*.jpg")}

    def add_to(self, app: FastAPI) -> None:
        """Its routes; they need no key, and the API's description leaves them out."""
        for path, route in (
            ("/", self.index),
            ("/page/{name}", self.file),
            ("/examples", self.examples),
            ("/examples/{name}", self.example),
        ):
            app.add_api_route(path, route, methods=["GET", "HEAD"], include_in_schema=False)

    async def index(self) -> Response:
        return _sent("index.html", self._files)

    async def file(self, name: str) -> Response:
        return _sent(name, self._files)

    async def examples(self) -> Response:
        """The bundled pictures, each with a question and its options; the truth is not told."""
        return Json(self._examples)

    async def example(self, name: str) -> Response:
        return _sent(name, self._pictures)


def _sent(name: str, files: dict[str, bytes]) -> Response:
    if name not in files:
        raise HTTPException(404)
    return Response(files[name], media_type=KINDS[Path(name).suffix], headers=HEADERS)
