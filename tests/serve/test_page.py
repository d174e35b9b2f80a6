"""The page as any client gets it: its files, its headers, the examples. In a browser: tests/serve/browser."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image
from serving import scripted, serving

from ergo.api import BUNDLED
from ergo.samples.reader import read_samples
from ergo.serve.settings import Settings


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(scripted(), Settings(api_key="geheim")) as address:
        yield address


def files(address: str) -> dict[str, httpx.Response]:
    """The page and every file that it or one of its scripts names."""
    found = {"": httpx.get(address)}
    waiting = re.findall(r'"page/([^"]+)"', found[""].text)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = httpx.get(f"{address}/page/{name}")
            waiting += re.findall(r'from "\./([^"]+)"', found[name].text)
    return found


def test_every_file_of_the_page_is_served_without_a_key_and_is_small(address: str) -> None:
    found = files(address)
    assert {"style.css", "main.js", "stage.js", "history.js"} <= set(found)
    for name, reply in found.items():
        kind = {"": "text/html", "css": "text/css", "js": "text/javascript"}[name.rpartition(".")[2]]
        assert reply.status_code == 200
        assert reply.headers["content-type"] == f"{kind}; charset=utf-8"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-cache"
    assert sum(len(reply.content) for reply in found.values()) < 70_000


def test_nothing_may_run_or_be_asked_that_is_not_the_servers_own(address: str) -> None:
    policy = dict(
        rule.strip().split(" ", 1) for rule in httpx.get(address).headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    for name, reply in files(address).items():
        assert not re.findall(r"https?://\w", reply.text), name
        assert not re.findall(r"innerHTML|eval\(|<style|<script>|\sstyle=|\son\w+=\"", reply.text), name


def test_the_examples_are_pictures_with_questions_and_without_the_truth(address: str) -> None:
    samples = list(read_samples(BUNDLED / "samples.jsonl"))
    examples = httpx.get(f"{address}/examples").json()
    assert [one["question"] for one in examples] == [sample.question for sample in samples]
    assert [one["options"] for one in examples] == [list(sample.choices) for sample in samples]
    assert all(set(one) == {"picture", "question", "options"} for one in examples)
    for one in examples:
        reply = httpx.get(f"{address}/{one['picture']}")
        assert reply.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(reply.content)).width > 1000


def test_no_other_file_is_served(address: str) -> None:
    for path in ("page/__init__.py", "page/..%2fapp.py", "page/%2e%2e/app.py", "examples/samples.jsonl", "page/", "examples/..%2f..%2f__init__.py"):  # fmt: skip
        assert httpx.get(f"{address}/{path}").status_code == 404, path


def test_a_head_request_has_the_pages_headers_and_no_body(address: str) -> None:
    reply = httpx.head(address)
    assert reply.status_code == 200
    assert not reply.content
    assert "content-security-policy" in reply.headers
