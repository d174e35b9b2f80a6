"""Pictures opened before the model wants them: by threads beside it, or on Ray by decoders with cores of their own.

A decoder keeps a picture decoded while its row is in progress and sends views of it, a megabyte each; the pixels of
a 48-megapixel picture would be 144. What it keeps is a cache: one that died and came back reads the file again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from ergo.core.errors import BackendError, PictureError
from ergo.core.geometry import Box, Size, TokenBudget
from ergo.core.messages import Completion, Request
from ergo.core.runner import Backend
from ergo.core.view import SourcePicture, View
from ergo.images.address import open_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ergo.backends import Model
    from ergo.batch.rows import BatchRow
    from ergo.core.flows import LookConfig

Item = TypeVar("Item")


class Opener(Protocol):
    """Begins to open a row's picture; what it returns waits for it. A broken one is a PictureError then."""

    def __call__(self, row: BatchRow) -> Callable[[], SourcePicture]: ...


def ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """The items, each drawn while there are `count` before it.

    >>> list(ahead(map(lambda n: print("drawn", n) or n, range(3)), 1))
    drawn 0
    drawn 1
    drawn 2
    [0, 1, 2]
    """
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    yield from waiting


# ── here ───────────────────────────────────────────────────────────────────────────────────────


class OpenedHere:
    """Opens in the thread that asks, or in `pool` where a model in this process would wait for it."""

    def __init__(self, model: Model, pool: ThreadPoolExecutor | None) -> None:
        self._model, self._pool = model, pool

    def __call__(self, row: BatchRow) -> Callable[[], SourcePicture]:
        return self._pool.submit(self._open, row).result if self._pool else partial(self._open, row)

    def _open(self, row: BatchRow) -> SourcePicture:
        return self._model.shown(open_picture(row.address))


class ViewsAhead:
    """A model in this process that is given requests whose pixels are made, by all threads of `pool` at once."""

    parallel = False

    def __init__(self, backend: Backend, pool: ThreadPoolExecutor) -> None:
        self._backend, self._pool = backend, pool

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        for _ in self._pool.map(_pixels, [view for request in requests for view in request.views]):
            pass
        return self._backend.complete(requests)


def _pixels(view: View) -> None:
    view.pixels  # noqa: B018  kept by the view


# ── on Ray ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Opened:
    """What a decoder says of a picture. first: RGB of the first look, which all flows begin with."""

    name: str
    size: Size
    lazy: bool
    first: NDArray[np.uint8]


class Decoder:
    """Opens pictures and cuts views of them.

    first, fast: how the first look is made. capacity: how many pictures it keeps; an older one is opened again.
    """

    def __init__(self, first: TokenBudget, fast: bool, as_stored: bool, capacity: int) -> None:
        self._first, self._fast, self._as_stored, self._capacity = first, fast, as_stored, capacity
        self._pictures: OrderedDict[str, SourcePicture] = OrderedDict()

    def open(self, address: str) -> Opened | PictureError:
        """The picture's first look."""
        try:
            picture = self._picture(address)
            view = View.of(picture, self._first, fast=self._fast)
            return Opened(picture.name, picture.size, picture.lazy, np.asarray(view.pixels))
        except PictureError as error:
            return error

    def part(self, address: str, box: Box, size: Size, fast: bool) -> NDArray[np.uint8] | PictureError:
        """As `SourcePicture.part`."""
        try:
            return np.asarray(self._picture(address).part(box, size, fast))
        except PictureError as error:
            return error

    def read_size(self, address: str, box: Box, size: Size) -> Size:
        """As `SourcePicture.read_size`."""
        return self._picture(address).read_size(box, size)

    def _picture(self, address: str) -> SourcePicture:
        if address not in self._pictures:
            while len(self._pictures) >= self._capacity:
                self._pictures.popitem(last=False)
            opened = open_picture(address)
            self._pictures[address] = opened.as_stored() if self._as_stored else opened
        self._pictures.move_to_end(address)
        return self._pictures[address]


@dataclass(frozen=True, eq=False)
class DistantPicture:
    """A picture that a decoder holds. decoder: its handle on Ray."""

    decoder: Any = field(repr=False)
    address: str = field(repr=False)
    opened: Opened = field(repr=False)
    fast: bool

    @property
    def name(self) -> str:
        return self.opened.name

    @property
    def size(self) -> Size:
        return self.opened.size

    @property
    def lazy(self) -> bool:
        return self.opened.lazy

    def part(self, box: Box, size: Size, fast: bool = False) -> Image.Image:
        height, width, _ = self.opened.first.shape
        if (box, size, fast) == (Box.whole(self.size), Size(width, height), self.fast):
            return Image.fromarray(self.opened.first)
        return Image.fromarray(_received(self.decoder.part.remote(self.address, box, size, fast)))

    def read_size(self, box: Box, size: Size) -> Size:
        if not self.lazy:
            return self.size
        found: Size = _received(self.decoder.read_size.remote(self.address, box, size))
        return found


class OpenedByDecoders:
    """Opens pictures in `count` decoders of one core each, in turn; they end with the process that made them."""

    def __init__(self, count: int, model: Model, config: LookConfig, capacity: int) -> None:
        import ray

        remote = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")(Decoder)
        first = (config.coarse, config.fast, model.colours == "stored")
        self._decoders = cycle([remote.remote(*first, -(-capacity // count)) for _ in range(count)])
        self._fast = config.fast

    def __call__(self, row: BatchRow) -> Callable[[], SourcePicture]:
        decoder = next(self._decoders)
        reference = decoder.open.remote(row.address)
        return lambda: DistantPicture(decoder, row.address, _received(reference), self._fast)


def _received(reference: Any) -> Any:
    import ray

    result = ray.get(reference)
    if isinstance(result, PictureError):
        raise result
    return result
