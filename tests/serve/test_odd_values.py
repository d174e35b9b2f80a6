"""Each value of a request, replaced in turn by each of many odd ones: a request still, or one line that says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ergo.core.errors import UsageError
from ergo.families import QWEN2_5_VL
from ergo.serve.bodies import Parsed
from ergo.serve.chat import ChatRequest, read_query, read_request
from ergo.serve.responses import read_responses_request
from ergo.serve.settings import Limits

PICTURE = "data:image/png;base64,AAAA"
SCHEMA = {
    "type": "object",
    "properties": {
        "answer": {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "string"}]},
        "choice": {"type": ["string", "null"], "enum": ["a", "b", None]},
        "region": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4},
        "confidence": {"type": ["number", "null"], "minimum": 0},
    },
    "required": ["answer", "choice", "region", "confidence"],
    "additionalProperties": False,
}
CHAT = {
    "model": "ergo",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "x"},
                                     {"type": "image_url", "image_url": {"url": PICTURE, "detail": "high"}}]},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "z"},
    ],
    "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 5, "max_completion_tokens": 5, "n": 1,
    "temperature": 0.5, "top_p": 0.5, "seed": 3, "stop": ["."], "tools": [], "metadata": {"a": "b"}, "logprobs": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}},
    "ergo": {"options": ["a", "b"], "budget": 100, "flow": "crop_only", "region": [0, 0, 9, 9], "picture": 0},
}  # fmt: skip
RESPONSES = {
    "model": "ergo", "instructions": "i", "stream": False, "max_output_tokens": 5, "temperature": 0.5,
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"},
                                                        {"type": "input_image", "image_url": PICTURE, "detail": "auto"}]},
        {"type": "reasoning", "id": "r", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "y", "annotations": []}]},
        {"role": "user", "content": "z"},
    ],
    "text": {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}},
    "ergo": {"flow": "one_look"},
}  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 2**70, 1e308, 1e-320, "", " ", "x", "1e400", "\ud800", "answer", [], [None], [[]], [{}], ["x", "x"],
    {}, {"": None}, {"type": "text"}, {"type": ["string", {}]}, {"anyOf": 5}, {"anyOf": [[]]}, {"enum": {}}, {"x": "y"},
]  # fmt: skip


def variants(value: Any) -> Iterator[Any]:
    """The value with one of its parts, at any depth, replaced by each odd one, left out, or doubled."""
    yield from ODD
    if isinstance(value, dict):
        for name, inner in value.items():
            rest = {other: one for other, one in value.items() if other != name}
            yield rest
            yield from ({**value, name: one} for one in variants(inner))
        yield from ({**value, "odd": one} for one in ODD)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield [*value, inner]
            yield from ([*value[:place], one, *value[place + 1 :]] for one in variants(inner))


@pytest.mark.parametrize(("whole", "read"), [(CHAT, read_request), (RESPONSES, read_responses_request)])
def test_every_odd_value_in_every_place_is_taken_or_named(whole: Any, read: Callable[[Parsed], ChatRequest]) -> None:
    taken, refused = 0, []
    for one in variants(whole):
        try:
            read_query(read(Parsed(bytearray(json.dumps(one).encode()), Limits())), QWEN2_5_VL, Limits())
            taken += 1
        except UsageError as error:
            refused.append(str(error))
    assert taken > 50
    assert len(refused) > 500
    assert not [words for words in refused if "\n" in words or len(words) > 600]
