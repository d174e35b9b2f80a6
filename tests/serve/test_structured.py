"""The final answer as JSON: filled in here, held to by an endpoint, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import openai
import pytest
from faulty import FaultyServer, reply, status
from pydantic import BaseModel
from serving import chat_body, echo, scripted, serving

from ergo.backends import open_backend
from ergo.core.messages import Completion, Request

OBJECT = {"type": "json_object"}


def schema(required: bool = True, **properties: Any) -> dict[str, Any]:
    names = list(properties) if required else []
    whole = {"type": "object", "properties": properties, "required": names, "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "found", "schema": whole, "strict": True}}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with serving(scripted()) as address:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)


def said(client: openai.OpenAI, form: dict[str, Any], question: str = "How many? #7", **fields: Any) -> Any:
    made = client.chat.completions.create(  # type: ignore[call-overload]
        model="ergo", response_format=form, extra_body=fields, **chat_body(question)
    )
    return json.loads(made.choices[0].message.content)


TEXT, NULL = {"type": "string"}, {"type": "null"}
BOX = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"answer": TEXT}, {"answer": "7"}),
        ({"answer": {"type": "integer", "title": "Answer"}}, {"answer": 7}),
        ({"answer": {"type": "number"}, "confidence": {"anyOf": [{"type": "number"}, NULL]}}, {"answer": 7, "confidence": None}),
        ({"region": {"anyOf": [BOX, NULL]}, "answer": TEXT}, {"region": [28, 28, 139, 113], "answer": "7"}),
        ({"regions": {"type": "array", "items": BOX}}, {"regions": [[28, 28, 139, 113]]}),
        ({"choice": {"type": ["string", "null"]}}, {"choice": None}),
    ],
)  # fmt: skip
def test_a_schema_of_what_is_found_is_filled_in(client: openai.OpenAI, properties: Any, expected: Any) -> None:
    assert said(client, schema(**properties)) == expected
    chunks = client.chat.completions.create(
        model="ergo", stream=True, response_format=schema(**properties), **chat_body()
    )  # type: ignore[call-overload]
    assert json.loads("".join(chunk.choices[0].delta.content or "" for chunk in chunks)) == expected


class Colour(StrEnum):
    """Options of a question."""

    RED = "red"
    BLUE = "blue"


class Answered(BaseModel):
    """As pydantic writes an enum, it stands under $defs: that is the endpoint's, or refused."""

    answer: str
    choice: str | None


def test_options_of_a_schema_are_those_of_the_question() -> None:
    seen: list[Request] = []

    def choose(request: Request) -> str:
        seen.append(request)
        return echo(request) if request.expect == "region" else "<answer>(B)</answer>"

    with serving(scripted(choose)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        for name in ("choice", "answer"):
            form = schema(**{name: {"type": "string", "enum": ["red", "blue"]}})
            assert said(client, form, "Which colour?") == {name: "blue"}
            assert "(A) red\n(B) blue" in seen[-1].chat[-1].text
        with pytest.raises(openai.BadRequestError, match="differ"):
            said(client, form, ergo={"options": ["green"]})


def test_an_answer_that_does_not_fit_is_an_error_that_is_not_repeated(client: openai.OpenAI) -> None:
    for properties, words in (
        ({"answer": {"type": "boolean"}}, "no boolean"),
        ({"choice": {"type": "string", "enum": ["red", "blue"]}}, "none of the options"),
        ({"confidence": {"type": "number"}}, "null"),
    ):
        with pytest.raises(openai.UnprocessableEntityError, match=words):
            said(client, schema(**properties))


def test_the_clients_own_classes_are_filled_in(client: openai.OpenAI) -> None:
    made = client.chat.completions.parse(model="ergo", response_format=Answered, **chat_body("#31"))
    assert made.choices[0].message.parsed == Answered(answer="31", choice=None)


@pytest.mark.parametrize(
    "form",
    [
        schema(colour=TEXT), schema(answer={"type": "string", "pattern": "^a"}), schema(answer={"type": "object"}),
        schema(answer={"$ref": "#/$defs/A"}), schema(answer={"type": "string", "enum": ["a", 3]}),
        schema(answer={"anyOf": [TEXT, {"const": 3}]}), schema(confidence={"type": "number", "maximum": 0.1}),
        schema(confidence={"type": "number", "minimum": 0.5}), schema(region={"type": "array", "maxItems": 3}),
        schema(regions={"type": "array", "items": BOX, "minItems": 1}), schema(regions={"type": "array", "maxItems": 1}),
    ],
)  # fmt: skip
def test_a_model_in_this_process_is_not_held_to_other_schemas(client: openai.OpenAI, form: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format: this model cannot be held to that schema"):
        said(client, form)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x"}}, {"type": "yaml"}, {},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "array"}}}, {"type": "json_object", "x": 1},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "required": "a"}}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}, "mode": 1}},
    ],
)  # fmt: skip
def test_forms_that_are_none_are_refused_by_name(client: openai.OpenAI, form: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError, match="response_format"):
        said(client, form)


