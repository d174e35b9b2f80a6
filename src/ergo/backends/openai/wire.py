"""OpenAI's JSON: a Request as the body of a call, and the body of a reply as a Completion. No I/O."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any, Literal

from ergo.backends.openai.faults import Fault
from ergo.backends.openai.parameters import Wording
from ergo.core.messages import Completion, Message, Part, Request, Seconds, Usage
from ergo.images.encode import Format, data_uri, encode

Json = dict[str, Any]

LENGTHS = ("length", "max_tokens", "MAX_TOKENS", "max_output_tokens")
"""Finish reasons of a reply cut at its limit: OpenAI's, Anthropic's, Gemini's, the Responses API's."""

UNFINISHED = {"content_filter": "content_filter", "abort": "aborted", "error": "aborted"}
"""Finish reasons of replies that are not one, and the names of those failures."""


class DataUri(str):
    """A picture in a body: long, and nothing in it that JSON escapes."""


# ── request ────────────────────────────────────────────────────────────────────────────────────


def request_body(request: Request, model: str, format: Format, wording: Wording, stream: bool, upload: bool) -> Json:
    """The body of a call to /chat/completions.

    upload: send every picture's bytes. Otherwise those of earlier turns are named by their identity alone, where
    the wording has one for that (vLLM's uuid).
    """
    old = 0 if upload or request.previous is None or wording.picture_id != "uuid" else len(request.chat) - 2
    body: Json = {
        "model": model,
        "messages": [_message(one, format, wording, place >= old) for place, one in enumerate(request.chat)],
        **wording.parameters(request.sampling),
    }
    if stream:
        body["stream"] = True
        if "stream_options" not in wording.refused:
            body["stream_options"] = {"include_usage": True}
    return body


def to_json(body: Json) -> bytes:
    """ASCII only: a model may write half a surrogate pair, and half a pair has no UTF-8.

    Pictures are put in last: `json` would look for what to escape among their million characters, 4 ms each.
    """
    place, pictures = f"picture-{secrets.token_hex(16)}", []

    def without_pictures(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without_pictures(one) for name, one in value.items()}
        if isinstance(value, list):
            return [without_pictures(one) for one in value]
        if isinstance(value, DataUri):
            pictures.append(value)
            return place
        return value

    first, *rest = json.dumps(without_pictures(body)).split(place)
    return "".join([first, *(text for pair in zip(pictures, rest, strict=True) for text in pair)]).encode("ascii")


def names_sent(body: Json) -> set[str]:
    """Every field of a body, those beside its pictures included."""
    parts = [
        part for message in body["messages"] if isinstance(message["content"], list) for part in message["content"]
    ]
    return {*body, *(name for part in parts for name in (*part, *(part.get("image_url") or ())))}


def _message(message: Message, format: Format, wording: Wording, upload: bool) -> Json:
    """Plain text as a string, which every chat template takes; with views as parts, in order."""
    parts = [_part(part, format, wording, upload) for part in message.parts]
    return {"role": message.role, "content": parts if message.views else message.text}


def _part(part: Part, format: Format, wording: Wording, upload: bool) -> Json:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    image: Json = {"url": DataUri(data_uri(part, format))} if upload else {}
    if wording.detail:
        image["detail"] = wording.detail
    if wording.picture_id is None:
        return {"type": "image_url", "image_url": image}
    # of the bytes, not of the view: a server that checks it hashes what it was sent
    identity = "sha256:" + hashlib.sha256(encode(part, format)).hexdigest()
    if wording.picture_id == "content_hash":
        return {"type": "image_url", "image_url": image | {"content_hash": identity}}
    return {"type": "image_url", "image_url": image if upload else None, "uuid": identity}


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
    refusal = message.get("refusal")
    ended: Literal["stop", "length", "refusal"] = "length" if finish in LENGTHS else "stop"
    if isinstance(refusal, str) and refusal and not text:
        text, ended = refusal, "refusal"
    if reasoning and "</think>" not in (text or ""):  # a server that splits reasoning off: joined again
        text = f"<think>{reasoning}</think>{text}" if text else f"<think>{reasoning}"
    if text is None:
        raise Fault("the server's answer holds no text. Is it a chat model?", "no_text")
    for stop in request.sampling.stop:  # a server that had to go without `stop`, or that leaves it in
        text = text.split(stop)[0]
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair could not be stored
    pieces, logprobs = token_logprobs(at(choices, 0, "logprobs", "content"))
    return Completion(text, usage(body.get("usage"), request), seconds, ended, None, logprobs, pieces)


def token_logprobs(listed: Any) -> tuple[tuple[str, ...], tuple[float, ...]] | tuple[None, None]:
    """The text and the log-probability of each token, where the server tells of every one of them."""
    if not isinstance(listed, list) or not listed:
        return None, None
    texts, logprobs = [at(one, "token") for one in listed], [at(one, "logprob") for one in listed]
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(one, int | float) for one in logprobs):
        return None, None
    return tuple(texts), tuple(map(float, logprobs))


REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Where servers put what they split off the text: DeepSeek's name, newer vLLM's, Ollama's, OpenRouter's list."""


def text_and_reasoning(message: Any) -> tuple[str | None, str | None]:
    """The text and the reasoning of a message or delta; both may come as a list of parts."""
    content = at(message, "content")
    text, inside = _joined(content, ("text", "output_text")), None
    if isinstance(content, list):  # Mistral's and Anthropic's way: reasoning as parts among the others
        inside = _joined(content, ("thinking", "reasoning"))
    apart = (_joined(at(message, name)) for name in REASONING)
    return text, inside or next((reasoning for reasoning in apart if reasoning), None)


def _joined(value: Any, types: tuple[str, ...] | None = None) -> str | None:
    """A string as it is; of a list of parts, the text of those that have one of these types; None for neither."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    found = []
    for part in value:
        if types is None or at(part, "type") in types:
            words = [_joined(at(part, name)) for name in ("text", "thinking", "summary", "content")]
            found += [one for one in words if one is not None][:1]
    return "".join(found) if found else None


def reported_image_tokens(reported: Any) -> int | None:
    """Tokens of all pictures of a request, as vLLM, OpenAI's form and SGLang report them."""
    places = (("prompt_tokens_details", "multimodal_tokens", "image"), ("prompt_tokens_details", "image_tokens"))
    counts = (_count(at(reported, *place)) for place in (*places, ("image_tokens",)))
    return next((count for count in counts if count), None)


def usage(reported: Any, request: Request) -> Usage:
    """Tokens as the server counts them; vision tokens, where it does not report them, as our views cost."""
    return Usage(
        prompt_tokens=_count(at(reported, "prompt_tokens")),
        vision_tokens=reported_image_tokens(reported) or sum(view.tokens for view in request.views),
        cached_tokens=_count(at(reported, "prompt_tokens_details", "cached_tokens")),
        generated_tokens=_count(at(reported, "completion_tokens")),
    )


def token_difference(reported: Any, request: Request) -> str | None:
    """How a server's picture tokens differ from those we sent, in words; None where they do not, or none can tell.

    Servers that report prompt tokens alone are caught where no text could explain the number: fewer than the
    pictures alone cost, or more than one token for every byte of text (and 64 a message for the template) on top.
    """
    sent = sum(view.tokens for view in request.views)
    counted, prompt = reported_image_tokens(reported), _count(at(reported, "prompt_tokens"))
    if not sent:
        return None
    if counted is not None:  # some engines count the two marks around each picture as well
        return f"{counted}, not {sent}" if not sent <= counted <= sent + 2 * len(request.views) else None
    if prompt is None:
        return None
    text = sum(len(message.text.encode("utf-8", "replace")) + 64 for message in request.chat)
    if prompt < sent:
        return f"at most {prompt}, not {sent}"
    return f"at least {prompt - text}, not {sent}" if prompt > sent + text else None


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
            code = at(body, "error", "code")
            return f"{words} ({code})" if isinstance(code, str) and code not in words else words
    return json.dumps(body)


def error_parameter(body: Any) -> str | None:
    """The parameter an error body names: OpenAI's `param`, or the end of pydantic's `loc`."""
    location = at(body, "detail", 0, "loc")
    stated = at(body, "error", "param") or (location[-1] if isinstance(location, list) and location else None)
    return stated if isinstance(stated, str) else None


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
