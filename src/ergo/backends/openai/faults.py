"""What can go wrong with an endpoint: each failure's name, whether a retry may help, and what to do about it."""

from __future__ import annotations

import email.utils
import math
import re
import time

from ergo.core.errors import BackendError

RETRYABLE = frozenset(
    {"refused", "unreachable", "cut_stream", "http_429", "http_500", "http_502", "http_503", "http_504"}
)
"""The failures that are retried; a completion has no effect on the server, so twice does no harm."""


class Fault(Exception):
    """A failure on its way up. wait: seconds the server asked us to stay away, if it did."""

    def __init__(self, message: str, kind: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait = wait

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    def value(self) -> BackendError:
        """As a fresh value: what was raised holds its frames, and with them megabytes of picture."""
        return BackendError(str(self), self.kind, self.retryable)


ADVICE = {
    400: "It does not understand the request; its log may say more.",
    401: "Is the API key right?",
    403: "Is the API key right?",
    404: "Are the URL and the model's name right? {url}/models lists the names.",
    413: "The pictures are too large for it: smaller budgets here, or a higher limit there.",
    429: "Rate limited (429): lower --concurrency.",
    500: "Look at the server's log.",
}

TELLING = (
    (
        re.compile(r"context[ _](length|size|window)|max_model_len|maximum model length", re.IGNORECASE),
        "context_length",
        "Smaller budgets or fewer new tokens here, or a longer context there.",
    ),
    (
        re.compile(r"at most \d+ image", re.IGNORECASE),
        "too_many_pictures",
        "Two looks need two pictures; for vLLM: --limit-mm-per-prompt '{\"image\": 2}'.",
    ),
)
"""Refusals with a meaning of their own, whatever their status: words, name, what to do."""


def of_status(url: str, status: int, reason: str, wait: float | None = None) -> Fault:
    """The failure that an HTTP status stands for. reason: the server's own words, in one line."""
    for pattern, kind, advice in TELLING:
        if 400 <= status < 500 and pattern.search(reason):
            return Fault(f"{url} refused ({reason}). {advice}", kind)
    advice = ADVICE.get(status, ADVICE[500] if status >= 500 else ADVICE[400]).format(url=url)
    return Fault(f"{url} answered HTTP {status}{f' ({reason})' if reason else ''}. {advice}", f"http_{status}", wait)


def retry_after(header: str) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date; None where it is neither."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
