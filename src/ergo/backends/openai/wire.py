"""OpenAI's JSON: a Request as the body of a call, and the body of a reply as a Completion. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ergo.backends.openai.faults import Fault
from ergo.backends.settings import ServerName
from ergo.core.messages import Completion, Message, Part, Request, Seconds, Usage
from ergo.images.encode import Format, data_uri

Json = dict[str, Any]

ZOOM_REGEX = r"<zoom>\[[0-9]{1,4}(, [0-9]{1,4}){3}\]</zoom>"
REGION_REGEX = rf"(<think>[^<]{{1,1000}}</think>[ \n]?)?{ZOOM_REGEX}"
"""A region as every family writes it, perhaps after a thought; bounded, so that it always ends."""

REGION_GRAMMAR = r"""
root ::= thought? "<zoom>[" number ", " number ", " number ", " number "]</zoom>"
thought ::= "<think>" [^<]{1,1000} "</think>" [ \n]?
number ::= [0-9]{1,4}
"""
"""REGION_REGEX in llama.cpp's own notation (GBNF)."""

FORCED_REGION: Mapping[ServerName, Json] = {
    "vllm": {"structured_outputs": {"regex": REGION_REGEX}},  # the old guided_regex is ignored, with HTTP 200
    "sglang": {"regex": REGION_REGEX},
    "llama.cpp": {"grammar": REGION_GRAMMAR},
}

UNFINISHED = {"content_filter": "content_filter", "abort": "aborted", "error": "aborted"}
"""Finish reasons of replies that are not one, and the names of those failures."""


# ── request ────────────────────────────────────────────────────────────────────────────────────


def request_body(request: Request, model: str, format: Format, stream: bool) -> Json:
    """The body of a call to /chat/completions."""
    sampling = request.sampling
    body: Json = {
        "model": model,
        "messages": [_message(message, format) for message in request.chat],
        "max_tokens": sampling.max_tokens,
        # sent even where they are OpenAI's defaults: vLLM's own come from the checkpoint's generation_config.json
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _message(message: Message, format: Format) -> Json:
    """Plain text as a string, which every chat template takes; with views as parts, in order."""
    parts = [_part(part, format) for part in message.parts]
    return {"role": message.role, "content": parts if message.views else message.text}


def _part(part: Part, format: Format) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": data_uri(part, format)}}


# ── reply ──────────────────────────────────────────────────────────────────────────────────────


def completion(body: Json, request: Request, seconds: Seconds) -> Completion:
    """A reply's body as a Completion; raises Fault, by name, where something is missing."""
    choices = body.get("choices")
    if choices == []:
        raise Fault("the server answered with no choices. Look at its log.", "no_choices")
    message, finish = at(choices, 0, "message"), at(choices, 0, "finish_reason")
    if not isinstance(message, dict):
        raise Fault("the server's answer holds no message. Is it an OpenAI endpoint?", "bad_reply")
    if isinstance(finish, str) and finish in UNFINISHED:
        raise Fault(f"the server gave up its answer ({finish}). Look at its log.", UNFINISHED[finish])
    text, reasoning = text_and_reasoning(message)
    if reasoning and "<think>" not in (text or ""):  # a server that splits reasoning off: joined again
        text = f"<think>{reasoning}</think>{text}" if text else f"<think>{reasoning}"
    if text is None:
        raise Fault("the server's answer holds no text. Is it a chat model?", "no_text")
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair could not be stored
    return Completion(text, usage(body.get("usage"), request), seconds, "length" if finish == "length" else "stop")


def text_and_reasoning(message: Any) -> tuple[str | None, str | None]:
    """The text and the reasoning of a message or delta; `reasoning` is what newer vLLM calls the latter."""
    text, reasoning = at(message, "content"), at(message, "reasoning_content") or at(message, "reasoning")
    return text if isinstance(text, str) else None, reasoning if isinstance(reasoning, str) else None


def usage(reported: Any, request: Request) -> Usage:
    """Tokens as the server counts them; vision tokens, where it does not report them, as our views cost."""
    vision = (
        _count(at(reported, "prompt_tokens_details", "multimodal_tokens", "image"))  # vLLM
        or _count(at(reported, "prompt_tokens_details", "image_tokens"))
        or _count(at(reported, "image_tokens"))  # SGLang
        or sum(view.tokens for view in request.views)
    )
    return Usage(
        prompt_tokens=_count(at(reported, "prompt_tokens")),
        vision_tokens=vision,
        cached_tokens=_count(at(reported, "prompt_tokens_details", "cached_tokens")),
        generated_tokens=_count(at(reported, "completion_tokens")),
    )


def server_seconds(body: Json) -> tuple[float, float] | None:
    """Seconds of prefill and of decode, where the server reports them (llama.cpp does)."""
    prefill, decode = at(body, "timings", "prompt_ms"), at(body, "timings", "predicted_ms")
    if isinstance(prefill, int | float) and isinstance(decode, int | float):
        return prefill / 1000, decode / 1000
    return None


def error_words(body: Any) -> str:
    """What an error body says, in any of the shapes that are about."""
    for path in (("error", "message"), ("error",), ("message",), ("detail",)):
        words = at(body, *path)
        if isinstance(words, str):
            return words
    return json.dumps(body)


def at(value: Any, *path: str | int) -> Any:
    """value[path[0]][path[1]]...; None where the reply has no such place."""
    for key in path:
        if isinstance(value, dict) and isinstance(key, str):
            value = value.get(key)
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            value = value[key]
        else:
            return None
    return value


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
