"""Nobody in who does not belong, and nothing out that should not be: every refusal is a status and one line."""

from __future__ import annotations

import base64
import doctest
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from serving import chat_body, data_uri, scripted, serving

from ergo.core.errors import PictureError
from ergo.serve import fetch
from ergo.serve.fetch import fetched
from ergo.serve.pictures import read_picture
from ergo.serve.settings import Limits, Settings, Sources


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(scripted(), Settings(limits=Limits(body=3_000_000))) as address:
        yield address


def post(address: str, body: object = None, content: bytes | None = None, **headers: str) -> httpx.Response:
    sent = content if content is not None else json.dumps(body).encode()
    return httpx.post(
        f"{address}/v1/chat/completions",
        content=sent,
        headers={"content-type": "application/json"} | headers,
        timeout=20,
    )


def refused(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in reply.text
    message: str = error["message"]
    assert "\n" not in message
    return message


def test_a_key_is_asked_for_everywhere_but_health_and_the_page() -> None:
    with serving(scripted(), Settings(api_key="geheim")) as address:
        for path in ("/v1/models", "/metrics"):
            assert httpx.get(address + path).status_code == 401
            assert httpx.get(address + path, headers={"authorization": "Bearer geheim"}).status_code == 200
        for key in ("Bearer gehei", "Bearer geheimm", "Basic geheim", "Bearer", "Bearer gehëim"):
            assert "key" in refused(
                httpx.post(f"{address}/v1/chat/completions", json=chat_body(), headers={"authorization": key.encode()}),
                401,
            )
        assert (
            httpx.post(
                f"{address}/v1/chat/completions", json=chat_body(), headers={"authorization": "bearer geheim"}
            ).status_code
            == 200
        )
        assert httpx.get(f"{address}/health").status_code == 200


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b"null", b'{"messages": []}', b'{"messages": "x"}', b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000,
     b'{"messages": [{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "x"}]}]}',
     b'{"messages": [{"role": "user", "content": null}]}', b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}',
     b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": -1}'],
    ids=lambda content: repr(content[:24]),
)  # fmt: skip
def test_bodies_that_are_no_request_are_one_line(address: str, content: bytes) -> None:
    refused(post(address, content=content), 400)


def test_too_large_a_body_is_not_read(address: str) -> None:
    assert "3,000,000" in refused(post(address, content=b" " * 3_000_001), 413)

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    reply = httpx.post(
        f"{address}/v1/chat/completions", content=endless(), headers={"content-type": "application/json"}
    )
    refused(reply, 413)


def test_a_page_elsewhere_cannot_call_it(address: str) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        refused(post(address, chat_body(), **{"content-type": kind}), 415)
    assert httpx.get(f"{address}/v1/models", headers={"host": "evil.example"}).status_code == 400
    reply = httpx.options(
        f"{address}/v1/chat/completions",
        headers={"origin": "https://evil.example", "access-control-request-method": "POST"},
    )
    assert "access-control-allow-origin" not in reply.headers


def test_an_origin_that_is_allowed_may() -> None:
    with serving(scripted(), Settings(origins=("https://ui.example",))) as address:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
        for origin, allowed in (("https://ui.example", True), ("https://evil.example", False)):
            reply = httpx.options(f"{address}/v1/chat/completions", headers={"origin": origin, **asked})
            assert (reply.headers.get("access-control-allow-origin") == origin) == allowed


def bomb() -> str:
    """A PNG that says it has 60,000 x 60,000 pixels."""
    head = b"\x00\x00\xea\x60\x00\x00\xea\x60\x08\x02\x00\x00\x00"

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    png = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


