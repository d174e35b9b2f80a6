"""Where an endpoint is, what key it gets, and which proxy stands in between: all from what the user said."""

from __future__ import annotations

import os
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from ergo.backends.loopback import LOOPBACK
from ergo.backends.openai.profiles import Profile
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import UsageError


@dataclass(frozen=True)
class Address:
    """Where requests go and what goes with each. url: up to the API's version. query: fields after the ?.

    secrets: what no message may show.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, url: str, profile: Profile, settings: EndpointSettings) -> Address:
        """As this kind of server wants to be addressed."""
        base, query = base_url(url, profile.path)
        key = clean_key(settings.api_key if settings.api_key is not None else key_for(profile, httpx.URL(base)))
        value = f"Bearer {key}" if profile.key_header == "Authorization" else key
        secrets = tuple(filter(None, (key, *settings.extra_query.values())))
        return cls(
            base, {profile.key_header: value} if key and value else {}, query | dict(settings.extra_query), secrets
        )


def base_url(url: str, path: str = "/v1") -> tuple[str, dict[str, str]]:
    """`url` up to and with its version, as every path is appended to it, and its query.

    path: what stands for none.

    >>> base_url("http://localhost:8000/")
    ('http://localhost:8000/v1', {})
    >>> base_url("https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21")
    ('https://x.openai.azure.com/openai/deployments/d', {'api-version': '2024-10-21'})
    """
    try:
        parsed = httpx.URL(url.strip())
        parsed.host.encode("idna")  # what the resolver would raise
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"an endpoint is a URL such as http://localhost:8000/v1 ({error})") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or not 0 < (parsed.port or 80) < 2**16:
        raise UsageError("an endpoint is a URL such as http://localhost:8000/v1, with http:// or https://")
    query = dict(parsed.params)
    if parsed.userinfo or parsed.fragment or set(query) - {"api-version"}:
        raise UsageError(
            f"the URL of {parsed.host} holds more than an address; a key is given as the API key, "
            "fields after the ? as extra_query"
        )
    here = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return str(parsed.copy_with(path=here or path, query=None)), query


def key_for(profile: Profile, url: httpx.URL, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key that the environment holds for this server.

    ERGO_API_KEY is for whatever server the user names. A provider's own key goes to that provider alone;
    OPENAI_API_KEY, which many tools also use for servers of one's own, to this machine as well and to the host
    of OPENAI_BASE_URL, but not to whatever other address somebody typed.
    """
    names = ["ERGO_API_KEY", *profile.keys]
    if url.host in LOOPBACK or url.host == urllib.parse.urlsplit(environment.get("OPENAI_BASE_URL", "")).hostname:
        names.append("OPENAI_API_KEY")
    return next((environment[name] for name in names if environment.get(name)), None)


def clean_key(key: str | None) -> str | None:
    """The key without stray white space; what cannot stand in a header is refused, unshown."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key holds characters that no key has; was it copied whole?")
    return key or None


def proxy_for(url: httpx.URL) -> str | None:
    """Host and port of the proxy that the environment names for `url`: for messages, so without its password."""
    named = urllib.request.getproxies()
    proxy = named.get(url.scheme) or named.get("all")
    if not proxy or urllib.request.proxy_bypass(url.host):
        return None
    return proxy.rpartition("@")[2].rpartition("//")[2]
