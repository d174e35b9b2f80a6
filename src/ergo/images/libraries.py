"""The one boundary to the libraries that read strangers' files: decoders, codecs, slide readers and storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ergo.core.errors import ErgoError


class LibraryFailed(Exception):
    """What a library raised, in one line; the error itself is its `__cause__`. Never leaves this package."""

    def __init__(self, error: Exception) -> None:
        super().__init__(" ".join(str(error).split())[:300] or type(error).__name__)


@contextmanager
def library_errors() -> Iterator[None]:
    """Whatever a library raises within becomes a LibraryFailed; our own errors pass.

    The only place in this package that catches Exception, for there is nothing narrower: Pillow's plugins raise
    OSError, ValueError, SyntaxError, IndexError, KeyError, struct.error and more, each codec of imagecodecs a class of
    its own, each file system of fsspec those of its client, OpenSlide and libheif theirs. They have no common base,
    most cannot be imported where their extra is not installed, and a broken file that ends a batch of millions is worse
    than a fault of ours that is reported as a broken file, with its cause. So nothing of ours is called within but what
    the library calls back.
    """
    try:
        yield
    except ErgoError:
        raise
    except Exception as error:
        raise LibraryFailed(error) from error