@pytest.mark.parametrize(
    "picture",
    ["data:image/png;base64,", "data:image/png;base64,!!!!", "data:text/html,<b>x</b>", "data:image/svg+xml,<svg onload=alert(1)>",
     data_uri()[:400], "data:image/jpeg;base64," + base64.b64encode(b"GIF89a" + bytes(50)).decode(), bomb(),
     "file:///etc/passwd", "/etc/passwd", "../../etc/passwd", "ftp://example.com/a.png", "gopher://x", "javascript:alert(1)", "", " "],
    ids=lambda picture: picture[:30],
)  # fmt: skip
def test_pictures_that_are_none_are_one_line(address: str, picture: str) -> None:
    refused(post(address, chat_body(picture=picture) if picture else chat_body(picture=" ")), 400)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/",
     "http://127.1/", "http://169.254.169.254/latest/meta-data", "http://[::ffff:10.0.0.1]/", "http://example.com@127.0.0.1/",
     "http://allowed.example@127.0.0.1/", "http://127.0.0.1#allowed.example", "http://allowed.example.evil.example/",
     "https://10.0.0.8/x.png", "http://0/", "http://localhost.:80/"],
)  # fmt: skip
def test_nothing_is_fetched_that_was_not_allowed(address: str, url: str) -> None:
    assert "data:" in refused(post(address, chat_body(picture=url)), 400)


def test_an_allowed_name_that_points_inside_is_not_fetched() -> None:
    inside = Sources(hosts=frozenset({"localhost", "127.0.0.1", "::1", "2130706433", "0x7f.1", "127.1", "0"}))
    for host in inside.hosts:
        url = f"http://[{host}]/a.png" if ":" in host else f"http://{host}/a.png"
        with pytest.raises(PictureError, match=r"not public|no address"):
            fetched(url, inside, 10**6)


def test_which_addresses_are_public() -> None:
    assert doctest.testmod(fetch).failed == 0
    for address in (
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "fe80::1",
        "fc00::1",
        "2002:7f00:1::",
        "198.18.0.1",
        "240.0.0.1",
    ):
        assert not fetch.is_public(address), address


class Redirecting(BaseHTTPRequestHandler):
    """Sends everybody inside."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("location", "http://169.254.169.254/latest/meta-data")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_redirect_is_judged_as_a_new_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The allowed host is taken to be public for this test, so that the redirect itself is what is judged."""
    monkeypatch.setattr(fetch, "is_public", lambda address: address == "127.0.0.1")
    with HTTPServer(("127.0.0.1", 0), Redirecting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"localhost:{server.server_port}"
        allowed = Sources(hosts=frozenset({here, "169.254.169.254"}))
        with pytest.raises(PictureError, match="not public"):
            fetched(f"http://{here}/a.png", allowed, 10**6)
        with pytest.raises(PictureError, match="not fetched from there"):
            fetched(f"http://{here}/a.png", Sources(hosts=frozenset({here})), 10**6)
        with pytest.raises(PictureError, match="not fetched from there"):  # the name alone means its usual port
            fetched(f"http://{here}/a.png", Sources(hosts=frozenset({"localhost"})), 10**6)
        server.shutdown()


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that answers differently the second time gains nothing: it is asked once."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        assert host == "pictures.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(fetch.socket, "getaddrinfo", resolve)
    with pytest.raises(PictureError, match="not public"):
        fetched("http://pictures.example/a.png", Sources(hosts=frozenset({"pictures.example"})), 10**6)
    assert asked == ["pictures.example"]


def test_too_many_pictures_and_too_much_text_are_refused(address: str) -> None:
    part = {"type": "image_url", "image_url": {"url": data_uri((8, 8))}}
    many = {"messages": [{"role": "user", "content": [*[part] * 17, {"type": "text", "text": "x"}]}]}
    assert "17 pictures" in refused(post(address, many), 400)
    assert "characters" in refused(post(address, {"messages": [{"role": "user", "content": "x" * 32_001}]}), 400)


def test_other_paths_are_not_files(address: str) -> None:
    for path in ("/etc/passwd", "/..%2f..%2fetc/passwd", "/page.html", "/%2e%2e/app.py", "/docs", "/redoc"):
        assert httpx.get(address + path).status_code == 404


def test_a_data_uri_is_taken_as_it_is() -> None:
    assert read_picture(data_uri((30, 20), kind="PNG"), Sources(), Limits())[:4] == b"\x89PNG"
