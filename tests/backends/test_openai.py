"""The openai backend against servers that behave, and against every way in which they do not."""

from __future__ import annotations

import base64
import email.utils
import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from faulty import MODELS, FaultyServer, cut, delta, drop, hang, reply, says, status, stream, trickle
from PIL import Image

from ergo.backends.openai.address import base_url
from ergo.backends.openai.backend import OpenAIBackend
from ergo.backends.openai.parameters import Wording
from ergo.backends.openai.transport import pause_before_retry
from ergo.backends.openai.wire import request_body, to_json
from ergo.backends.settings import EndpointSettings
from ergo.core.errors import BackendError, UsageError
from ergo.core.flows import Answer, LookConfig, Question, coarse_to_fine
from ergo.core.geometry import TokenBudget
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.core.runner import Trace
from ergo.core.view import View
from ergo.families import QWEN2_5_VL
from ergo.images.decode import load_image
from ergo.images.encode import Format, data_uri
from ergo.images.picture import Picture
from ergo.traces.run import run

ASK = Request((Message("user", ("Is it there?",)),))
LOOKING = LookConfig(QWEN2_5_VL, TokenBudget(16), TokenBudget(16))


def picture(colour: str = "red") -> Picture:
    file = io.BytesIO()
    Image.new("RGB", (300, 200), colour).save(file, "png")
    return load_image(file.getvalue())


def backend(endpoint: FaultyServer, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(endpoint.url, EndpointSettings(**({"pause": 0.01, "timeout": 5.0} | options)))


def ask(*faults: Any, **options: Any) -> tuple[Completion | BackendError, FaultyServer]:
    with FaultyServer(*faults) as server, backend(server, **options) as model:
        [result] = model.complete([ASK])
    return result, server


def failure(*faults: Any, **options: Any) -> BackendError:
    result, _ = ask(*faults, **options)
    assert isinstance(result, BackendError), result
    assert "\n" not in str(result)
    assert len(str(result)) < 600
    return result


def text(result: Completion | BackendError) -> str:
    assert isinstance(result, Completion), result
    return result.text


# ── what is sent ───────────────────────────────────────────────────────────────────────────────


def test_a_request_in_openai_words() -> None:
    view = View.of(picture(), TokenBudget(16))
    sampling = Sampling(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop=("</zoom>",))
    chat = (Message("system", ("Look.",)), Message("user", (view, "Where?")))
    with FaultyServer() as server, backend(server, extra_body={"top_k": 5}, image_format="png") as model:
        model.complete([Request(chat, sampling)])
    [sent] = server.payloads
    uri = sent["messages"][1]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))) as seen:
        assert seen.size == (view.size.width, view.size.height)
    assert sent == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Look."},
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": uri}}, {"type": "text", "text": "Where?"}],
            },
        ],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 3,
        "stop": ["</zoom>"],
        "logprobs": True,
        "top_k": 5,
    }


def test_the_second_turn_resends_the_same_bytes() -> None:
    replies = iter(["<zoom>[0, 0, 40, 40]</zoom>", "<answer>red</answer>"])
    with FaultyServer(answer=lambda _: reply(next(replies))) as server, backend(server) as model:
        [trace] = run([(0, lambda: coarse_to_fine(picture(), Question("Colour?"), LOOKING))], model)
    assert trace.answer
    assert trace.answer.text == "red"
    first, second = server.payloads
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert sum("data:image/" in json.dumps(message) for message in second["messages"]) == 2


def test_other_formats_are_sent_on_request() -> None:
    chat = (Message("user", (View.of(picture(), TokenBudget(4)), "?")),)
    with FaultyServer() as server, backend(server, image_format="bmp") as model:
        model.complete([Request(chat)])
    assert server.payloads[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/bmp;base64,Qk")


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1/", "http://h:1/v1/chat/completions"])
def test_base_url(url: str) -> None:
    assert base_url(url) == ("http://h:1/v1", {})


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://h",
        "http://",
        "http://a..b",
        "http://127.0.0.1:99999",
        "http://me:pa55@h",
        "http://h?key=pa55",
    ],
)
def test_what_is_no_endpoint_is_said_at_once_without_its_secrets(url: str) -> None:
    with pytest.raises(UsageError) as error:
        OpenAIBackend(url)
    assert "pa55" not in str(error.value)


