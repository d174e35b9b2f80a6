"""Servers that speak OpenAI's API, and where each departs from it. Found from the URL, or from what the server lists.

What a profile does not know is learned from the server's refusals (parameters.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from ergo.backends.loopback import LOOPBACK
from ergo.backends.openai.regions import RegionShape
from ergo.backends.settings import ServerName


@dataclass(frozen=True)
class Profile:
    """One kind of server.

    owners: how it names itself, in `owned_by` of the models it lists. hosts: ends of the host names it runs at.
    port: where it listens on this machine unless told otherwise, if no other server does.
    url: where it is, where that needs no saying. path: of its API, where a URL names a host alone.
    keys: variables of the environment that hold its key. key_header: "Authorization" means a bearer token.
    token_limit: what it calls the most tokens of a reply.
    left_out: parameters it is known to refuse, or whose default is ours.
    forced_region: fields that make it sample nothing but a region of a shape; None where there is no way.
    logprobs: whether it says how likely each token was, when asked to.
    picture_id: under what name it takes an identity of a picture beside its bytes.
    detail: what keeps it from shrinking pictures.
    """

    name: ServerName
    owners: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    port: int | None = None
    url: str | None = None
    path: str = "/v1"
    keys: tuple[str, ...] = ()
    key_header: Literal["Authorization", "api-key"] = "Authorization"
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    left_out: frozenset[str] = frozenset()
    forced_region: Callable[[RegionShape], Mapping[str, Any]] | None = None
    picture_id: Literal["uuid", "content_hash"] | None = None
    detail: str | None = None
    logprobs: bool = False


TOP_P_OF_1 = frozenset({"top_p"})
"""Hosted models refuse top_p beside temperature, or altogether; left out it is 1, as far as anyone says."""

OTHER = Profile("other")
PROFILES: Mapping[ServerName, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            "vllm",
            owners=("vllm",),
            # guided_regex, its name before 0.10, is ignored by newer ones, with HTTP 200
            forced_region=lambda shape: {"structured_outputs": {"regex": shape.regex}},
            picture_id="uuid",
            logprobs=True,
        ),
        Profile(
            "sglang",
            owners=("sglang",),
            forced_region=lambda shape: {"regex": shape.regex},
            picture_id="content_hash",
            logprobs=True,
        ),
        Profile(
            "llama.cpp",
            owners=("llamacpp",),
            forced_region=lambda shape: {"grammar": shape.grammar},
            logprobs=True,
        ),
        Profile("ollama", owners=("library",), port=11434, url="http://localhost:11434", logprobs=True),
        Profile("lmstudio", owners=("organization_owner",), port=1234, url="http://localhost:1234"),
        Profile(
            "openai",
            hosts=("api.openai.com",),
            url="https://api.openai.com",
            keys=("OPENAI_API_KEY",),
            token_limit="max_completion_tokens",
            left_out=TOP_P_OF_1,
            detail="high",
            logprobs=True,
        ),
        Profile(
            "azure",
            hosts=(".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com"),
            path="/openai/v1",
            keys=("AZURE_OPENAI_API_KEY",),
            key_header="api-key",
            token_limit="max_completion_tokens",
            left_out=TOP_P_OF_1,
            detail="high",
            logprobs=True,
        ),
        Profile(
            "openrouter",
            hosts=("openrouter.ai",),
            url="https://openrouter.ai",
            path="/api/v1",
            keys=("OPENROUTER_API_KEY",),
            left_out=TOP_P_OF_1,
        ),
        Profile(
            "gemini",
            hosts=("generativelanguage.googleapis.com",),
            url="https://generativelanguage.googleapis.com",
            path="/v1beta/openai",
            keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
            left_out=TOP_P_OF_1,
        ),
        Profile(
            "anthropic",
            hosts=("api.anthropic.com",),
            url="https://api.anthropic.com",
            keys=("ANTHROPIC_API_KEY",),
            left_out=TOP_P_OF_1 | {"seed"},
        ),
        OTHER,
    )
}


def profile_at(url: httpx.URL) -> Profile:
    """The server that its address gives away; OTHER where it does not."""
    for profile in PROFILES.values():
        if any(url.host == host.lstrip(".") or url.host.endswith("." + host.lstrip(".")) for host in profile.hosts):
            return profile
        if profile.port is not None and url.port == profile.port and url.host in LOOPBACK:
            return profile
    return OTHER


def profile_owning(owners: set[str]) -> Profile:
    """The server that lists these owners of its models; OTHER where they do not agree on one."""
    found = {next((one for one in PROFILES.values() if owner in one.owners), OTHER) for owner in owners}
    return found.pop() if len(found) == 1 else OTHER


def default_url(profile: Profile, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where such a server is, where that needs no saying."""
    if profile.name == "ollama" and (host := environment.get("OLLAMA_HOST")):
        return host if "://" in host else f"http://{host}"
    return profile.url
