"""Pictures as they wait: the file's bytes, decoded only while a part is cut, within one bound for the whole server."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Condition
from weakref import finalize

from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.decode import MAX_PIXELS, bytes_of_uri, load_image, load_ranges, read_header
from ergo.images.picture import Picture
from ergo.serve.apart import decoded_apart, decodes_apart
from ergo.serve.fetch import WebFile, fetched, opened
from ergo.serve.settings import Limits, Sources

AT_ONCE = 4  # pictures that are decoded or cut at one time, by as many threads


class DecodeMemory:
    """Decoded pictures, never more than `limit` bytes of them.

    One that nobody cuts from stays for its next look as long as nobody else needs the room. Who finds no room waits;
    of those for whom there is enough, the one that has to be answered first is served first. Room is free again when
    the pixels are gone, not when their last user says so: it may hold them for a moment longer.
    """

    def __init__(self, limit: int) -> None:
        self.limit = self._free = limit
        self._changed = Condition()  # reentrant: the pixels of one may go while its lock is held
        self._idle: OrderedDict[EncodedPicture, Picture] = OrderedDict()
        self._waiting: list[EncodedPicture] = []
        self._in_use = 0

    @property
    def free(self) -> int:
        """Bytes that nobody has; pictures that are only kept for their next look have theirs."""
        return self._free

    @contextmanager
    def decoded(self, source: EncodedPicture) -> Iterator[Picture]:
        """The picture, decoded; taken from what is idle, or decoded anew when there is room."""
        picture = self._reserved(source)
        try:
            if picture is None:
                with ExitStack() as room:
                    room.callback(self._give_back, source.memory)
                    picture = source.decode()
                    finalize(picture, room.pop_all().close)
            yield picture
        finally:
            with self._changed:
                self._in_use -= 1
                if picture and not source.closed:
                    self._idle[source] = picture
                self._changed.notify_all()

    def forget(self, source: EncodedPicture) -> None:
        """Nobody will ask for this one again."""
        with self._changed:
            self._idle.pop(source, None)
            self._changed.notify_all()

    def _give_back(self, memory: int) -> None:
        with self._changed:
            self._free += memory
            self._changed.notify_all()

    def _reserved(self, source: EncodedPicture) -> Picture | None:
        """The idle picture, or None with the room to decode it; once it is this one's turn."""
        with self._changed:
            self._waiting.append(source)
            try:
                while not self._may_go(source):
                    if source.closed or not self._changed.wait(max(source.ends - time.monotonic(), 0)):
                        raise PictureError("too many large pictures at once: try again", "busy")
            finally:
                self._waiting.remove(source)
                self._changed.notify_all()
            self._in_use += 1
            if source in self._idle:
                return self._idle.pop(source)
            self._free -= source.memory
            return None

    def _may_go(self, source: EncodedPicture) -> bool:
        """Whether it is this one's turn and there is room for it; what is idle makes some."""
        room = self._free + sum(idle.memory for idle in self._idle)
        could = (one for one in self._waiting if one in self._idle or one.memory <= room)
        if self._in_use >= AT_ONCE or min(could, key=lambda one: one.ends, default=None) is not source:
            return False
        while source not in self._idle and self._free < source.memory and self._idle:
            self._idle.popitem(last=False)
        return source in self._idle or self._free >= source.memory


class EncodedPicture:
    """A picture kept as its file (`core.view.SourcePicture`).

    ends: until when room for decoding is worth waiting for (time.monotonic). memory: bytes that decoding takes.
    """

    name = "picture"
    lazy = True  # its views are made inside the flow, so that a broken file is an error of this question

    def __init__(self, encoded: bytes, memory: DecodeMemory, ends: float) -> None:
        header = read_header(encoded)
        if header.size.area > MAX_PIXELS:  # also what would be read in strips: each look would decode all of it
            raise PictureError(f"the picture, {header.size} pixels, is larger than {MAX_PIXELS:,} pixels", "too_large")
        if header.memory > memory.limit:
            raise PictureError(
                f"the picture, {header.size} pixels, takes {header.memory / 1e6:,.0f} MB to decode; "
                f"at most {memory.limit / 1e6:,.0f} MB are given: send it smaller, or as a baseline JPEG or PNG",
                "too_large",
            )
        self.encoded, self.size, self.memory, self.ends = encoded, header.size, header.memory, ends
        self.closed = self._as_stored = False
        self._pool = memory

    def decode(self) -> Picture:
        """All its pixels, in `memory` bytes at most."""
        if not decodes_apart(self.encoded):
            return load_image(self.encoded, self.size.area)
        try:
            return load_image(decoded_apart(self.encoded, max(self.ends - time.monotonic(), 0)), self.size.area)
        except ValueError as error:
            raise PictureError(f"picture is broken: {error}", "broken") from error

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        with self._pool.decoded(self) as picture:
            if picture.size != self.size:
                raise PictureError("the picture says only after its pixels which side is up: turn it before", "broken")
            return (picture.as_stored() if self._as_stored else picture).part(box, size, fast)

    def as_stored(self) -> EncodedPicture:
        """Shown from now on with its numbers taken for sRGB."""
        self._as_stored = True
        return self

    def read_size(self, box: Box, size: Size) -> Size:
        return self.size

    def close(self) -> None:
        """Let go of file and pixels."""
        self.closed = True
        self._pool.forget(self)
        self.encoded = b""


def read_picture(url: str, sources: Sources, limits: Limits) -> bytes | WebFile:
    """The file at `url`; PictureError in one line for everything that is not one."""
    if url[:5].lower() == "data:":
        return bytes_of_uri(url)
    if url.startswith(("http://", "https://")):
        return opened(url, sources, limits.body)
    raise PictureError("image_url takes a data: URI", "scheme")


def open_picture(file: bytes | WebFile, memory: DecodeMemory, ends: float, limits: Limits) -> EncodedPicture | Picture:
    """A picture whose parts can be shown: of a TIFF at an address by ranges, of all else from its file in memory."""
    if isinstance(file, bytes):
        return EncodedPicture(file, memory, ends)
    picture = load_ranges(file)
    if picture is None:
        return EncodedPicture(fetched(file.url, file.sources, limits.body), memory, ends)
    largest = picture.read_size(Box.whole(picture.size), Size(1024, 1024))
    if largest.area > MAX_PIXELS:
        raise PictureError(
            f"the picture, {picture.size} pixels, has no smaller levels: give it some (a COG has), or send it smaller",
            "too_large",
        )
    return picture
