"""What stands between: proxies of every kind, and certificates that a company or a laboratory signs itself."""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from faulty import FaultyServer, status

from ergo.backends.openai.backend import OpenAIBackend
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError, MissingExtra, UsageError
from ergo.core.messages import Completion, Message, Request

ASK = Request((Message("user", ("Is it there?",)),))
ELSEWHERE = "http://model.invalid:8000"  # a name that no resolver knows: only a proxy can get there
SETTINGS = EndpointSettings(served_name="tiny", retries=0, timeout=5)
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def ask(url: str) -> Completion | BackendError:
    with OpenAIBackend(url, SETTINGS) as backend:
        [result] = backend.complete([ASK])
    assert "\n" not in str(result)
    return result


@contextmanager
def relay(target: int, socks: bool) -> Iterator[tuple[int, list[str]]]:
    """A SOCKS5 or CONNECT proxy that takes everybody to one port here. Yields its port, and the names it was asked for."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), list[str]()

    def serve(client: socket.socket) -> None:
        with client, client.makefile("rb") as lines:
            if socks:
                client.recv(1024)  # its ways to say who it is
                client.sendall(b"\x05\x00")  # nobody is fine
                head = client.recv(1024)  # version, connect, 0, kind of address, ...
                asked.append(head[5 : 5 + head[4]].decode() if head[3] == 3 else "an address")
                client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            else:
                asked.append(lines.readline().decode().split()[1])
                while lines.readline().strip():
                    pass
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection(("127.0.0.1", target)) as server:
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join(5)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        listener.close()


def port_of(server: FaultyServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


@pytest.fixture
def nobody() -> str:
    """A port of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


# ── proxies ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_gets_there_and_resolves_the_name(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer() as server, relay(port_of(server), socks=True) as (port, asked):
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{port}")
        result = ask(ELSEWHERE)
    assert isinstance(result, Completion), result
    assert asked == ["model.invalid"]


def test_a_socks_proxy_without_its_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(MissingExtra, match=r"through a SOCKS proxy needs an extra: pip install .*\[socks\]"):
        OpenAIBackend(ELSEWHERE, SETTINGS)


def test_a_proxy_of_no_known_kind_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://127.0.0.1:1")
    with pytest.raises(UsageError, match=r"the proxy that the environment names cannot be used: .*socks4"):
        OpenAIBackend(ELSEWHERE, SETTINGS)


def test_an_http_proxy_gets_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer() as proxy:  # asked for the whole URL, it answers itself
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        assert isinstance(ask(ELSEWHERE), Completion)
    assert proxy.paths == [f"{ELSEWHERE}/v1/chat/completions"]


def test_a_proxy_that_wants_a_password_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer(status(407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        result = ask(ELSEWHERE)
    assert isinstance(result, BackendError)
    assert result.kind == "http_407"
    assert "NAME:PASSWORD@HOST:PORT" in str(result)


def test_a_tunnel_that_is_refused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer() as proxy:  # CONNECT is 501 to it
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.removesuffix("/v1"))
        result = ask("https://model.invalid")
    assert isinstance(result, BackendError)
    assert result.kind == "proxy"
    assert f"through the proxy 127.0.0.1:{port_of(proxy)}" in str(result)
    assert "NO_PROXY" in str(result)


def test_a_proxy_that_is_not_there_is_named_without_its_password(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pa55word@{nobody}")
    result = ask(ELSEWHERE)
    assert isinstance(result, BackendError)
    assert f"did not answer through the proxy {nobody} (connection refused). Is the proxy running?" in str(result)
    assert "pa55word" not in str(result)


def test_no_proxy_stands_before_this_machine(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{nobody}")
    with FaultyServer() as server:
        assert isinstance(ask(server.url), Completion)
        assert isinstance(ask(server.url.replace("127.0.0.1", "localhost")), Completion)


def test_a_name_that_the_environment_exempts_is_reached_directly(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{nobody}")
    monkeypatch.setenv("NO_PROXY", "model.invalid")
    result = ask(ELSEWHERE)
    assert isinstance(result, BackendError)
    assert result.kind == "unreachable"
    assert "proxy" not in str(result)


# ── certificates ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def authority(tmp_path: Path) -> tuple[trustme.CA, Path]:
    own = trustme.CA()
    own.cert_pem.write_to_path(tmp_path / "ca.pem")
    return own, tmp_path / "ca.pem"


@contextmanager
def tls(server: FaultyServer, own: trustme.CA, name: str) -> Iterator[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.issue_cert(name).configure_cert(context)
    server.wrap(context)
    with server:
        yield


def test_a_private_authority_is_trusted_where_the_environment_names_it(
    authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, file = authority
    server = FaultyServer()
    with tls(server, own, "localhost"):
        url = f"https://localhost:{port_of(server)}"
        untrusted = ask(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert isinstance(ask(url), Completion)
    assert isinstance(untrusted, BackendError)
    assert untrusted.kind == "tls"
    assert "SSL_CERT_FILE" in str(untrusted)


def test_certificates_that_cannot_be_read_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing.pem"))
    with pytest.raises(UsageError, match="SSL_CERT_FILE names cannot be read"):
        OpenAIBackend("https://model.invalid", SETTINGS)


def test_a_tunnel_carries_tls_to_the_name_that_was_asked_for(
    authority: tuple[trustme.CA, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, file = authority
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = FaultyServer()
    with tls(server, own, "model.invalid"), relay(port_of(server), socks=False) as (port, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        result = ask("https://model.invalid:8443")
    assert isinstance(result, Completion), result
    assert asked == ["model.invalid:8443"]
    assert json.dumps(server.payloads[0])
