"""The same exchange for an event loop: a call that is cancelled closes its connection, and the server stops working."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

import httpx

from ergo.backends.openai.address import Address
from ergo.backends.openai.faults import Fault
from ergo.backends.openai.stream import StreamedReply
from ergo.backends.openai.transport import MAX_CONNECT, MAX_ERROR, MAX_REPLY, Clock, Reply, Transport
from ergo.backends.settings import EndpointSettings


class AsyncTransport(Transport):
    """The way to one endpoint from one event loop. What goes wrong has the same names as in `Transport`."""

    def __init__(self, address: Address, settings: EndpointSettings) -> None:
        super().__init__(address, settings)
        self._async_client = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=settings.concurrency), **self._options
        )

    async def arequest(self, method: str, path: str, body: bytes | None, clock: Clock) -> Reply:
        """One exchange, retried while that may help, all within `clock`. Raises Fault."""
        for attempt in count(1):
            try:
                async with asyncio.timeout(max(clock.left, 0.001)):
                    return await self._aexchange(method, path, body, clock)
            except TimeoutError:
                raise self._late() from None
            except Fault as fault:
                pause = self._pause_after(fault, attempt, clock)
            await asyncio.sleep(pause)
        raise AssertionError("count() does not end")

    async def _aexchange(self, method: str, path: str, body: bytes | None, clock: Clock) -> Reply:
        """One attempt; the time that is left is the caller's to watch."""
        attempt = Clock(clock.left)
        headers = {"Content-Type": "application/json"} if body is not None else None
        timeout = httpx.Timeout(None, connect=MAX_CONNECT)
        try:
            async with self._async_client.stream(
                method, self.url + path, content=body, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    raise self._refused(response, await _start_of(response))
                streamed = StreamedReply(self._parsed, lambda: attempt.elapsed)
                is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
                whole = bytearray()
                size = 0
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_REPLY:
                        raise Fault(f"{self.url} sent more than {MAX_REPLY >> 20} MiB for one reply.", "too_large")
                    whole += chunk
                    while is_stream and (end := whole.find(b"\n")) >= 0:
                        streamed.add(bytes(whole[:end]))
                        del whole[: end + 1]
                if not is_stream:
                    return Reply(self._parsed(bytes(whole)), attempt.elapsed)
                streamed.add(bytes(whole))
                if streamed.broke_off:
                    raise self._broken_off()
                return Reply(streamed.body(), attempt.elapsed, streamed.first_token)
        except httpx.HTTPError as error:
            raise self._breakdown(error) from None


async def _start_of(response: httpx.Response) -> bytes:
    """As much of an error page as is worth reading."""
    body = b""
    with suppress(httpx.HTTPError):  # the status is known, and says more than a broken explanation
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ERROR:
                break
    return body
