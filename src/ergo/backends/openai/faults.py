"""What can go wrong with an endpoint: each failure's name, whether a retry may help, and what to do about it."""

from __future__ import annotations

import email.utils
import math
import re
import time

from ergo.core.errors import BackendError

RETRYABLE = frozenset(
    {"refused", "unreachable", "cut_stream", "overloaded"}
    | {f"http_{status}" for status in (408, 429, 500, 502, 503, 504, 529)}
)
"""The failures that are retried; a completion has no effect on the server, so twice does no harm."""


class Fault(Exception):
    """A failure on its way up.

    wait: seconds the server asked us to stay away, if it did. words: the server's own, unabridged and not for show.
    parameter: which one it is about, where the server says so.
    """

    def __init__(
        self, message: str, kind: str, wait: float | None = None, words: str = "", parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait = wait
        self.words = words
        self.parameter = parameter

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
    407: "A proxy in between wants a password: HTTP_PROXY=http://NAME:PASSWORD@HOST:PORT; NO_PROXY goes round it.",
    408: "Is it overloaded? Lower --concurrency.",
    413: "The pictures are too large for it: smaller budgets here, or a higher limit there.",
    429: "Rate limited (429): lower --concurrency.",
    500: "Look at the server's log.",
    529: "It is overloaded: lower --concurrency, or try again later.",
}

MEANINGS = (
    (
        re.compile(r"context[ _](length|size|window)|max_model_len|maximum model length|too many tokens", re.IGNORECASE),
        "context_length",
        "Smaller budgets or fewer new tokens here, or a longer context there.",
    ),
    (
        re.compile(r"at most \d+ image", re.IGNORECASE),
        "too_many_pictures",
        "Two looks need two pictures; for vLLM: --limit-mm-per-prompt '{\"image\": 2}'.",
    ),
    # with status 429, which would be retried for nothing
    (re.compile(r"insufficient_quota|exceeded your current quota|billing", re.IGNORECASE), "quota", "The account is empty."),
)  # fmt: skip
"""Refusals with a meaning of their own, whatever their status: words, name, what to do."""

OVERLOADED = re.compile(r"overloaded|over capacity|server is busy|no available (workers|slots)", re.IGNORECASE)
"""Said with many a status, HTTP 200 and 400 among them."""

STATUS_OF_TYPE = {
    "rate_limit_error": 429, "rate_limit_exceeded": 429, "overloaded_error": 529, "api_error": 500,
    "server_error": 500, "internal_server_error": 500, "timeout_error": 408, "request_timeout": 408,
}  # fmt: skip
"""What providers write as `type` or `code` where the status line says 200."""


def status_in(error: object) -> int | None:
    """The HTTP status that an `error` object stands for, where it has one: its code, its status or its type."""
    if not isinstance(error, dict):
        return None
    for name in ("code", "status", "type"):
        value = error.get(name)
        if isinstance(value, str):
            value = int(value) if value.isdecimal() else STATUS_OF_TYPE.get(value.lower())
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None


def of_status(
    url: str, status: int, shown: str, wait: float | None = None, words: str = "", parameter: str | None = None
) -> Fault:
    """The failure that a status stands for. shown: the server's own words, in one line; words: all of them."""
    for pattern, kind, advice in MEANINGS:
        if 400 <= status < 500 and pattern.search(words or shown):
            return Fault(f"{url} refused ({shown}). {advice}", kind)
    advice = ADVICE.get(status, ADVICE[500] if status >= 500 else ADVICE[400]).format(url=url)
    kind = "overloaded" if status in (200, 400) and OVERLOADED.search(words or shown) else f"http_{status}"
    return Fault(
        f"{url} answered HTTP {status}{f' ({shown})' if shown else ''}. {advice}", kind, wait, words, parameter
    )


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
