"""The body of a request: read within bounds, and parsed without ever keeping the event loop waiting.

A picture is most of a body, and `json.loads` of 60 MB holds Python's lock for a quarter of a second while it copies
the text twice. So long data: URIs are found by their quotes and cut out, as pieces of the body; JSON is the small rest.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import chain
from typing import Any

from fastapi import Request

from ergo.core.errors import UsageError
from ergo.serve.replies import Refused
from ergo.serve.settings import Limits

MIN_RATE = 16_000  # bytes a second of a body, after its first five seconds
CUT_FROM = 32_768  # bytes of a data: URI; a text of as many is refused
DEPTH = 100  # of lists and objects inside each other; a schema of ten objects inside each other has 25
REST = 4_000_000  # bytes of a body beside its pictures: many times the text that is taken
MARK = b'"data:image/'


class Bodies:
    """Room for the bodies of all requests together."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = limits.bodies

    async def read(self, request: Request, held: ExitStack) -> bytearray:
        """The body, read no further than its limit and the room there is for all of them; given back with `held`.

        A page elsewhere cannot send this content type unasked.
        """
        limits, headers = self._limits, request.headers
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "send application/json")
        if headers.get("content-encoding", "identity").strip().lower() != "identity":
            raise Refused(415, "a compressed body is not read here: send it without content-encoding")
        too_much = Refused(413, f"the body has more than {limits.body:,} bytes")
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limits.body:
            raise too_much
        self._hold(int(declared) if declared.isdecimal() else 0, held)
        body, started = bytearray(), time.perf_counter()
        stream = request.stream().__aiter__()
        while True:
            try:
                async with asyncio.timeout(limits.idle_seconds):
                    chunk = await anext(stream)
            except StopAsyncIteration:
                return body
            except TimeoutError:
                raise Refused(408, "the body took too long to arrive", connection="close") from None
            body += chunk
            if len(body) > limits.body:
                raise too_much
            if not declared.isdecimal():
                self._hold(len(chunk), held)
            if len(body) < (time.perf_counter() - started - 5) * MIN_RATE:
                raise Refused(408, "the body took too long to arrive", connection="close")

    def _hold(self, size: int, held: ExitStack) -> None:
        if size > self._free:
            raise Refused(429, "the server holds as many bytes as it can; try again", "rate_limit_error",
                          **{"retry-after": "2"})  # fmt: skip
        self._free -= size
        held.callback(self._give_back, size)

    def _give_back(self, size: int) -> None:
        self._free += size


class Parsed:
    """A body's JSON; long pictures stand in it by a name, and are read from the body when they are wanted.

    names: those of the pictures that were cut out. Raises UsageError for what is no JSON, or too much of it.
    """

    def __init__(self, body: bytearray, limits: Limits) -> None:
        self._body = body
        self._places: dict[str, tuple[int, int]] = {}
        rest = self._without_pictures()
        if len(rest) > REST:
            raise UsageError(f"the body holds more than {REST:,} bytes beside its pictures")
        if sum(rest.count(sign) for sign in (b"{", b"[", b",")) > limits.values:  # before they are Python's objects
            raise UsageError(f"the body holds more than {limits.values:,} JSON values")
        try:
            self.value: Any = json.loads(rest, object_pairs_hook=_object, parse_constant=_no_number)
        except UsageError:
            raise
        except (ValueError, RecursionError) as error:
            raise UsageError("the body is not JSON") from error
        _check_depth(self.value)

    @property
    def names(self) -> Mapping[str, object]:
        return self._places

    def picture(self, url: str) -> str:
        """What stands at a picture's address in the body."""
        if url not in self._places:
            return url
        start, end = self._places[url]
        text = self._body[start:end].decode("utf-8", "replace")
        return text.replace("\\/", "/") if "\\" in text else text  # as PHP writes it; no other escape is base64's

    def _without_pictures(self) -> bytes:
        """The body with a name in place of each long string that begins as a picture does."""
        body, kept, done, at = self._body, [], 0, 0
        own = f"picture-{uuid.uuid4().hex}-"  # no client can write it by chance or by intent
        while (found := body.find(MARK, at)) >= 0:
            end = body.find(b'"', found + 1)
            at = end if end > 0 else len(body)
            inside_a_text = found > 0 and body[found - 1] == ord("\\")
            if end < 0 or inside_a_text or end - found < CUT_FROM or body[end - 1] == ord("\\"):
                at = found + len(MARK) if inside_a_text else at
                continue
            name = f"{own}{len(self._places)}"
            self._places[name] = (found + 1, end)
            kept.append(bytes(body[done : found + 1]) + name.encode())
            done = end
        kept.append(bytes(memoryview(body)[done : done + REST + 1]) if len(body) - done > REST else bytes(body[done:]))
        return b"".join(kept)


def _check_depth(value: Any) -> None:
    """UsageError for what is nested so deeply that whoever walks it later might not come back."""
    level = [value]
    for _ in range(DEPTH):
        inner = [list(one.values()) if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        if not inner:
            return
        level = list(chain.from_iterable(inner))
    raise UsageError(f"the body is nested more than {DEPTH} deep")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are different ones: of two `messages` one would be dropped in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise UsageError(f"{twice[:100]!r} stands twice in one JSON object")
    return found


def _no_number(name: str) -> Any:
    raise UsageError(f"{name} is no JSON number")