def test_json_object_is_the_models_own_where_it_wrote_one(client: openai.OpenAI) -> None:
    found = said(client, OBJECT)
    assert found == {"answer": "7", "choice": None, "region": [28, 28, 139, 113], "regions": [[28, 28, 139, 113]], "confidence": None}  # fmt: skip
    with serving(
        scripted(lambda request: echo(request) if request.expect == "region" else '```json\n{"n": 3}```')
    ) as own:
        assert said(openai.OpenAI(base_url=f"{own}/v1", api_key="none"), OBJECT) == {"n": 3}


def test_confidence_is_that_of_the_answer_where_it_is_known() -> None:
    def sure(request: Request) -> Completion:
        before, _, after = echo(request).partition("7")
        return Completion(echo(request), logprobs=(-3.0, -0.2, -3.0), pieces=(before, "7" if after else "", after))

    with serving(scripted(sure)) as own:
        client = openai.OpenAI(base_url=f"{own}/v1", api_key="none")
        assert said(client, schema(confidence={"type": "number"})) == {"confidence": pytest.approx(0.8187, abs=1e-4)}


def upstream(payload: dict[str, Any]) -> Any:
    form = payload.get("response_format")
    if form is None:
        return reply("<zoom>[28, 28, 140, 112]</zoom>")
    return reply('{"colour": "red"}' if "fits this schema" in json.dumps(payload["messages"]) else "red, I think")


def test_an_endpoint_is_held_to_any_schema_in_its_last_reply_alone() -> None:
    form = schema(colour=TEXT)
    with FaultyServer(answer=upstream) as behind, serving(lambda: open_backend(f"openai:{behind.url}", "qwen2_5_vl")) as address:  # fmt: skip
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        assert said(client, form) == {"colour": "red"}
        first, last = behind.payloads
        assert "response_format" not in first
        assert last["response_format"] == form
        with pytest.raises(openai.BadRequestError, match="as_needed"):
            said(client, form, ergo={"flow": "as_needed"})
        assert said(client, OBJECT)["answer"] == "red, I think"
        behind.faults += [lambda handler: handler.send(200, json.dumps(reply("<zoom>[0, 0, 9, 9]</zoom>")))] * 2
        with pytest.raises(openai.UnprocessableEntityError, match="no JSON object"):  # a server that ignores the field
            said(client, form)
        behind.faults += [lambda handler: handler.send(200, json.dumps(reply("<zoom>[0, 0, 9, 9]</zoom>"))),
                          status(400, '{"error": {"message": "response_format is not supported here"}}')]  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="response_format is not supported"):
            said(client, form)


@pytest.mark.parametrize("options", [["a", "a"], ["a", "a "], ["", "b"], [" "]])
def test_options_that_are_the_same_or_empty_are_refused(client: openai.OpenAI, options: list[str]) -> None:
    with pytest.raises(openai.BadRequestError, match=r"ergo\.options: each is a text of its own, and none is empty"):
        client.chat.completions.create(model="ergo", extra_body={"ergo": {"options": options}}, **chat_body("What?"))
