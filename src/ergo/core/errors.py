"""Everything that can go wrong, as a tree. Raise the leaf; catch at the height you mean.

    ErgoError                 one line that says what to do; cli.py prints it without a traceback
    ├── UsageError            the caller asked for something that cannot be: a flag, a recipe, a folder
    ├── PictureError          this picture cannot be shown to a model (broken, too large, unknown kind)
    ├── DataError             a data set or run folder is not in the layout its reader expects
    ├── TrainingStopped       a run stopped itself: the numbers say that going on is a waste
    ├── MissingExtra          an optional part of the package is not installed
    └── BackendError          a model did not answer; `kind` names how, `retryable` says whether to ask again

A failed question is data: backends *return* BackendError, they do not raise it, and `pipeline.run`
writes it into the Trace. Only mistakes that make every question fail are raised.
"""

from __future__ import annotations


class ErgoError(Exception):
    """Base of all errors of this package; `str(error)` is one line for a person."""


class UsageError(ErgoError):
    """The request itself is wrong, whatever the picture."""


class PictureError(ErgoError):
    """A picture that cannot be opened or shown. `kind` is a short stable name for counting."""

    def __init__(self, message: str, kind: str = "unreadable") -> None:
        super().__init__(message)
        self.kind = kind


class DataError(ErgoError):
    """A file or folder is not in the layout its reader expects."""


class MissingExtra(ErgoError):
    """A part of the package that was not installed is asked for."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an extra: pip install 'ergo-vlm[{extra}]'")
        self.extra = extra


class TrainingStopped(ErgoError):
    """A run that cannot get better: what was seen, and what to change."""


class BackendError(ErgoError):
    """A model did not answer. Returned as a value, one per request.

    kind: a short stable name for counting (timeout, refused, http_500, bad_reply, ...).
    retryable: whether asking again may help; backends that retry have already done so.
    """

    def __init__(self, message: str, kind: str = "backend", retryable: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
