"""Processes that heed Ctrl-C, whatever the tests were started by."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any


def started(command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
    """A process that SIGINT reaches: a shell has its background jobs ignore it, and their children inherit that."""
    if os.name == "nt":
        return subprocess.Popen(command, **settings)
    return subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL), **settings)
