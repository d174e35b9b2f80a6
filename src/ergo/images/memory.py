"""Memory that glibc would keep after pictures were freed."""

from __future__ import annotations

import ctypes
import sys


def give_freed_memory_back() -> None:
    """Have the C library return large freed blocks to the system at once, for the life of this process.

    Pillow keeps a picture in blocks of 16 MB. Once one was freed, glibc takes such blocks from its heaps, one for
    each thread, and keeps what is freed: with 16 pictures of 48 megapixels in turn, 5.2 GB instead of 2.8. Smaller blocks
    stay with the C library: a small model's activations, asked for anew from the system at each layer, cost a
    third of its time. The command line calls this; a library should not. Does nothing where there is no glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 8 << 20)
        mallopt(_M_TRIM_THRESHOLD, 64 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
