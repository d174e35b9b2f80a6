"""HTTP and JSON as no client library would write them: answered or refused, never a 500, and the next is answered."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from serving import chat_body, data_uri, scripted, serving

from ergo.serve.bodies import CUT_FROM
from ergo.serve.settings import Limits, Settings

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
BODY = json.dumps(chat_body("#7", data_uri((8, 8)))).encode()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(scripted(), Settings(limits=Limits(head_seconds=1.5, idle_seconds=1.5))) as address:
        yield address
        health = httpx.get(f"{address}/health").json()
        assert (health["status"], health["in_progress"], health["crashes"], health["restarts"]) == ("ready", 0, 0, 0)


def raw(address: str, *sent: bytes, seconds: float = 6, pause: float = 0.0) -> bytes:
    """What comes back until the server closes, or says nothing for as long as an answer takes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.settimeout(seconds)
        found = b""
        try:
            for piece in sent:
                line.sendall(piece)
                time.sleep(pause)
            while chunk := line.recv(65536):
                found += chunk
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        return found


def sized(body: bytes, *more: bytes) -> bytes:
    return HEAD + b"".join(one + b"\r\n" for one in more) + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, end: bytes = b"0\r\n\r\n", *more: bytes) -> bytes:
    head = HEAD + b"".join(one + b"\r\n" for one in more) + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    return head + b"%x\r\n" % len(body) + body + b"\r\n" + end


