"""A server from start to SIGTERM: it listens at once, opens its model meanwhile, and finishes what it began."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn

from ergo.backends import Model
from ergo.core.errors import ErgoError, UsageError
from ergo.serve.app import Server
from ergo.serve.connections import bounded
from ergo.serve.settings import Settings

log = logging.getLogger(__name__)

M_MMAP_THRESHOLD = -3  # of malloc.h
SWITCH = 0.0005
"""Seconds until a thread that computes lets another one run. The event loop waits so long after each read and write:
with sixty uploads and Python's own 0.005, a third of a second each time round."""


class Lifetime(uvicorn.Server):
    """uvicorn's server, stopped in two steps.

    The first SIGTERM or Ctrl-C refuses new questions with 503 and waits `shutdown_seconds` for those in progress;
    the second ends it at once.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self._server, self._settings = server, settings
        self.failure: ErgoError | None = None
        self._ends: float | None = None
        config = uvicorn.Config(
            server, http=bounded(settings.limits), ws="none", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        sys.setswitchinterval(SWITCH)
        _give_back_freed_memory()
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._server.engine.stopping:
            super().handle_exit(sig, frame)
            return
        if self._server.engine.in_progress:
            log.warning("stopping, after %d questions in progress", self._server.engine.in_progress)
        self._server.engine.stopping = True
        self._captured_signals.append(sig)  # so that the process ends as that signal would end it

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's heartbeat, ten times a second: whether to end."""
        engine = self._server.engine
        if engine.stopping and not self.should_exit:
            now = asyncio.get_running_loop().time()
            self._ends = self._ends or now + self._settings.limits.shutdown_seconds
            late = now > self._ends
            if late:
                log.warning("%d questions were not answered in time", engine.in_progress)
            self.should_exit = late or engine.in_progress == 0
        return await super().on_tick(counter)

    def give_up(self, error: ErgoError) -> None:
        """The model can never be opened."""
        self.failure = error
        self.should_exit = True


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets at every address of the host. port: 0 for any that is free. UsageError where it is taken, or not ours."""
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            try:
                sockets.append(socket.create_server(address[:2], family=family))
                sockets[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for all it accepts: else head and
                # body, two writes, are 40 ms apart; asyncio does it only for sockets that name their protocol
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:  # localhost, where there is no IPv6, has another address
                    raise
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    except (OSError, UnicodeError) as error:
        for one in sockets:
            one.close()
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"cannot listen at {host}:{port} ({reason}): --host and --port name another place") from error
    return sockets


def serve(open_model: Callable[[], Model], settings: Settings, sockets: list[socket.socket]) -> None:
    """Serve until stopped. Raises what makes the model impossible to open."""
    _raise_file_limit(2 * settings.limits.connections + 256)
    server = Server(open_model, settings)
    lifetime = Lifetime(server, settings)
    server.engine.on_failure = lifetime.give_up
    lifetime.run(sockets)
    if lifetime.failure:
        raise lifetime.failure


def _give_back_freed_memory() -> None:
    """Blocks of a megabyte and more go back to the system when they are freed.

    glibc would raise that bound to 32 MB by itself, and keep what bodies and decoders had: 300 MB after a few of them.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)


def _raise_file_limit(wanted: int) -> None:
    """As many open files as connections need, where the system has such a limit and allows it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
