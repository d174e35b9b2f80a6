"""Endpoints as they are: what servers and providers do that OpenAI's documentation does not say, one row each."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from faulty import Fault, FaultyServer, Json, delta, reply, says, status, stream
from PIL import Image

from ergo.backends import open_backend
from ergo.backends.openai.address import base_url, key_for
from ergo.backends.openai.backend import OpenAIBackend, Served
from ergo.backends.openai.parameters import refused_parameter
from ergo.backends.openai.profiles import OTHER, PROFILES, default_url, profile_at
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError, UsageError
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.core.view import View
from ergo.images.picture import Picture

SAMPLING = Sampling(max_tokens=7, seed=3, stop=("END",))
ASK = Request((Message("user", ("Is it there?",)),), SAMPLING)


def refuses(
    name: str, error: Any, code: int = 400, when: Callable[[Json], bool] | None = None
) -> Callable[[Json], Any]:
    """A server that will not have this parameter."""
    refused = when or (lambda payload: name in payload)
    return lambda payload: status(code, json.dumps(error)) if refused(payload) else reply("yes")


def openai_error(message: str, **more: Any) -> Json:
    return {"error": {"message": message, "type": "invalid_request_error"} | more}


@dataclass(frozen=True)
class Behaviour:
    """What a server does (answer, faults, models), what we are told (settings), and what must come of it.

    text, finish: of the completion. kind: of the failure, instead. calls: completions asked for, of one request.
    last: fields the last call must have; a value of None means that it must not have them.
    """

    name: str
    answer: Callable[[Json], Json | Fault] = lambda _: reply("yes")
    faults: tuple[Fault, ...] = ()
    models: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: str = "yes"
    finish: str = "stop"
    kind: str | None = None
    calls: int = 1
    last: Mapping[str, Any] = field(default_factory=dict)


B = Behaviour
TEMPERATURE = (
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
)
LIMIT = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
FORBIDDEN = {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
NO_LIST = status(404, '{"error": "not found"}')
PARTS = [{"type": "text", "text": "y"}, {"type": "text", "text": "es"}]
THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
BEHAVIOURS = (
    # ── parameters ──
    B("wants max_completion_tokens", refuses("max_tokens", openai_error(LIMIT, param="max_tokens")), calls=2,
      last={"max_completion_tokens": 7, "max_tokens": None}),
    B("wants max_tokens", refuses("max_completion_tokens", openai_error("Unrecognized request argument supplied: max_completion_tokens")),
      settings={"server": "azure"}, calls=2, last={"max_tokens": 7, "max_completion_tokens": None}),
    B("refuses temperature 0", refuses("temperature", openai_error(TEMPERATURE, param="temperature")), calls=2, last={"temperature": None, "seed": 3}),
    B("refuses temperature and top_p together", refuses("top_p", openai_error("`temperature` and `top_p` cannot both be specified for this model.")),
      calls=2, last={"temperature": 0.0, "top_p": None}),
    B("forbids seed (pydantic, 422)", refuses("seed", FORBIDDEN, 422), calls=2, last={"seed": None, "stop": ["END"]}),
    B("does not know seed (Gemini)", refuses("seed", [{"error": {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}}]), calls=2, last={"seed": None}),
    B("refuses stop, which is then cut here", lambda payload: status(400, '{"error": "Argument not supported on this model: stop"}') if "stop" in payload else reply("yesEND more"),
      calls=2, last={"stop": None}),
    B("refuses log-probabilities", refuses("logprobs", openai_error("logprobs are not supported with reasoning models.", param="logprobs")), calls=2, last={"logprobs": None, "seed": 3}),
    B("does not allow log-probabilities (OpenAI, 403)", refuses("logprobs", openai_error("You are not allowed to request logprobs from this model."), 403),
      settings={"server": "openai"}, calls=2, last={"logprobs": None, "seed": 3}),
    B("is not known to have log-probabilities", settings={"server": "gemini"}, last={"logprobs": None}),
    B("forbids it all (403)", lambda _: status(403, json.dumps(openai_error("not allowed"))), kind="http_403"),
    B("refuses three, one after the other", lambda payload: next(
        (status(400, json.dumps(openai_error(f"unsupported parameter: {name}"))) for name in ("max_tokens", "seed", "temperature") if name in payload), reply("yes")),
      calls=4, last={"max_completion_tokens": 7, "seed": None, "temperature": None}),
    B("refuses both names of the limit", lambda _: status(400, json.dumps(openai_error("unsupported parameter: max_tokens, max_completion_tokens"))), kind="http_400", calls=2),
    B("says that a value is out of range", lambda _: status(400, json.dumps(openai_error("temperature must be at most 2", param="temperature"))), kind="http_400"),
    B("refuses what the user added", refuses("top_k", openai_error("unsupported parameter: top_k")), settings={"extra_body": {"top_k": 5}}, kind="http_400"),
    B("takes the user's own limit", settings={"extra_body": {"max_completion_tokens": 99}}, last={"max_completion_tokens": 99, "max_tokens": None}),
    # ── replies ──
    B("sends content as parts", lambda _: reply(PARTS)),  # type: ignore[arg-type]
    B("sends reasoning as a part", lambda _: reply(THOUGHT), text="<think>hm</think>yes"),  # type: ignore[arg-type]
    B("sends reasoning as `thinking`", lambda _: reply("yes", thinking="hm"), text="<think>hm</think>yes"),
    B("sends reasoning as `reasoning_details`", lambda _: reply("yes", reasoning_details=[{"type": "reasoning.text", "text": "hm"}]), text="<think>hm</think>yes"),
    B(
        "sends a summary of its reasoning",
        lambda _: reply("yes", reasoning_details=[{"type": "reasoning.summary", "summary": "hm"}, {"type": "reasoning.encrypted", "data": "x"}]),
        text="<think>hm</think>yes",
    ),
    B("streams parts", faults=(stream(delta(content=PARTS[:1]), delta("stop", content=PARTS[1:])),), settings={"stream": True}),
    B("refuses to answer", lambda _: reply(None, refusal="I cannot help with that."), text="I cannot help with that.", finish="refusal"),
    B("stops at its limit and calls it MAX_TOKENS", lambda _: reply("yes", "MAX_TOKENS"), finish="length"),
    B("spends its limit on reasoning", lambda _: reply("", "length", reasoning="hm"), text="<think>hm", finish="length"),
    # ── failures ──
    B("puts 429 inside HTTP 200", faults=(says({"error": {"code": 429, "message": "slow down"}}),), calls=2),
    B("puts 502 inside the choice (OpenRouter)", faults=(says({"choices": [{"error": {"code": 502, "message": "gone"}, "message": {"content": ""}}]}),), calls=2),
    B("puts a type inside HTTP 200", faults=(says({"error": {"type": "overloaded_error", "message": "Overloaded"}}),), calls=2),
    B("breaks off a stream with a 503", faults=(stream(delta(content="y"), {"error": {"code": "503", "message": "x"}}),), settings={"stream": True}, calls=2),
    B("puts 401 inside HTTP 200", lambda _: {"error": {"code": 401, "message": "no"}}, kind="http_401"),
    B("answers 408", faults=(status(408),), calls=2),
    B("answers 529", faults=(status(529, '{"error": {"type": "overloaded_error", "message": "Overloaded"}}'),), calls=2),
    B("is overloaded with 400", faults=(status(400, '{"message": "the model is overloaded"}'),), calls=2),
    B("answers 429 for an empty account", lambda _: status(429, json.dumps(openai_error("You exceeded your current quota", code="insufficient_quota"))), kind="quota"),
    B("has too short a context", lambda _: status(400, json.dumps(openai_error("This model's maximum context length is 4096 tokens"))), kind="context_length"),
    B("has too short a context, inside HTTP 200", lambda _: {"error": {"code": 400, "message": "request exceeds the available context size"}}, kind="context_length"),
    # ── listing ──
    B("has no /models", models=NO_LIST, settings={"served_name": "mine"}, last={"model": "mine"}),
    B("forbids /models to this key", models=status(403, "{}"), settings={"served_name": "mine"}),
    B("lists a web page", models=says("<html>", "text/html"), settings={"served_name": "mine"}),
)  # fmt: skip


@pytest.mark.parametrize("row", BEHAVIOURS, ids=lambda row: row.name)
def test_a_server_that(row: Behaviour) -> None:
    models = {} if row.models is None else {"models": row.models}
    with FaultyServer(*row.faults, answer=row.answer, **models) as server:
        backend = OpenAIBackend(server.url, EndpointSettings(**({"pause": 0.01, "timeout": 5.0} | dict(row.settings))))
        assert isinstance(backend.served(), Served)
        [result] = backend.complete([ASK])
    if row.kind:
        assert isinstance(result, BackendError)
        assert result.kind == row.kind
        assert "\n" not in str(result)
    else:
        assert isinstance(result, Completion), result
        assert (result.text, result.finish) == (row.text, row.finish)
    assert len(server.payloads) == row.calls
    for name, value in row.last.items():
        assert server.payloads[-1].get(name) == value


def said(fault: Fault) -> str:
    with FaultyServer(fault) as server:
        [result] = OpenAIBackend(server.url, EndpointSettings(retries=0)).complete([ASK])
    assert isinstance(result, BackendError)
    return str(result)


def test_a_refusal_is_told_in_the_servers_words_with_its_code_but_not_as_a_web_page() -> None:
    assert "(no such thing (model_gone))" in said(
        status(404, json.dumps(openai_error("no such thing", code="model_gone")))
    )
    assert "(model_gone: no)" in said(status(404, json.dumps(openai_error("model_gone: no", code="model_gone"))))
    assert "(plain words)" in said(status(500, "plain words", "text/plain"))
    assert "gateway" not in said(status(502, "<html><h1>bad gateway", "text/html"))


# ── what was learned ───────────────────────────────────────────────────────────────────────────


def test_a_refusal_is_learned_once_for_all_that_follow(caplog: pytest.LogCaptureFixture) -> None:
    answer = refuses("temperature", openai_error(TEMPERATURE, param="temperature"))
    with FaultyServer(answer=answer) as server:
        backend = OpenAIBackend(server.url, EndpointSettings(pause=0.01))
        for _ in range(3):
            assert all(isinstance(one, Completion) for one in backend.complete([ASK] * 8))
    assert 24 < len(server.payloads) <= 24 + 8  # at most those that were on their way when it was learned
    assert caplog.text.count("takes no temperature: it is left out from now on") == 1


def test_a_top_p_that_was_asked_for_is_sent_to_hosted_servers_too() -> None:
    for top_p, sent in ((1.0, None), (0.9, 0.9)):
        with FaultyServer() as server:
            settings = EndpointSettings(server="anthropic", served_name="m")
            OpenAIBackend(server.url, settings).complete([Request(ASK.chat, Sampling(top_p=top_p))])
        assert server.payloads[0].get("top_p") == sent


@pytest.mark.parametrize(
    ("words", "stated", "sent", "name"),
    [
        (LIMIT, "max_tokens", {"max_tokens", "temperature"}, "max_tokens"),
        (LIMIT, None, {"max_tokens", "temperature"}, "max_tokens"),
        (LIMIT, None, {"max_completion_tokens"}, "max_completion_tokens"),
        (TEMPERATURE, None, {"temperature", "top_p"}, "temperature"),
        ("Extra inputs are not permitted", "messages.0.content.0.uuid", {"uuid", "seed"}, "uuid"),
        ("property 'seed' is unsupported", None, {"seed"}, "seed"),
        ("property 'seed' is unsupported", None, {"top_p"}, None),
        ("temperature must be between 0 and 1", "temperature", {"temperature"}, None),
        ("unsupported image format", None, {"temperature", "seed", "stop", "max_tokens"}, None),
        ("the unstoppable model is not available", None, {"stop"}, None),
    ],
)
def test_which_parameter_a_refusal_is_about(words: str, stated: str | None, sent: set[str], name: str | None) -> None:
    assert refused_parameter(words, stated, sent) == name


# ── which server it is ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "name", "path"),
    [
        ("https://api.openai.com", "openai", "/v1"),
        ("https://mine.openai.azure.com", "azure", "/openai/v1"),
        ("https://mine.openai.azure.com/openai/deployments/d?api-version=1", "azure", "/openai/deployments/d"),
        ("https://openrouter.ai", "openrouter", "/api/v1"),
        ("https://generativelanguage.googleapis.com", "gemini", "/v1beta/openai"),
        ("https://api.anthropic.com/v1/", "anthropic", "/v1"),
        ("http://localhost:11434", "ollama", "/v1"),
        ("http://[::1]:1234", "lmstudio", "/v1"),
        ("http://gpu.example.org:11434", "other", "/v1"),
        ("https://notopenrouter.ai", "other", "/v1"),
        ("http://localhost:8000/v1", "other", "/v1"),
    ],
)
def test_an_address_gives_a_server_away(url: str, name: str, path: str) -> None:
    profile = profile_at(httpx.URL(url))
    assert profile.name == name
    assert httpx.URL(base_url(url, profile.path)[0]).path == path


@pytest.mark.parametrize(
    ("owners", "name"),
    [
        (["vllm"], "vllm"), (["vllm", "vllm"], "vllm"), (["sglang"], "sglang"), (["llamacpp"], "llama.cpp"), (["library"], "ollama"),
        (["organization_owner"], "lmstudio"), (["openai"], "other"), (["vllm", "somebody"], "other"), ([], "other"), ([7], "other"),
    ],
)  # fmt: skip
def test_a_list_of_models_gives_a_server_away(owners: list[Any], name: str) -> None:
    listing = {"data": [{"id": str(n), "owned_by": owner, "root": f"org/{n}"} for n, owner in enumerate(owners)]}
    with FaultyServer(models=listing) as server:
        served = OpenAIBackend(server.url).served()
    assert isinstance(served, Served)
    assert served.profile.name == name
    assert served.checkpoints == {str(n): f"org/{n}" for n in range(len(owners))}


def test_the_user_knows_better_than_the_list() -> None:
    with FaultyServer() as server:  # it lists itself as vllm
        served = OpenAIBackend(server.url, EndpointSettings(server="sglang")).served()
    assert isinstance(served, Served)
    assert served.profile.name == "sglang"


@pytest.mark.parametrize("spec", ["ollama:qwen2.5vl:7b", "lmstudio:qwen2.5vl:7b", "vllm:URL", "openai:URL"])
def test_short_forms(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"data": [{"id": "qwen2.5vl:7b"}]}
    with FaultyServer(models=models) as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url.removeprefix("http://").removesuffix("/v1"))
        kind, _, rest = spec.partition(":")
        if kind == "lmstudio":  # its usual address is another's to answer at: only the parts are looked at
            assert default_url(PROFILES["lmstudio"]) == "http://localhost:1234"
            return
        opened = open_backend(f"{kind}:{server.url}" if rest == "URL" else spec, family="qwen2_5_vl")
        assert isinstance(opened.backend, OpenAIBackend)
        opened.backend.complete([ASK])
    assert opened.name == "qwen2.5vl:7b"
    assert server.payloads[0]["model"] == "qwen2.5vl:7b"
    assert opened.backend.settings.server == (None if kind == "openai" else kind)


@pytest.mark.parametrize(
    ("spec", "settings", "words"),
    [
        ("vllm:qwen", {}, "an endpoint is a URL such as http://localhost:8000/v1"),
        ("openai:gpt-5", {}, "an endpoint is a URL such as"),
        ("ollama:a", {"served_name": "b"}, "ollama:a names a model already, and served_name another: b"),
        ("openai:http://localhost:1", {"server": "vlm"}, "server is one of vllm, sglang"),
        ("openai:http://localhost:1", {"image_format": "jpeg"}, "image_format is one of png, stored-png, webp, bmp"),
    ],
)
def test_what_names_no_endpoint(spec: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_backend(spec, **settings)


# ── keys and queries ───────────────────────────────────────────────────────────────────────────

KEYS = {
    "ERGO_API_KEY": "ergo", "OPENAI_API_KEY": "openai", "AZURE_OPENAI_API_KEY": "azure",
    "GEMINI_API_KEY": "gemini", "ANTHROPIC_API_KEY": "anthropic", "OPENROUTER_API_KEY": "openrouter",
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "without", "key"),
    [
        ("https://api.openai.com", (), "ergo"),
        ("https://api.openai.com", ("ERGO_API_KEY",), "openai"),
        ("https://x.openai.azure.com", ("ERGO_API_KEY",), "azure"),
        ("https://generativelanguage.googleapis.com", ("ERGO_API_KEY",), "gemini"),
        ("https://api.anthropic.com", ("ERGO_API_KEY",), "anthropic"),
        ("https://openrouter.ai", ("ERGO_API_KEY",), "openrouter"),
        ("https://openrouter.ai", ("ERGO_API_KEY", "OPENROUTER_API_KEY"), None),
        ("http://localhost:8000", ("ERGO_API_KEY",), "openai"),
        ("https://somebody.example.org", ("ERGO_API_KEY",), None),
        ("https://somebody.example.org", (), "ergo"),
    ],
)
def test_a_key_goes_to_the_server_it_belongs_to_and_to_no_other(url: str, without: tuple[str, ...], key: str) -> None:
    parsed = httpx.URL(url)
    environment = {name: value for name, value in KEYS.items() if name not in without}
    assert key_for(profile_at(parsed), parsed, environment) == key
    if url == "https://somebody.example.org":
        proxied = environment | {"OPENAI_BASE_URL": url + "/v1"}
        assert key_for(OTHER, parsed, proxied) == (key or "openai")


def test_the_environments_key_is_sent_and_a_given_one_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ERGO_API_KEY", "from-outside")
    for given, sent in ((None, "Bearer from-outside"), ("given", "Bearer given"), ("", None)):
        with FaultyServer() as server:
            OpenAIBackend(server.url, EndpointSettings(api_key=given)).complete([ASK])
        assert server.headers[0].get("Authorization") == sent


def test_azure_gets_its_version_and_its_kind_of_key() -> None:
    settings = EndpointSettings(server="azure", served_name="d", api_key="s3cret", extra_query={"trace": "geheim12"})
    echo = status(401, '{"error": "bad s3cret at /chat?trace=geheim12"}')
    with FaultyServer(echo) as server:
        backend = OpenAIBackend(server.url + "?api-version=2024-10-21", settings)
        [result] = backend.complete([ASK])
    assert server.paths == ["/v1/chat/completions?api-version=2024-10-21&trace=geheim12"]
    assert server.headers[0]["api-key"] == "s3cret"
    assert "Authorization" not in server.headers[0]
    assert not any(secret in str(result) + repr(backend.settings) for secret in ("s3cret", "geheim12"))


# ── pictures ───────────────────────────────────────────────────────────────────────────────────


def picture() -> Picture:
    return Picture(Image.effect_noise((300, 200), 60).convert("RGB"))


def two_turns(backend: OpenAIBackend) -> tuple[Any, Any]:
    shown = picture()
    coarse, close = View.of(shown, TokenBudget(16)), View.of(shown, TokenBudget(16), Box(0, 0, 90, 90))
    first = Request((Message("user", (coarse, "Where?")),))
    [one] = backend.complete([first])
    assert isinstance(one, Completion), one
    chat = (*first.chat, Message("assistant", (one.text,)), Message("user", (close, "And?")))
    [two] = backend.complete([Request(chat, previous=one)])
    return one, two


def images(payload: Json) -> list[Json]:
    parts = (
        part for message in payload["messages"] if isinstance(message["content"], list) for part in message["content"]
    )
    return [part for part in parts if part["type"] == "image_url"]


class UuidServer:
    """vLLM's rule: a picture's uuid stands for it while the server keeps it."""

    def __init__(self, forgets: bool) -> None:
        self.forgets, self.kept = forgets, set[str]()

    def __call__(self, payload: Json) -> Json | Fault:
        for number, image in enumerate(images(payload)):
            if image["image_url"] is None and image["uuid"] not in self.kept:
                return status(
                    400, json.dumps(openai_error(f"Cache miss for image at index {number} but data is not provided"))
                )
            if not self.forgets:
                self.kept.add(image["uuid"])
        return reply("yes")


@pytest.mark.parametrize("forgets", [False, True])
def test_a_picture_that_vllm_still_has_is_not_sent_again(forgets: bool) -> None:
    with FaultyServer(answer=UuidServer(forgets)) as server:
        _, two = two_turns(OpenAIBackend(server.url, EndpointSettings(picture_ids=True, server="vllm")))
    assert isinstance(two, Completion), two
    first, second, *again = server.payloads
    [coarse], [known, close] = images(first), images(second)
    assert known == {"type": "image_url", "image_url": None, "uuid": coarse["uuid"]}
    assert close["image_url"]["url"].startswith("data:image/png;base64,")
    assert close["uuid"] != coarse["uuid"]
    assert len(again) == (1 if forgets else 0)
    if forgets:
        assert images(again[0])[0] == coarse
    assert len(json.dumps(second)) < len(json.dumps(first)) * 1.5


def test_pictures_have_no_names_unless_wanted_and_sglangs_form_keeps_the_bytes() -> None:
    for settings, name in (({}, None), ({"picture_ids": True, "server": "sglang"}, "content_hash"), ({"picture_ids": True, "server": "ollama"}, None)):  # fmt: skip
        with FaultyServer() as server:
            two_turns(OpenAIBackend(server.url, EndpointSettings(**settings)))  # type: ignore[arg-type]
        for image in (image for payload in server.payloads for image in images(payload)):
            assert "uuid" not in image
            assert image["image_url"]["url"].startswith("data:image/")
            assert ("content_hash" in image["image_url"]) == (name is not None)
            if name:
                assert image["image_url"]["content_hash"].startswith("sha256:")
                assert len(image["image_url"]["content_hash"]) == 71


def test_detail_is_sent_where_it_is_needed_or_wanted_and_dropped_where_it_is_refused() -> None:
    view = View.of(picture(), TokenBudget(4))
    shown = Request((Message("user", (view, "?")),))
    for settings, detail in (({}, None), ({"server": "openai"}, "high"), ({"server": "openai", "detail": "original"}, "original"), ({"detail": "low"}, "low")):  # fmt: skip
        with FaultyServer() as server:
            OpenAIBackend(server.url, EndpointSettings(served_name="m", **settings)).complete([shown])  # type: ignore[arg-type]
        assert images(server.payloads[0])[0]["image_url"].get("detail") == detail
    strict = refuses("", {"detail": [{"loc": ["body", "messages", 0, "content", 0, "image_url", "detail"], "msg": "Extra inputs are not permitted"}]}, 422,
                     when=lambda payload: "detail" in images(payload)[0]["image_url"])  # fmt: skip
    with FaultyServer(answer=strict) as server:
        [result] = OpenAIBackend(server.url, EndpointSettings(detail="high")).complete([shown])
    assert isinstance(result, Completion)


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ({"prompt_tokens_details": {"multimodal_tokens": {"image": 12}}}, None),
        ({"prompt_tokens_details": {"multimodal_tokens": {"image": 14}}}, None),  # the two marks around it
        ({"prompt_tokens_details": {"multimodal_tokens": {"image": 15}}}, "15, not 12"),
        ({"prompt_tokens_details": {"multimodal_tokens": {"image": 11}}}, "11, not 12"),
        ({"prompt_tokens_details": {"image_tokens": 6}}, "6, not 12"),
        ({"image_tokens": 70}, "70, not 12"),
        ({"prompt_tokens": 40}, None),
        ({"prompt_tokens": 11}, "at most 11, not 12"),
        ({"prompt_tokens": 12}, None),
        ({"prompt_tokens": 77}, None),  # 12, one byte of text, 64 for the template
        ({"prompt_tokens": 78}, "at least 13, not 12"),
        ({}, None),
        (None, None),
    ],
)
def test_a_server_that_counts_other_picture_tokens_is_named_once(
    usage: Json | None, words: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    view = View.of(Picture(Image.new("RGB", (112, 84))), TokenBudget(16))
    assert view.tokens == 12
    with FaultyServer(answer=lambda _: reply("yes", usage=usage)) as server:
        backend = OpenAIBackend(server.url)
        for _ in range(3):
            backend.complete([Request((Message("user", (view, "?")),))])
        backend.complete([ASK])
    if words is None:
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    else:
        assert caplog.text.count("counts other picture tokens than were sent") == 1
        assert f"({words})" in caplog.text
