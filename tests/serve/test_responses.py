"""The Responses API as the official client sees it, and what it does not take, by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel
from serving import chat_body, data_uri, scripted, serving

from ergo.backends.scripted import ScriptedBackend
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request
from ergo.families import family_named
from ergo.serve.settings import Limits, Settings


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(scripted()) as address:
        yield address


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def asking(question: str = "How many? #7", *sizes: tuple[int, int]) -> list[Any]:
    pictures = [{"type": "input_image", "image_url": data_uri(size)} for size in sizes or ((640, 480),)]
    return [{"role": "user", "content": [*pictures, {"type": "input_text", "text": question}]}]


def test_a_picture_is_looked_at_twice(client: openai.OpenAI) -> None:
    found = client.responses.create(model="ergo", input=asking("How many? #41"), max_output_tokens=90, store=False)
    assert (found.output_text, found.status, found.max_output_tokens) == ("41", "completed", 90)
    [reasoning, message] = found.output
    assert [part.text for part in reasoning.summary] == ["over there", "closely"]  # type: ignore[union-attr]
    assert message.type == "message"
    assert found.usage
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens > 0
    assert len(found.ergo["turns"]) == 2  # type: ignore[attr-defined]


def test_input_is_text_or_messages_and_instructions_go_first(client: openai.OpenAI) -> None:
    assert client.responses.create(model="ergo", input="Write a title. #9", instructions="Be brief.").output_text == "9"
    earlier = client.responses.create(model="ergo", input=asking("How many boats? #1"))
    conversation = [*asking("How many boats? #1"), *earlier.output, {"role": "user", "content": "And cars? #2"}]
    found = client.responses.create(model="ergo", input=conversation)
    assert found.output_text == "2"
    assert found.ergo["pictures"] == 1  # type: ignore[attr-defined]


def test_the_stream_has_the_official_events_in_order(client: openai.OpenAI) -> None:
    with client.responses.stream(model="ergo", input=asking("#5")) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events if event.type != "response.in_progress"]
    assert kinds == [
        "response.created", "response.output_item.added",
        *(f"response.reasoning_summary_{one}" for one in ("part.added", "text.delta", "text.done", "part.done") * 2),
        "response.output_item.done", "response.output_item.added", "response.content_part.added",
        "response.output_text.delta", "response.output_text.done", "response.content_part.done",
        "response.output_item.done", "response.completed",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))  # type: ignore[union-attr]
    assert final.output_text == "5"
    assert final.usage
    looks = [event.response.ergo["turn"] for event in events if hasattr(getattr(event, "response", None), "ergo")
             and "turn" in event.response.ergo]  # type: ignore[union-attr]  # fmt: skip
    assert looks[0]["next_region"] == looks[1]["views"][0]["box"]


class Found(BaseModel):
    """What a client may want of an answer."""

    answer: int
    region: tuple[int, int, int, int] | None
    confidence: float | None


def test_an_answer_comes_in_the_form_of_a_class(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model="ergo", input=asking("How many? #12"), text_format=Found).output_parsed
    assert parsed
    assert (parsed.answer, parsed.confidence) == (12, None)
    assert parsed.region


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"), ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "web_search"}]}, "tools"), ({"background": True}, "background"), ({"prompt": {"id": "x"}}, "prompt"),
        ({"reasoning": {"effort": "high"}}, "reasoning"), ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"), ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"seed": 3}, "seed"), ({"input": []}, "input"), ({"input": 3}, "input"), ({"messages": [{}]}, "messages"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "'function_call_output'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "'input_file'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "x"}]}]}, "file_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": data_uri(), "detail": "low"}]}]}, "detail"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "x", "cut": 1}]}]}, "input.0.content.0.cut"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_honoured_is_refused_by_name(
    address: str, change: dict[str, object], name: str, stream: bool
) -> None:
    reply = httpx.post(f"{address}/v1/responses", json={"input": asking(), "stream": stream} | change)
    assert reply.status_code == 400
    assert name in reply.json()["error"]["message"]


def test_failures_and_refusals_are_events_that_no_client_takes_for_an_answer() -> None:
    with serving(scripted(lambda _: BackendError("it did not answer", "crashed"))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.InternalServerError):
            client.responses.create(model="ergo", input=asking())
        with pytest.raises(openai.APIError, match="it did not answer"):
            list(client.responses.create(model="ergo", input=asking(), stream=True))
    with serving(scripted(lambda _: Completion("I do not do that", finish="refusal"))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        found = client.responses.create(model="ergo", input=asking())
        assert found.status == "incomplete"
        assert found.incomplete_details
        assert found.incomplete_details.reason == "content_filter"
        assert found.output[-1].content[0].refusal == "I do not do that"  # type: ignore[union-attr]
        kinds = [event.type for event in client.responses.create(model="ergo", input=asking(), stream=True)]
        assert kinds[-1] == "response.incomplete"
        assert "response.refusal.done" in kinds
        choice = client.chat.completions.create(model="ergo", **chat_body()).choices[0]
        assert (choice.finish_reason, choice.message.content) == ("content_filter", None)
        assert choice.message.refusal == "I do not do that"
        chunks = list(client.chat.completions.create(model="ergo", stream=True, **chat_body()))
        assert chunks[-1].choices[0].finish_reason == "content_filter"
        assert any(chunk.choices[0].delta.refusal for chunk in chunks)


def test_an_answer_cut_at_its_limit_says_so() -> None:
    with serving(scripted(lambda _: Completion("<answer>one two", finish="length"))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        found = client.responses.create(model="ergo", input=asking(), max_output_tokens=2)
        assert found.incomplete_details
        assert (found.status, found.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_the_first_byte_comes_at_once_and_signs_of_life_while_nothing_does() -> None:
    with serving(scripted(seconds=1.0), Settings(limits=Limits(heartbeat=0.2))) as address:
        started, body = time.perf_counter(), {"input": asking(), "stream": True}
        with httpx.stream("POST", f"{address}/v1/responses", json=body, timeout=9) as reply:
            stream = reply.iter_lines()
            lines = [next(stream)]
            assert time.perf_counter() - started < 0.8
            lines += stream
        assert lines[0] == "event: response.created"
        assert sum(line.startswith(":") for line in lines) >= 4


def test_several_pictures_are_asked_about_together_and_share_the_look() -> None:
    opened = scripted()
    assert isinstance(opened.backend, ScriptedBackend)
    with serving(opened) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        found = client.responses.create(model="ergo", input=asking("Which is larger? #3", (900, 600), (300, 200)))
        assert found.output_text == "3"
        [request] = opened.backend.requests
        assert [view.picture.size.width for view in request.views] == [900, 300]
        assert sum(view.tokens for view in request.views) <= 640
        for ergo, words in (({"budget": 5}, "share the budget"), ({"flow": "coarse_to_fine"}, "together, in one look")):
            with pytest.raises(openai.BadRequestError, match=words):
                client.responses.create(model="ergo", input=asking("x", (9, 9), (9, 9)), extra_body={"ergo": ergo})
    with serving(replace(opened, family=family_named("ergo_tiny"))) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="this model looks at one"):
            client.responses.create(model="ergo", input=asking("x", (9, 9), (9, 9)))


def test_a_look_of_as_needed_is_not_cut_by_the_answers_limit() -> None:
    seen: list[Request] = []

    def keep(request: Request) -> str:
        seen.append(request)
        return "<zoom>[28, 28, 140, 112]</zoom>" if len(seen) == 1 else "<answer>8</answer>"

    with serving(scripted(keep), Settings(look_tokens=300)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        reply = client.chat.completions.create(
            model="ergo", max_tokens=5, extra_body={"ergo": {"flow": "as_needed"}}, **chat_body()
        )
    assert reply.choices[0].message.content == "8"
    assert [request.sampling.max_tokens for request in seen] == [300, 300]