# ── the key ────────────────────────────────────────────────────────────────────────────────────


def test_the_key_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    echo = status(401, json.dumps({"error": {"message": "Incorrect API key provided: s3cret."}}))
    caplog.set_level(logging.DEBUG)
    with FaultyServer(status(500), echo) as server, backend(server, api_key=" s3cret\n") as model:
        [result] = model.complete([ASK])
    assert server.headers[0]["Authorization"] == "Bearer s3cret"
    assert isinstance(result, BackendError)
    assert result.kind == "http_401"
    assert "s3cret" not in str(result) + repr(model) + repr(vars(model)) + repr(model.settings) + caplog.text


@pytest.mark.parametrize("body", ['{"error": "got s3cret"}', "got s3cret", '"' + "x" * 75 + 's3cret"', '["s3cret"]'])
def test_no_echo_of_the_key_is_shown(body: str) -> None:
    for fault in (says(body), status(400, body), stream(body), stream("data: " + body)):
        assert "s3cr" not in str(failure(fault, api_key="s3cret"))


def test_a_broken_key_is_refused_unshown() -> None:
    with pytest.raises(UsageError) as error:
        OpenAIBackend("http://h", EndpointSettings(api_key="s3\ncret"))
    assert "cret" not in str(error.value)


def test_a_redirect_takes_neither_key_nor_picture_along() -> None:
    with FaultyServer() as elsewhere:
        error = failure(status(307, Location=elsewhere.url + "/chat/completions"), api_key="s3cret")
        assert not elsewhere.payloads
    assert error.kind == "redirect"
    assert elsewhere.url in str(error)


# ── which model, which server ──────────────────────────────────────────────────────────────────


def test_the_only_model_is_found_once_for_many() -> None:
    with FaultyServer() as server, backend(server) as model:
        results = model.complete([ASK] * 20)
    assert [text(result) for result in results] == ["yes"] * 20
    assert server.listed == 1
    assert {payload["model"] for payload in server.payloads} == {"tiny"}


def test_a_server_on_this_machine_gets_pictures_that_are_not_compressed() -> None:
    view = View.of(Picture(Image.new("RGB", (64, 64))), TokenBudget(4))
    formats: list[tuple[Format | None, Format]] = [(None, "stored-png"), ("png", "png"), ("webp", "webp")]
    for format, sent in formats:
        with FaultyServer() as server, backend(server, image_format=format) as model:
            model.complete([Request((Message("user", (view, "What is it?")),))])
        [picture] = [part for part in server.payloads[-1]["messages"][0]["content"] if "image_url" in part]
        assert picture["image_url"]["url"] == data_uri(view, sent)


def test_a_body_is_what_json_makes_of_it_pictures_and_half_characters_included() -> None:
    view = View.of(Picture(Image.new("RGB", (64, 64), (3, 5, 7))), TokenBudget(4))
    chat = (Message("user", (view, 'say "ja" \ud83d', view)), Message("assistant", ("data:image/png;base64,\n",)))
    body = request_body(Request(chat), "m", "png", Wording(), stream=True, upload=True)
    assert to_json(body) == json.dumps(body).encode("ascii")
    assert to_json({"model": "m", "messages": []}) == b'{"model": "m", "messages": []}'


def test_a_given_model_is_not_asked_for() -> None:
    with FaultyServer() as server, backend(server, served_name="mine") as model:
        model.complete([ASK])
    assert server.listed == 0
    assert server.payloads[0]["model"] == "mine"


def test_several_models_are_a_question_to_the_user() -> None:
    models = {"data": [{"id": "base"}, {"id": "adapter"}]}
    with (
        FaultyServer(models=models) as server,
        backend(server) as model,
        pytest.raises(UsageError, match="base, adapter"),
    ):
        model.complete([ASK])


@pytest.mark.parametrize("models", [{"data": []}, {"data": None}, {}, {"data": [3, {"name": "x"}]}])
def test_no_model_listed(models: Any) -> None:
    with FaultyServer(models=models) as server, backend(server) as model:
        [result] = model.complete([ASK])
    assert isinstance(result, BackendError)
    assert result.kind == "no_model"


