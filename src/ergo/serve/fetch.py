"""Pictures at addresses that clients name, on hosts that were allowed; never a way into the network behind the server.

A host's every address must be public, the connection goes to the address that was checked (a name that changes its
mind in between gains nothing), and each redirect is judged as a new address.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from ergo.core.errors import PictureError
from ergo.images.tiff import is_tiff
from ergo.serve.settings import Sources

REDIRECTS = 3
REFUSED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's own metadata, on a public address
            "fec0::/10",  # site-local, deprecated and still routed
            "64:ff9b:1::/48",  # a network's own translation of IPv4
            "::/96",  # IPv4 inside IPv6, the old way
            "100.64.0.0/10",  # a carrier's own network; Alibaba's metadata
            "192.88.99.0/24",  # 6to4 relays
        ),
    )
)
"""Addresses that `ipaddress` takes for anyone's and that are not."""


def fetched(url: str, sources: Sources, max_bytes: int) -> bytes:
    """The bytes at an allowed address."""
    with _client(sources) as client, _answer(client, url, sources) as response:
        return _read(response.iter_bytes(), time.monotonic() + sources.seconds, sources, max_bytes)


def opened(url: str, sources: Sources, max_bytes: int) -> bytes | WebFile:
    """The bytes at an allowed address; a large TIFF as a file of which ranges are read, where its server knows them."""
    with _client(sources) as client, _answer(client, url, sources) as response:
        chunks, length = response.iter_bytes(), response.headers.get("content-length", "")
        start = next(chunks, b"")
        ranged = response.headers.get("accept-ranges") == "bytes" and length.isdigit() and int(length) > MIN_RANGED
        if ranged and is_tiff(start):
            return WebFile(url, sources, int(length))
        return _read(itertools.chain([start], chunks), time.monotonic() + sources.seconds, sources, max_bytes)


MIN_RANGED = 1 << 20
"""Bytes of a TIFF from which ranges of it are read."""


@dataclass(frozen=True)
class WebFile:
    """A file at an allowed address (`images.ranges.Ranges`); each request to it is checked as the first was."""

    url: str
    sources: Sources
    size: int
    name: str = "picture"

    def read_ranges(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        found = []
        with _client(self.sources) as client:
            for start, end in spans:
                with _answer(client, self.url, self.sources, (start, end)) as response:
                    ends = time.monotonic() + self.sources.seconds
                    found.append(_read(response.iter_bytes(), ends, self.sources, end - start))
        return found


def _client(sources: Sources) -> httpx.Client:
    return httpx.Client(follow_redirects=False, trust_env=False, timeout=sources.seconds)


@contextmanager
def _answer(
    client: httpx.Client, url: str, sources: Sources, span: tuple[int, int] | None = None
) -> Iterator[httpx.Response]:
    """The answer at an allowed address, after its redirects, not yet read. span: the bytes asked for; None for all."""
    wanted = 200 if span is None else 206
    for _ in range(REDIRECTS + 1):
        try:
            request = _checked(client, url, sources)
            if span is not None:
                request.headers["range"] = f"bytes={span[0]}-{span[1] - 1}"
                request.headers["accept-encoding"] = "identity"
            with closing(client.send(request, stream=True)) as response:
                if response.is_redirect:
                    url = str(httpx.URL(url).join(response.headers["location"]))
                    continue
                if response.status_code != wanted:
                    raise PictureError(f"{_host(url)} answered {response.status_code}", "fetch")
                yield response
                return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PictureError(f"{_host(url)} could not be reached ({type(error).__name__})", "fetch") from error
    raise PictureError(f"more than {REDIRECTS} redirects", "fetch")


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def _checked(client: httpx.Client, url: str, sources: Sources) -> httpx.Request:
    """A request to the one address that was checked, under the name in its URL."""
    refused = PictureError("pictures are not fetched from there: send the picture as a data: URI", "host")
    try:
        parts, host = urlsplit(url), _host(url)
        usual = 443 if parts.scheme == "https" else 80
        port = parts.port or usual
    except ValueError as error:
        raise refused from error
    named = host if port == usual else f"{host}:{port}"
    if parts.scheme not in ("http", "https") or named not in sources.hosts or parts.username is not None:
        raise refused
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError, UnicodeError) as error:
        raise PictureError(f"{host} has no address", "host") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses or not all(is_public(address) for address in addresses):
        raise PictureError(f"{host} has an address that is not public", "host")
    aimed = httpx.URL(url).copy_with(host=addresses[0])
    return client.build_request("GET", aimed, headers={"host": named}, extensions={"sni_hostname": host})


def is_public(address: str) -> bool:
    """Whether an address is anyone's: not private, loopback, link-local, reserved, nor such an IPv4 inside an IPv6.

    >>> [is_public(a) for a in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1")]
    [True, False, False, False, False, False]
    """
    found = ipaddress.ip_address(address.split("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return found.is_global and not found.is_multicast and not any(found in network for network in REFUSED)


def _read(chunks: Iterable[bytes], end: float, sources: Sources, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            raise PictureError(f"the picture has more than {max_bytes:,} bytes", "too_large")
        if time.monotonic() > end:
            raise PictureError(f"the picture took longer than {sources.seconds:g} s", "fetch")
    return bytes(body)
