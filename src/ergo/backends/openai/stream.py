"""A streamed reply, folded into the body it would have been as a whole.

Server-sent events are read by hand, not with httpx-sse: that library pulls the response's text itself, so our
limits on bytes and time could only sit in a replaced stream below it; it would spare ten lines, not more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ergo.backends.openai.wire import Json, at, text_and_reasoning


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Split at newlines alone: httpx's own iter_lines also splits at U+2028, which JSON may hold."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    yield rest


@dataclass
class StreamedReply:
    """What has come so far.

    parse: an event's bytes as JSON; raises what should end the stream. elapsed: seconds since the request.
    first_token: seconds until the first text came.
    """

    parse: Callable[[bytes], Json]
    elapsed: Callable[[], float]
    first_token: float | None = None
    _text: list[str] = field(default_factory=list)
    _reasoning: list[str] = field(default_factory=list)
    _logprobs: list[Json] = field(default_factory=list)
    _body: Json = field(default_factory=dict)
    _finish: str | None = None
    _has_choices: bool = False

    def add(self, line: bytes) -> None:
        """One line of the stream; comments, blank lines and the closing [DONE] say nothing."""
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or not data or data == b"[DONE]":
            return
        event = self.parse(data)
        # vLLM and OpenAI send usage in a last event of its own, with empty choices; llama.cpp with the finish
        self._body |= {key: event[key] for key in ("usage", "timings") if event.get(key)}
        self._has_choices |= bool(event.get("choices"))
        self._finish = at(event, "choices", 0, "finish_reason") or self._finish
        text, reasoning = text_and_reasoning(at(event, "choices", 0, "delta"))
        self._text.append(text or "")
        self._reasoning.append(reasoning or "")
        self._logprobs += at(event, "choices", 0, "logprobs", "content") or []
        if self.first_token is None and (text or reasoning):
            self.first_token = self.elapsed()

    @property
    def broke_off(self) -> bool:
        """Servers that end a stream properly say why they stopped; [DONE] alone also follows a crash."""
        return self._has_choices and self._finish is None

    def body(self) -> Json:
        """As if it had come whole."""
        message = {"content": "".join(self._text), "reasoning_content": "".join(self._reasoning)}
        choice = {"message": message, "finish_reason": self._finish, "logprobs": {"content": self._logprobs}}
        return self._body | {"choices": [choice] if self._has_choices else []}