def test_a_failed_listing_is_tried_anew_next_time() -> None:
    with FaultyServer(models=status(404)) as server, backend(server) as model:
        [first] = model.complete([ASK])
        server.models = MODELS
        [second] = model.complete([ASK])
    assert isinstance(first, BackendError)
    assert first.kind == "http_404"
    assert text(second) == "yes"


# ── what comes back ────────────────────────────────────────────────────────────────────────────


def told(*parts: Any, **message: Any) -> Completion:
    result, _ = ask(says(reply(*parts, **message)))
    assert isinstance(result, Completion)
    return result


def test_usage_where_the_server_tells() -> None:
    details = {"cached_tokens": 1152, "multimodal_tokens": {"image": 1248}}
    usage = told("x", "stop", {"prompt_tokens": 1495, "completion_tokens": 9, "prompt_tokens_details": details}).usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.vision_tokens, usage.generated_tokens) == (
        1495,
        1152,
        1248,
        9,
    )
    assert told("x", "stop", {"prompt_tokens": 5, "image_tokens": 4}).usage.vision_tokens == 4


def test_usage_where_it_does_not() -> None:
    view = View.of(picture(), TokenBudget(16))
    with FaultyServer(says(reply("x", usage={"prompt_tokens": "many", "prompt_tokens_details": None}))) as server:
        [result] = backend(server).complete([Request((Message("user", (view, "?")),))])
    assert isinstance(result, Completion)
    assert result.usage.vision_tokens == view.tokens
    assert (result.usage.prompt_tokens, result.usage.cached_tokens, result.usage.generated_tokens) == (None, None, None)


def test_seconds_by_part_where_the_server_tells() -> None:
    result, _ = ask(says(reply("x") | {"timings": {"prompt_ms": 250.0, "predicted_ms": 1500}}))
    assert isinstance(result, Completion)
    assert (result.seconds.prefill, result.seconds.decode) == (0.25, 1.5)
    assert result.seconds.total > 0


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_that_was_split_off_is_joined_again(name: str) -> None:
    assert told("<zoom>[1]</zoom>", **{name: "left"}).text == "<think>left</think><zoom>[1]</zoom>"
    assert told("<think>left</think>x", **{name: "left"}).text == "<think>left</think>x"
    assert told(None, "length", **{name: "left an"}).text == "<think>left an"
    assert told("x", **{name: None}).text == "x"


def test_how_a_reply_ended() -> None:
    assert told("x", "length").finish == "length"
    assert told("x", "stop").finish == told("x", None).finish == told("x", "eos").finish == "stop"
    assert told("").text == ""


def test_half_a_surrogate_pair_does_no_harm() -> None:
    result, _ = ask(says('{"choices": [{"message": {"content": "a\\ud83d"}}]}'))
    assert text(result) == "a?"
    lone = Request((Message("user", ("a\ud83d",)),))
    with FaultyServer() as server, backend(server) as model:
        assert text(model.complete([lone])[0]) == "yes"


# ── what goes wrong, by name ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "kind", "advice"),
    [
        (says("{"), "bad_json", "OpenAI endpoint"),
        (says("<html><h1>It works!</h1>", "text/html"), "bad_json", "It works"),
        (says(b"\xff\xfe\x00", "image/png"), "bad_json", "OpenAI endpoint"),
        (says("[" * 100_000), "bad_json", "OpenAI endpoint"),
        (says(""), "bad_json", "OpenAI endpoint"),
        (says("[1]"), "bad_reply", "OpenAI endpoint"),
        (says({"error": {"message": "upstream gone"}}), "bad_reply", "upstream gone"),
        (says({}), "bad_reply", "no message"),
        (says({"choices": {}}), "bad_reply", "no message"),
        (says({"choices": [7]}), "bad_reply", "no message"),
        (says({"choices": []}), "no_choices", "log"),
        (says(reply(None)), "no_text", "no text"),
        (says({"choices": [{"message": {"content": [1]}, "finish_reason": []}]}), "no_text", "no text"),
        (says(reply("half", "content_filter")), "content_filter", "content_filter"),
        (says(reply("half", "abort")), "aborted", "abort"),
        (says(b" " * (17 * 2**20)), "too_large", "16 MiB"),
        (status(400, '{"message": "temperature must be"}'), "http_400", "temperature must be"),
        (
            status(400, '{"error": {"message": "This model\'s maximum context length is 9"}}'),
            "context_length",
            "budgets",
        ),
        (status(400, '{"error": {"message": "exceeds the available context size"}}'), "context_length", "budgets"),
        (
            status(400, '{"error": {"message": "At most 1 image(s) may be"}}'),
            "too_many_pictures",
            "limit-mm-per-prompt",
        ),
        (status(401, '{"error": {"message": "no"}}'), "http_401", "API key"),
        (status(404, '{"error": {"message": "The model `x` does not exist."}}'), "http_404", "/models lists the names"),
        (status(413, "<html>", "text/html"), "http_413", "too large"),
        (status(418), "http_418", "request"),
        (status(500, "\n".join(["Traceback"] * 1000), "text/plain"), "http_500", "log"),
        (status(302), "redirect", "URL"),
    ],
)
def test_each_failure_has_a_name_and_says_what_to_do(fault: Any, kind: str, advice: str) -> None:
    error = failure(fault, retries=0)
    assert error.kind == kind
    assert advice in str(error)


