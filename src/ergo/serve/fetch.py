"""Pictures at addresses that clients name, on hosts that were allowed; never a way into the network behind the server.

A host's every address must be public, the connection goes to the address that was checked (a name that changes its
mind in between gains nothing), and each redirect is judged as a new address.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import closing
from urllib.parse import urlsplit

import httpx

from ergo.core.errors import PictureError
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
    end = time.monotonic() + sources.seconds
    with httpx.Client(follow_redirects=False, trust_env=False, timeout=sources.seconds) as client:
        for _ in range(REDIRECTS + 1):
            try:
                with closing(client.send(_checked(client, url, sources), stream=True)) as response:
                    if response.is_redirect:
                        url = str(httpx.URL(url).join(response.headers["location"]))
                        continue
                    if response.status_code != 200:
                        raise PictureError(f"{_host(url)} answered {response.status_code}", "fetch")
                    return _read(response, end, sources, max_bytes)
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


def _read(response: httpx.Response, end: float, sources: Sources, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise PictureError(f"the picture has more than {max_bytes:,} bytes", "too_large")
        if time.monotonic() > end:
            raise PictureError(f"the picture took longer than {sources.seconds:g} s", "fetch")
    return bytes(body)
