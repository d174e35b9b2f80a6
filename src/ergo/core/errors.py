"""Everything that can go wrong, as a tree. Raise the leaf; catch the base class you need.

    ErgoError ── UsageError, PictureError, DataError, MissingExtra, TrainingStopped, BackendError

A failed question is data: backends *return* BackendError, they do not raise it, and `runner` writes it into
the Trace. Only mistakes that make every question fail are raised.
"""


class ErgoError(Exception):
    """Base of them all; `str(error)` is one line that says what to do, printed without a traceback."""


class UsageError(ErgoError):
    """The caller asked for what cannot be, whatever the picture: a flag, a recipe, a folder."""


class PictureError(ErgoError):
    """A picture that cannot be opened or shown (broken, too large, unknown). kind: a short stable name for counting."""

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


class DataError(ErgoError):
    """A data set or run folder is not in the layout its reader expects."""


class MissingExtra(ErgoError):
    """An optional part of the package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install '.[{extra}]' (a checkout) or 'ergo-vlm[{extra}]'")
        self.extra = extra


class TrainingStopped(ErgoError):
    """A training run stopped itself: what was seen, and what to change."""


class BackendError(ErgoError):
    """A model did not answer. kind: for counting. retryable: asking again may help; backends that retry did so."""

    def __init__(self, message: str, kind: str = "backend", retryable: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