def test_connection_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        [result] = OpenAIBackend(url, EndpointSettings(retries=2, pause=0.01)).complete([ASK])
    assert isinstance(result, BackendError)
    assert (result.kind, result.retryable) == ("refused", True)
    assert str(result) == f"{url}/v1 did not answer (connection refused). Is the server running? Asked 3 times."


def test_no_such_host() -> None:
    [result] = OpenAIBackend("http://no-such-host.invalid", EndpointSettings(retries=0)).complete([ASK])
    assert isinstance(result, BackendError)
    assert result.kind == "unreachable"


def test_a_server_that_does_not_speak_http() -> None:
    def banner(handler: Any) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        handler.close_connection = True

    assert failure(banner, retries=0).kind == "not_http"


@pytest.mark.parametrize("fault", [hang(9), trickle(0.02), cut(after=9)])
def test_a_reply_that_does_not_come_is_a_timeout_and_final(fault: Any) -> None:
    start = time.perf_counter()
    result, server = ask(fault, timeout=0.3)
    assert isinstance(result, BackendError)
    assert (result.kind, result.retryable) == ("timeout", False)
    assert 0.25 < time.perf_counter() - start < 1.5
    assert len(server.payloads) == 1


# ── asking again ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "faults", [[status(500)], [status(502), status(503), status(504)], [cut()], [drop], [status(429), drop]]
)
def test_passing_failures_are_asked_again(faults: list[Any]) -> None:
    result, server = ask(*faults)
    assert text(result) == "yes"
    assert len(server.payloads) == len(faults) + 1
    assert all(payload == server.payloads[0] for payload in server.payloads)


def test_asking_again_has_an_end() -> None:
    result, server = ask(*[status(503)] * 9, retries=3)
    assert isinstance(result, BackendError)
    assert result.kind == "http_503"
    assert str(result).endswith("Asked 4 times.")
    assert len(server.payloads) == 4


@pytest.mark.parametrize(
    "fault", [status(400), status(401), status(404), says("{"), says({"choices": []}), status(501)]
)
def test_what_would_fail_again_is_not_asked_again(fault: Any) -> None:
    _, server = ask(fault)
    assert len(server.payloads) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_honoured(form: str) -> None:
    header = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    start = time.perf_counter()
    result, server = ask(status(429, Retry_After=header))
    assert text(result) == "yes"
    assert 0.9 < time.perf_counter() - start < 3
    assert len(server.payloads) == 2


@pytest.mark.parametrize(("header", "attempts"), [("3600", 1), ("nan", 2), ("-5", 2), ("soon", 2)])
def test_retry_after_beyond_reason(header: str, attempts: int) -> None:
    _, server = ask(status(429, Retry_After=header))
    assert len(server.payloads) == attempts


