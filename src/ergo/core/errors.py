"""Everything that can go wrong, as a tree. Raise the leaf; catch the base class you need.

    ErgoError                 one line that says what to do; the command line prints it without a traceback
    ├── UsageError            the caller asked for something that cannot be: a flag, a recipe, a folder
    ├── PictureError          this picture cannot be shown to a model (broken, too large, unknown kind)
    ├── DataError             a data set or run folder is not in the layout its reader expects
    ├── TrainingStopped       a run stopped itself: what was seen, and what to change
    ├── MissingExtra          an optional part of the package is not installed
    └── BackendError          a model did not answer; `kind` names how, `retryable` says whether to ask again

A failed question is data: backends *return* BackendError, they do not raise it, and `runner` writes it
into the Trace. Only mistakes that make every question fail are raised.
"""

from __future__ import annotations


class ErgoError(Exception):
    """Base of all errors of this package; `str(error)` is one line for a person."""


class UsageError(ErgoError):
    """The request itself is wrong, whatever the picture."""


class PictureError(ErgoError):
    """A picture that cannot be opened or shown. kind: a short stable name for counting."""

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
    """A run that cannot get better."""


class BackendError(ErgoError):
    """A model did not answer. kind: for counting, as above. retryable: backends that retry have already done so."""

    def __init__(self, message: str, kind: str = "backend", retryable: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable
