"""The endpoint as the official client, at its current major version, sees it."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import httpx
import openai
import pytest
from serving import chat_body, data_uri, echo, scripted, serving

from ergo.api import BUNDLED as DEMO
from ergo.backends import open_backend
from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request
from ergo.samples.reader import read_samples
from ergo.serve.chat import ErgoOptions
from ergo.serve.settings import Limits, Settings
from ergo.traces.flows import FLOWS


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(scripted()) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["ergo"]


def test_a_picture_is_looked_at_twice(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="ergo", **chat_body("How many? #41"))
    message = reply.choices[0].message
    assert message.content == "41"
    assert message.reasoning_content == "over there\nclosely"  # type: ignore[attr-defined]
    found = reply.ergo  # type: ignore[attr-defined]
    assert found["region_reading"] == "exact"
    assert len(found["turns"]) == 2
    assert found["vision_tokens"] == sum(view["tokens"] for turn in found["turns"] for view in turn["views"])
    assert reply.usage
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_the_stream_brings_each_look_then_the_answer_then_the_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="ergo", stream=True, stream_options={"include_usage": True}, **chat_body("#5")
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [delta.reasoning_content for delta in deltas if getattr(delta, "reasoning_content", None)]  # type: ignore[attr-defined]
    assert thoughts == ["over there\n", "closely\n"]
    assert "".join(delta.content or "" for delta in deltas) == "5"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage
    assert not chunks[-1].choices
    looks = [chunk.ergo["turn"] for chunk in chunks if "turn" in (getattr(chunk, "ergo", None) or {})]  # type: ignore[attr-defined]
    assert looks[0]["next_region"] == looks[1]["views"][0]["box"]
    assert not any(chunk.usage for chunk in client.chat.completions.create(model="ergo", stream=True, **chat_body()))


def test_a_later_question_is_about_the_latest_picture_and_knows_what_was_said(address: str) -> None:
    seen: list[Request] = []

    def keep(request: Request) -> str:
        seen.append(request)
        return echo(request)

    messages = [
        *chat_body("How many boats? #1", data_uri((300, 200)))["messages"],
        {"role": "assistant", "content": "three"},
        *chat_body("How many cars? #2", data_uri((900, 300)))["messages"],
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "And how many of them are red? #3"},
    ]
    with serving(scripted(keep)) as own:
        client = openai.OpenAI(base_url=f"{own}/v1", api_key="none")
        assert client.chat.completions.create(model="ergo", messages=messages).choices[0].message.content == "3"
        assert seen[0].views[0].picture.size.width == 900
        assert "user: How many cars? #2\nassistant: two" in seen[0].chat[-1].text
        client.chat.completions.create(model="ergo", messages=messages, extra_body={"ergo": {"picture": 0}})
        assert seen[2].views[0].picture.size.width == 300


def test_text_alone_passes_through_in_one_turn(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="ergo", messages=[{"role": "user", "content": "Write a title. #9"}])
    assert reply.choices[0].message.content == "9"
    assert len(reply.ergo["turns"]) == 1  # type: ignore[attr-defined]
    assert reply.ergo["vision_tokens"] == 0  # type: ignore[attr-defined]


def test_flow_budget_options_and_a_drawn_region_are_the_clients_choice(client: openai.OpenAI) -> None:
    for ergo, turns in (
        ({"flow": "one_look"}, 1),
        ({"budget": 16}, 2),
        ({"flow": "crop_only", "region": [100, 100, 200, 180]}, 1),
    ):
        found = client.chat.completions.create(model="ergo", extra_body={"ergo": ergo}, **chat_body()).ergo  # type: ignore[attr-defined]
        assert len(found["turns"]) == turns
        assert all(view["tokens"] <= ergo.get("budget", 640) for turn in found["turns"] for view in turn["views"])
    assert found["turns"][0]["views"][0]["box"] == [100, 100, 200, 180]


def test_a_request_may_name_every_flow_there_is() -> None:
    assert get_args(ErgoOptions.model_fields["flow"].annotation) == tuple(FLOWS)


def test_fields_that_change_no_answer_are_let_pass(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="ergo", user="me", n=1, presence_penalty=0, logprobs=False, metadata={"a": "b"}, tool_choice="none",
        response_format={"type": "text"}, extra_body={"chat_id": "x", "tools": [], "functions": None}, **chat_body("#8"),
    )  # fmt: skip
    assert reply.choices[0].message.content == "8"


PART = {"type": "text", "text": "What is it?"}
IMAGE = {"type": "image_url", "image_url": {"url": data_uri((8, 8))}}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"n": 2}, "n "), ({"logprobs": True}, "logprobs"), ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "grammar"}}, "response_format"), ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"reasoning_effort": "low"}, "reasoning_effort"), ({"guided_json": {"a": 1}}, "guided_json"),
        ({"modalities": ["audio"]}, "modalities"), ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "x", "images": ["aGk="]}]}, "messages.0.images"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}, {"role": "user", "content": "x"}]}, "tool_calls"),
        *(
            ({"messages": [{"role": "user", "content": [part, PART]}]}, f"'{part['type']}'")
            for part in (
                {"type": "file", "file": {"file_data": "x"}}, {"type": "video_url", "video_url": {"url": "x"}},
                {"type": "image", "source": {"type": "base64", "data": "x"}}, {"type": "image", "image": "x"},
                {"type": "input_audio", "input_audio": {"data": "x"}}, {"type": "input_image", "image_url": "x"},
            )
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "low"}}, PART]}]}, "detail"),
        ({"messages": [{"role": "user", "content": [IMAGE, IMAGE, PART]}], "ergo": {"flow": "as_needed"}}, "2 pictures"),
        ({"messages": [{"role": "user", "content": [PART | {"weight": 2}]}]}, "messages.0.content.0.weight"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x", "crop": 1}}, PART]}]}, "image_url.crop"),
        ({"messages": [{"role": "user", "content": "x"}], "ergo": {"options": ["a"]}}, "ergo.options"),
        ({"ergo": {"region": [1, 2, 3, 4]}}, "ergo.region"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_honoured_is_refused_by_name(
    address: str, change: dict[str, object], name: str, stream: bool
) -> None:
    reply = httpx.post(f"{address}/v1/chat/completions", json=chat_body(stream=stream) | change)
    assert reply.status_code == 400
    assert name in reply.json()["error"]["message"]


def test_of_two_pictures_in_a_message_the_client_says_which(client: openai.OpenAI) -> None:
    two = [{"type": "image_url", "image_url": {"url": data_uri(size)}} for size in ((300, 200), (90, 60))]
    reply = client.chat.completions.create(
        model="ergo", messages=[{"role": "user", "content": [*two, PART]}], extra_body={"ergo": {"picture": 0}}
    )  # type: ignore[call-overload]
    assert reply.ergo["turns"][0]["views"][0]["source"] == [300, 200]
    assert reply.ergo["pictures"] == 2


def test_max_tokens_and_stop_are_about_the_answer_alone() -> None:
    """`max_tokens=5` once cut the reply that names the region."""
    opened = scripted()
    assert isinstance(opened.backend, ScriptedBackend)
    with serving(opened, Settings(look_tokens=300)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        reply = client.chat.completions.create(
            model="ergo", max_tokens=5, stop=["4", "3", "zoom"], **chat_body("#1234")
        )
        last = list(client.chat.completions.create(model="ergo", stream=True, stop="2", **chat_body("#1234")))
    first, second = opened.backend.requests[:2]
    assert (first.sampling.max_tokens, second.sampling.max_tokens) == (300, 5)
    assert first.sampling.stop == second.sampling.stop == ()
    assert reply.choices[0].message.content == "12"  # up to the first of them
    assert reply.choices[0].finish_reason == "stop"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in last) == "1"


def test_a_client_written_for_a_browser_may_list_and_ask() -> None:
    with serving(scripted(), Settings(origins=("https://ui.example",))) as address:
        for path, method in (("/v1/models", "GET"), ("/v1/chat/completions", "POST")):
            asked = {"origin": "https://ui.example", "access-control-request-method": method,
                     "access-control-request-headers": "authorization,content-type,x-stainless-lang,x-stainless-os"}  # fmt: skip
            reply = httpx.options(address + path, headers=asked)
            assert reply.status_code == 200
            assert "x-stainless-os" in reply.headers["access-control-allow-headers"]


def test_one_model_can_be_asked_for_by_name(address: str, client: openai.OpenAI) -> None:
    assert client.models.retrieve("ergo").id == "ergo"
    with pytest.raises(openai.NotFoundError, match="there is ergo"):
        client.models.retrieve("gpt-9")
    assert httpx.head(address).status_code == 200
    assert httpx.head(f"{address}/health").status_code == 200


def test_the_path_of_a_model_is_nobodys_business() -> None:
    with serving(replace(scripted(), name="/home/me/secret/ERGO-7B")) as address:
        assert httpx.get(f"{address}/v1/models").json()["data"][0]["root"] == "ERGO-7B"


def test_every_error_has_openais_shape(address: str) -> None:
    for reply in (
        httpx.get(f"{address}/nowhere"), httpx.get(f"{address}/v1/chat/completions"), httpx.delete(f"{address}/v1/models"),
        httpx.get(address, headers={"host": "evil.example"}), httpx.post(f"{address}/v1/chat/completions", content="{"),
    ):  # fmt: skip
        assert reply.status_code >= 400
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}


def test_the_first_byte_of_a_stream_comes_at_once_and_signs_of_life_while_nothing_does() -> None:
    with serving(scripted(seconds=1.0), Settings(limits=Limits(heartbeat=0.2))) as address:
        started = time.perf_counter()
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=chat_body(stream=True), timeout=10) as reply:
            lines = reply.iter_lines()
            assert "assistant" in next(lines)
            assert time.perf_counter() - started < 0.8
            rest = list(lines)
        assert sum(line.startswith(":") for line in rest) >= 4
        assert rest[-2] == "data: [DONE]"


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "gpt-9"}, openai.NotFoundError, "there is ergo"),
        ({"extra_body": {"ergo": {"flow": "three_looks"}}}, openai.BadRequestError, "flow"),
        ({"extra_body": {"ergo": {"flow": "crop_only"}}}, openai.BadRequestError, "ergo.region"),
        (
            {"extra_body": {"ergo": {"flow": "crop_only", "region": [9, 9, 1, 1]}}},
            openai.BadRequestError,
            "ergo.region",
        ),
        (
            {"extra_body": {"ergo": {"flow": "crop_only", "region": [5000, 5000, 6000, 6000]}}},
            openai.BadRequestError,
            "inside",
        ),
        ({"extra_body": {"ergo": {"picture": 3}}}, openai.BadRequestError, "counts from 0"),
    ],
)
def test_mistakes_are_errors_of_the_clients_own_kind(
    client: openai.OpenAI, fields: dict[str, object], error: type[Exception], words: str
) -> None:
    for stream in (False, True):
        with pytest.raises(error, match=words):
            client.chat.completions.create(**{"model": "ergo", "stream": stream, **chat_body(), **fields})  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("timeout", 504), ("refused", 502), ("out_of_memory", 503), ("crashed", 500), ("http_429", 429)],
)
def test_a_model_that_fails_has_its_status(kind: str, status: int) -> None:
    """In a stream, whose head is sent at once, as an event that the client raises."""
    with serving(scripted(lambda _: BackendError("it did not answer", kind))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIStatusError) as raised:
            client.chat.completions.create(model="ergo", **chat_body())
        assert raised.value.status_code == status
        with pytest.raises(openai.APIError, match="it did not answer"):
            list(client.chat.completions.create(model="ergo", stream=True, **chat_body()))
        assert f'ergo_requests_total{{status="{status}"}} 2.0' in httpx.get(f"{address}/metrics").text


def test_past_its_deadline_a_question_ends(address: str) -> None:
    with serving(scripted(seconds=1.0), Settings(limits=Limits(deadline=0.2))) as slow:
        client = openai.OpenAI(base_url=f"{slow}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.APIStatusError, match="not answered within") as raised:
            client.chat.completions.create(model="ergo", **chat_body())
        assert raised.value.status_code == 504


def test_beyond_the_concurrency_is_429_with_a_time_to_come_back() -> None:
    with serving(scripted(seconds=0.5), Settings(limits=Limits(concurrency=2))) as address:
        statuses: list[int] = []

        def ask() -> None:
            reply = httpx.post(f"{address}/v1/chat/completions", json=chat_body(), timeout=10)
            statuses.append(reply.status_code)
            assert reply.status_code == 200 or int(reply.headers["retry-after"]) >= 1

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 429, 429, 429, 429]


def test_a_client_who_leaves_ends_the_work_between_two_looks() -> None:
    opened = scripted(seconds=0.4)
    assert isinstance(opened.backend, ScriptedBackend)
    with serving(opened) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=chat_body(), timeout=0.15)
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=chat_body(stream=True), timeout=5) as reply:
            next(reply.iter_lines())
        deadline = time.monotonic() + 3
        while httpx.get(f"{address}/health").json()["in_progress"] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert httpx.get(f"{address}/health").json()["in_progress"] == 0
        first_looks = sum(request.expect == "region" for request in opened.backend.requests)
        assert first_looks <= 2  # the stream's first byte comes before its first look
        assert len(opened.backend.requests) <= 3


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_who_leaves_during_the_first_look_gets_no_second(stream: bool) -> None:
    opened = scripted(seconds=0.4)
    assert isinstance(opened.backend, ScriptedBackend)
    with serving(opened) as address:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=chat_body(stream=stream), timeout=0.15)
        time.sleep(1.2)  # both looks would take 0.8 s
        assert httpx.get(f"{address}/health").json()["in_progress"] == 0
        assert len(opened.backend.requests) == 1


def test_a_local_model_gets_what_is_ready_together_and_nothing_is_mixed() -> None:
    sizes: list[int] = []

    class Counting(ScriptedBackend):
        def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
            sizes.append(len(requests))
            return super().complete(requests)

    counted = replace(scripted(), backend=Counting(echo, 0.05, parallel=False))
    with serving(counted) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        answers: dict[int, str | None] = {}

        def ask(number: int) -> None:
            reply = client.chat.completions.create(model="ergo", **chat_body(f"#{number}"))
            answers[number] = reply.choices[0].message.content

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == {number: str(number) for number in range(24)}
    assert max(sizes) > 4


def test_the_shipped_model_answers_and_keeps_its_first_look() -> None:
    sample = next(read_samples(DEMO / "samples.jsonl"))
    uri = f"data:image/jpeg;base64,{base64.b64encode(Path(str(sample.image)).read_bytes()).decode()}"
    with serving(open_backend("ergo-photo")) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        reply = client.chat.completions.create(
            model="ergo", extra_body={"ergo": {"options": list(sample.choices)}}, **chat_body(sample.question, uri)
        )
        assert reply.usage
        assert reply.usage.prompt_tokens_details
        assert reply.usage.prompt_tokens_details.cached_tokens
        assert reply.ergo["region"]  # type: ignore[attr-defined]


def test_what_is_counted() -> None:
    """A stream is counted when it has ended, with how it ended."""
    with serving(scripted()) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        client.chat.completions.create(model="ergo", **chat_body())
        list(client.chat.completions.create(model="ergo", stream=True, **chat_body()))
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=chat_body(ergo={"flow": "nothing"})):
            pass
        shown = httpx.get(f"{address}/metrics").text
    assert 'ergo_requests_total{status="200"} 2.0' in shown
    assert 'ergo_requests_total{status="400"} 1.0' in shown
    assert "ergo_request_seconds_count 3.0" in shown


def test_what_a_request_may_ask_for_has_caps() -> None:
    """More tokens or a larger budget than the server allows are cut to what it allows."""
    opened = scripted()
    assert isinstance(opened.backend, ScriptedBackend)
    settings = Settings(max_tokens=50, budget=64, max_budget=100)
    with serving(opened, settings) as address:
        for fields in (
            {"max_tokens": 4000, "ergo": {"budget": 4000}},
            {"max_completion_tokens": 4000},
            {"max_tokens": 7},
        ):
            picture = data_uri((3000, 2000))
            httpx.post(f"{address}/v1/chat/completions", json=chat_body(picture=picture, **fields)).raise_for_status()
    first_looks = [request for request in opened.backend.requests if request.expect == "region"]
    answers = [request for request in opened.backend.requests if request.expect == "text"]
    assert [request.sampling.max_tokens for request in answers] == [50, 50, 7]
    tokens = [request.views[0].tokens for request in first_looks]
    assert 64 < tokens[0] <= 100  # asked for 4,000
    assert tokens[1] <= 64


def test_a_question_whose_client_left_while_it_waited_is_not_computed() -> None:
    """One model, busy for a second; who waits behind it and leaves costs nothing."""
    opened = scripted(seconds=1.0, parallel=False)
    assert isinstance(opened.backend, ScriptedBackend)
    with serving(opened) as address:
        first = threading.Thread(
            target=lambda: httpx.post(f"{address}/v1/chat/completions", json=chat_body("#1", ergo={"flow": "one_look"}))
        )
        first.start()
        time.sleep(0.3)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{address}/v1/chat/completions", json=chat_body("#2"), timeout=0.2)
        first.join()
        time.sleep(1.3)
        asked = [request.chat[-1].text for request in opened.backend.requests]
    assert len(asked) == 1
    assert "#1" in asked[0]