def test_pauses_double_up_to_a_limit_and_are_spread() -> None:
    assert [pause_before_retry(attempt, 1.0, None, lambda: 0.5) for attempt in (1, 2, 3, 20)] == [0.75, 1.5, 3.0, 22.5]
    assert pause_before_retry(1, 1.0, None, lambda: 0.0) == 1.0
    assert pause_before_retry(1, 1.0, None, lambda: 1.0) == 0.5
    assert pause_before_retry(3, 1.0, 7.0, lambda: 0.5) == 7.5


# ── streams ────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_becomes_the_reply_it_would_have_been() -> None:
    usage = {"prompt_tokens": 8, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    words = [
        delta(role="assistant", content=""),
        delta(reasoning_content="hm"),
        delta(content="a\u2028"),
        delta(content="b"),
    ]
    events = [": a comment", *words, delta("length"), {"choices": [], "usage": usage}]
    result, server = ask(stream(*events, pause=0.02), stream=True)
    assert isinstance(result, Completion)
    assert (result.text, result.finish) == ("<think>hm</think>a\u2028b", "length")
    assert (result.usage.prompt_tokens, result.usage.cached_tokens, result.usage.generated_tokens) == (8, 4, 3)
    assert result.seconds.prefill
    assert result.seconds.decode
    assert result.seconds.decode > 0.05
    assert server.payloads[0]["stream_options"] == {"include_usage": True}


TOKENS = [{"token": "y", "logprob": -0.5, "bytes": [121]}, {"token": "es", "logprob": 0, "bytes": [101, 115]}]


def test_log_probabilities_come_whole_and_streamed() -> None:
    whole = reply("yes")
    whole["choices"][0]["logprobs"] = {"content": TOKENS}
    events = [delta(content="y"), delta("stop", content="es")]
    for event, token in zip(events, TOKENS, strict=True):
        event["choices"][0]["logprobs"] = {"content": [token]}
    for answer, options in ((says(whole), {}), (stream(*events), {"stream": True})):
        result, server = ask(answer, **options)
        assert isinstance(result, Completion)
        assert (result.text, result.pieces, result.logprobs) == ("yes", ("y", "es"), (-0.5, 0.0))
        assert server.payloads[0]["logprobs"] is True


@pytest.mark.parametrize("listed", [None, [], "x", [{"token": "y"}], [{"token": 1, "logprob": -1}], [*TOKENS, {}], {}])
def test_log_probabilities_that_are_none_are_left_out(listed: Any) -> None:
    answer = reply("yes")
    answer["choices"][0]["logprobs"] = {"content": listed}
    result, _ = ask(says(answer))
    assert isinstance(result, Completion)
    assert (result.text, result.pieces, result.logprobs) == ("yes", None, None)


def test_a_server_that_does_not_stream_is_heard_all_the_same() -> None:
    assert text(ask(stream=True)[0]) == "yes"


@pytest.mark.parametrize(
    ("events", "done", "kind"),
    [
        ([delta(content="half")], False, "cut_stream"),
        ([delta(content="half")], True, "cut_stream"),
        (["data: {"], True, "bad_json"),
        (["data: [1]"], True, "bad_reply"),
        ([delta(content="half"), {"error": {"message": "out of memory"}}], True, "bad_reply"),
        ([], True, "no_choices"),
    ],
)
def test_streams_that_fail(events: list[Any], done: bool, kind: str) -> None:
    assert failure(stream(*events, done=done), stream=True, retries=0).kind == kind


def test_a_cut_stream_is_asked_again_from_the_start() -> None:
    whole = stream(delta(content="whole"), delta("stop"))
    assert text(ask(stream(delta(content="half"), done=False), whole, stream=True)[0]) == "whole"


# ── forcing a region ───────────────────────────────────────────────────────────────────────────

REGION = Request(ASK.chat, expect="region")
FRACTIONS = Request(ASK.chat, expect="fractions")


@pytest.mark.parametrize(
    ("owner", "field"), [("vllm", "structured_outputs"), ("sglang", "regex"), ("llamacpp", "grammar")]
)
def test_a_region_is_forced_in_the_words_of_the_server(owner: str, field: str) -> None:
    models = {"data": [{"id": "tiny", "owned_by": owner}]}
    with FaultyServer(models=models) as server, backend(server, force_region=True) as model:
        model.complete([REGION])
        model.complete([ASK])
    forced, free = server.payloads
    assert "<zoom>" in json.dumps(forced[field])
    assert field not in free


def test_a_region_in_fractions_is_forced_as_fractions(caplog: pytest.LogCaptureFixture) -> None:
    said = ["<zoom>[0.1, 0, 1, 0.625]</zoom>", "<zoom>[100, 0, 1000, 625]</zoom>"]
    for text in said:
        with (
            FaultyServer(answer=lambda _, text=text: reply(text)) as server,
            backend(server, force_region=True) as model,
        ):
            model.complete([FRACTIONS])
        pattern = server.payloads[0]["structured_outputs"]["regex"]
        assert bool(re.fullmatch(pattern, text)) == (text == said[0])
        assert ("ignored the forced region" in caplog.text) == (text == said[1])
    for number, fits in (
        ("0", True),
        ("1", True),
        ("0.5", True),
        ("1.000", True),
        ("1.5", False),
        ("0.1234", False),
        ("2", False),
    ):
        assert bool(re.fullmatch(pattern, f"<zoom>[{number}, 0, 1, 1]</zoom>")) == fits


def test_nothing_is_forced_unasked() -> None:
    with FaultyServer() as server, backend(server) as model:
        model.complete([REGION])
    assert "structured_outputs" not in server.payloads[0]


def test_an_unknown_server_cannot_be_forced_but_may_be_named() -> None:
    models = {"data": [{"id": "tiny", "owned_by": "openai"}]}
    with FaultyServer(models=models) as server:
        with backend(server, force_region=True) as model, pytest.raises(UsageError, match=r"vllm, sglang, llama\.cpp"):
            model.complete([REGION])
        with backend(server, force_region=True, server="sglang") as model:
            model.complete([REGION])
        assert "regex" in server.payloads[0]


def test_a_server_that_ignores_the_force_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with FaultyServer() as server, backend(server, force_region=True) as model:
        model.complete([REGION] * 3)
    assert caplog.text.count("ignored the forced region") == 1


# ── many at once ───────────────────────────────────────────────────────────────────────────────


def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """First a region, then the question as the answer; `slow` questions take their time over it."""
    question = payload["messages"][1]["content"][1]["text"].split()[0]
    if "<zoom>" not in json.dumps(payload["messages"][2:]):
        return reply(f"<zoom>[0, 0, 40, 40]</zoom> {question}")
    if question == "slow":
        time.sleep(2)
    return reply(f"<answer>{question}</answer>")


def flows(names: list[str]) -> Iterator[tuple[object, Any]]:
    for name in names:
        yield name, lambda name=name: coarse_to_fine(picture(), Question(f"{name} ?"), LOOKING)


def answered(trace: Trace) -> str:
    assert isinstance(trace.answer, Answer), trace.error
    return trace.answer.text


def test_64_flows_at_once_each_get_their_own_answer() -> None:
    names = [f"question{number}" for number in range(64)]
    faults = [*[status(429, Retry_After="0.1")] * 8, drop, cut()]
    with FaultyServer(*faults, answer=echo) as server, backend(server, timeout=30) as model:
        traces = list(run(flows(names), model, concurrency=64))
    assert len(server.payloads) == 128 + 10
    assert {trace.tag: answered(trace) for trace in traces} == {name: name for name in names}


def test_a_slow_reply_delays_nobody_else() -> None:
    names = ["slow", *[f"question{number}" for number in range(15)]]
    start = time.perf_counter()
    with FaultyServer(answer=echo) as server, backend(server) as model:
        ended = {trace.tag: time.perf_counter() - start for trace in run(flows(names), model, concurrency=8)}
    assert ended.pop("slow") >= 2
    assert max(ended.values()) < 2


def test_requests_given_together_run_together_and_keep_their_order() -> None:
    def slowly(payload: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return reply(payload["messages"][0]["content"])

    requests = [Request((Message("user", (str(number),)),)) for number in range(32)]
    with FaultyServer(answer=slowly) as server, backend(server) as model:
        start = time.perf_counter()
        results = model.complete(requests)
    assert [text(result) for result in results] == [str(number) for number in range(32)]
    assert time.perf_counter() - start < 3
    assert backend(server).complete([]) == []


def test_a_failure_keeps_hold_of_nothing() -> None:
    error = failure(status(500), retries=0)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