CLOSE = b"connection: close"
ODD: dict[str, tuple[bytes, set[bytes]]] = {
    "HTTP/1.0": (sized(BODY).replace(b"HTTP/1.1", b"HTTP/1.0"), {b"200"}),
    "chunks": (chunked(BODY), {b"200"}),
    "trailers": (chunked(BODY, b"0\r\nx-a: 1\r\nhost: evil\r\n\r\n"), {b"200"}),
    "a chunk's extension": (chunked(BODY).replace(b"\r\n{", b";a=b\r\n{", 1), {b"200"}),
    "chunks of no size": (chunked(BODY).replace(b"%x\r\n" % len(BODY), b"zz\r\n"), {b"400"}),
    "a negative chunk": (chunked(BODY).replace(b"%x\r\n" % len(BODY), b"-1\r\n"), {b"400"}),
    "a huge chunk": (chunked(BODY).replace(b"%x\r\n" % len(BODY), b"f" * 40 + b"\r\n"), {b"400"}),
    "chunked twice": (chunked(BODY, b"0\r\n\r\n", b"transfer-encoding: chunked"), {b"400", b"501"}),
    "gzip, then chunked": (chunked(BODY).replace(b": chunked", b": gzip, chunked"), {b"400", b"501"}),
    "an absolute URI": (sized(BODY, CLOSE).replace(b"/v1/chat", b"http://localhost/v1/chat"), {b"200", b"404"}),
    "an absolute URI elsewhere": (sized(BODY, CLOSE).replace(b"/v1/chat", b"http://evil.example/v1/chat"), {b"404"}),
    "an authority": (b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", {b"400", b"404", b"405"}),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", {b"400", b"404", b"405"}),
    "no host": (sized(BODY, CLOSE).replace(b"host: localhost\r\n", b""), {b"400"}),
    "two hosts": (sized(BODY, CLOSE, b"host: evil.example"), {b"400"}),
    "a host with a user": (sized(BODY, CLOSE).replace(b"host: localhost", b"host: a@localhost"), {b"400"}),
    "two lengths": (sized(BODY, b"content-length: 5", CLOSE), {b"400"}),
    "a list of lengths": (sized(BODY, CLOSE).replace(b"%d\r\n\r\n" % len(BODY), b"5, 5\r\n\r\n"), {b"400"}),
    "a negative length": (sized(BODY, CLOSE).replace(b"length: %d" % len(BODY), b"length: -1"), {b"400"}),
    "a length with a plus": (sized(BODY, CLOSE).replace(b"length: ", b"length: +"), {b"400"}),
    "two content types": (sized(BODY, b"content-type: text/plain", CLOSE), {b"200", b"400", b"415"}),
    "10,000 headers": (sized(BODY, CLOSE, *(b"x-%d: 1" % n for n in range(10_000))), {b"400", b"431"}),
    "a header of 100 kB": (sized(BODY, CLOSE, b"x-a: " + b"a" * 100_000), {b"400", b"431"}),
    "a header with NUL": (sized(BODY, CLOSE, b"x-a: \x00"), {b"400"}),
    "a folded header": (sized(BODY, CLOSE, b"x-a: 1\r\n 2"), {b"200", b"400"}),
    "a space before the colon": (sized(BODY, CLOSE, b"x-a : 1"), {b"400"}),
    "line feeds alone": (sized(BODY, CLOSE).replace(b"\r\n", b"\n", 5), {b"200", b"400"}),
    "a key in Latin-1": (sized(BODY, CLOSE, b"authorization: Bearer \xe9\xff"), {b"200"}),
    "no method": (b" / HTTP/1.1\r\nhost: localhost\r\n\r\n", {b"400"}),
    "HTTP/2's preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {b"400", b"505"}),
    "HTTP/9": (b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n", {b"400", b"505"}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n\r\n", {b"400"}),
    "an upgrade": (b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n", {b"200", b"400", b"426"}),
    "a gzip body": (sized(gzip.compress(BODY), CLOSE, b"content-encoding: gzip"), {b"415"}),
    "a bomb": (sized(gzip.compress(b" " * 10_000_000), CLOSE, b"content-encoding: gzip"), {b"415"}),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_http_is_answered_or_refused_and_the_next_is_answered(address: str, name: str) -> None:
    sent, statuses = ODD[name]
    found = raw(address, sent)
    assert found[:7] == b"HTTP/1.", (name, found[:100])
    assert found.split()[1] in statuses, found[:300]
    assert httpx.post(f"{address}/v1/chat/completions", content=BODY, headers={"content-type": "application/json"}).json()["choices"][0]["message"]["content"] == "7"  # fmt: skip


def test_requests_one_after_the_other_on_one_line_are_answered_in_order(address: str) -> None:
    bodies = [json.dumps(chat_body(f"#{number}", data_uri((8, 8)))).encode() for number in range(8)]
    found = raw(address, b"".join(map(sized, bodies[:-1])) + sized(bodies[-1], CLOSE))
    said = [json.loads(part[part.index(b"{") :])["choices"][0]["message"]["content"]
            for part in found.split(b"HTTP/1.1 200 OK")[1:]]  # fmt: skip
    assert said == [str(number) for number in range(8)]


def test_who_asks_before_sending_is_told_to_go_on(address: str) -> None:
    expecting = HEAD + b"expect: 100-continue\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(BODY)
    found = raw(address, expecting, BODY, pause=0.3)
    assert found.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 200 OK" in found
    too_much = HEAD + b"expect: 100-continue\r\ncontent-length: 900000000\r\n\r\n"
    assert raw(address, too_much).startswith(b"HTTP/1.1 413")


def test_a_body_that_ends_early_frees_its_place(address: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as line:
            line.sendall(HEAD + b"content-length: 100000\r\n\r\n{")
    assert raw(address, HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{").startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_who_leaves_at_any_stage_frees_their_place(path: str) -> None:
    """After part of the head, the head, part of the body, all of it, and each piece of the stream; with FIN and with RST."""
    content = chat_body("#7", data_uri((8, 8)), stream=True) if path[0] == "c" else {"input": "#7", "stream": True}
    body = json.dumps(content).encode()
    whole = HEAD.replace(b"chat/completions", path.encode()) + b"content-length: %d\r\n\r\n" % len(body) + body
    stages = [(20, 0), (len(whole) - len(body), 0), (len(whole) - 5, 0), *((len(whole), pieces) for pieces in range(5))]
    with serving(scripted(seconds=0.3)) as address:
        host, port = address.removeprefix("http://").split(":")
        for abrupt in (False, True):
            for sent, pieces in stages:
                with socket.create_connection((host, int(port))) as line:
                    line.settimeout(10)
                    if abrupt:
                        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    line.sendall(whole[:sent])
                    for _ in range(pieces):
                        line.recv(65536)
        deadline = time.monotonic() + 10
        while (health := httpx.get(f"{address}/health").json())["in_progress"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (health["status"], health["crashes"]) == ("ready", 0)
        again = httpx.post(f"{address}/v1/{path}", content=body, headers={"content-type": "application/json"})
        assert "7" in again.text


def test_the_same_question_many_times_at_once_is_answered_each_time(address: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: httpx.post(f"{address}/v1/chat/completions", content=BODY,
                                                   headers={"content-type": "application/json"}).json(), range(32)))  # fmt: skip
    assert [one["choices"][0]["message"]["content"] for one in found] == ["7"] * 32
    assert len({one["id"] for one in found}) == 32


def test_a_body_in_pieces_of_one_byte_is_read(address: str) -> None:
    small = json.dumps({"messages": [{"role": "user", "content": "x #7"}]}).encode()
    pieces = b"".join(b"1\r\n%c\r\n" % one for one in small)
    found = raw(address, HEAD + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n", pieces, b"0\r\n\r\n")
    assert b"200 OK" in found


def question(extra: str) -> bytes:
    return b'{"messages": [{"role": "user", "content": "x #7"}], ' + extra.encode() + b"}"


def form(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


JSON: dict[str, tuple[bytes, str]] = {
    "NaN": (question('"temperature": NaN'), "NaN"),
    "Infinity": (question('"temperature": -Infinity'), "Infinity"),
    "1e999": (question('"temperature": 1e999'), "temperature"),
    "a number of 5,000 digits": (question('"seed": 1' + "0" * 5000), "not JSON"),
    "names twice": (question('"messages": [{"role": "user", "content": "y"}]'), "'messages' stands twice"),
    "names twice, inside": (b'{"messages": [{"role": "user", "content": "x", "content": "y"}]}', "'content' stands twice"),
    "invalid UTF-8": (b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}', "not JSON"),
    "UTF-16": (question('"n": 1').decode().encode("utf-16"), ""),
    "a mark before it": (b"\xef\xbb\xbf" + question('"n": 1'), "not JSON"),
    "two values": (question('"n": 1') * 2, "not JSON"),
    "a comment": (question('"n": 1 /* one */'), "not JSON"),
    "deep arrays": (question('"metadata": ' + "[" * 20_000 + "]" * 20_000), "not JSON"),
    "deep objects": (question('"metadata": ' + '{"a":' * 20_000 + "1" + "}" * 20_000), "not JSON"),
    "a deep schema": (question('"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"answer": ' + '{"anyOf": [' * 400 + "1" + "]}" * 400 + "}}}}"), "nested more than"),
    "lists in lists": (question('"metadata": ' + "[" * 100 + "]" * 100), "nested more than"),
    "a schema of 40,000 characters": (question(json.dumps({"response_format": form(x={"description": "a" * 40_000})})[1:-1]), "characters"),
    "an enum of 27": (question(json.dumps({"response_format": form(choice={"type": "string", "enum": [f"a{n}" for n in range(27)]})})[1:-1]), "27 options"),
    "40,000 names": (b"{" + b",".join(b'"a%d": 1' % n for n in range(40_000)) + b"}", "messages"),
    "a text for a list": (b'{"messages": "x"}', "messages"),
    "null": (b"null", "body"),
    "nothing": (b"", "not JSON"),
    "a long picture that is text": (b'{"messages": [{"role": "user", "content": "data:image/' + b"a" * 2 * CUT_FROM + b'"}]}', "no picture is taken"),
    "a long picture as a name": (b'{"data:image/' + b"a" * 2 * CUT_FROM + b'": 1, "messages": [{"role": "user", "content": "x"}]}', "not honoured"),
    "a long picture without an end": (b'{"messages": [{"role": "user", "content": "data:image/' + b"a" * 2 * CUT_FROM, "not JSON"),
    "a text of 5 MB": (b'{"messages": [{"role": "user", "content": "' + b"a" * 5_000_000 + b'"}]}', "beside its pictures"),
}  # fmt: skip


READ = {"UTF-16", "a mark before it"}  # they are JSON, if an odd one


@pytest.mark.parametrize("name", JSON)
def test_odd_json_is_one_line(address: str, name: str) -> None:
    sent, words = JSON[name]
    for path in ("chat/completions", "responses"):
        reply = httpx.post(f"{address}/v1/{path}", content=sent, headers={"content-type": "application/json"})
        assert reply.status_code == (200 if name in READ and path[0] == "c" else 400), reply.text[:300]
        if reply.status_code == 400 and path[0] == "c":
            assert words in reply.json()["error"]["message"]


def large(**change: Any) -> bytes:
    """A request with a picture long enough to be cut out of its body."""
    import numpy as np
    from PIL import Image

    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    from io import BytesIO

    out = BytesIO()
    noise.save(out, "PNG")
    import base64

    uri = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    assert len(uri) > CUT_FROM
    return json.dumps(chat_body("#7", uri, **change)).encode()


@pytest.mark.parametrize(
    "spelled",
    [
        lambda body: body,
        lambda body: body.replace(b"/", b"\\/"),  # as PHP writes it
        lambda body: body.replace(b": ", b":").replace(b", ", b","),
        lambda body: body.replace(b"{", b"{\n\t"),
    ],
)
def test_a_long_picture_is_read_however_its_json_is_spelled(address: str, spelled: Any) -> None:
    reply = httpx.post(f"{address}/v1/chat/completions", content=spelled(large()), headers={"content-type": "application/json"})  # fmt: skip
    assert reply.status_code == 200, reply.text
    assert reply.json()["ergo"]["turns"][0]["views"][0]["source"] == [200, 200]
