"""Pictures wait as files, are decoded within one bound, and show the same pixels as ever."""

from __future__ import annotations

import io
import threading
import time

import pytest
from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.decode import load_image
from ergo.serve.pictures import DecodeMemory, EncodedPicture

COST = 400 * 300 * 4


def jpeg(seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((400, 300), 40 + seed).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def soon() -> float:
    return time.monotonic() + 20


def test_it_shows_what_the_picture_shows() -> None:
    encoded = jpeg()
    box, size = Box(40, 30, 240, 230), Size(84, 84)
    part = EncodedPicture(encoded, DecodeMemory(COST), soon()).part(box, size)
    assert part.tobytes() == load_image(encoded).part(box, size).tobytes()


def test_many_pictures_at_once_stay_within_the_bound_and_give_it_back() -> None:
    memory = DecodeMemory(2 * COST + COST // 2)  # room for two
    pictures = [EncodedPicture(jpeg(number), memory, soon()) for number in range(8)]
    least: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            least.append(memory.free)

    def look(picture: EncodedPicture) -> None:
        try:
            for _ in range(5):
                picture.part(Box(0, 0, 400, 300), Size(28, 28))
        except PictureError as error:
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    threads = [threading.Thread(target=look, args=(picture,)) for picture in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    watcher.join()
    assert not failures
    assert min(least) == COST // 2  # two at a time, never three
    for picture in pictures:
        picture.close()
    assert memory.free == memory.limit


def test_a_picture_stays_for_its_next_look_until_somebody_needs_the_room() -> None:
    memory = DecodeMemory(COST)
    first, second = (EncodedPicture(jpeg(number), memory, soon()) for number in range(2))
    with memory.decoded(first) as once:
        pass
    with memory.decoded(first) as twice:
        assert twice is once
    with memory.decoded(second):
        pass
    with memory.decoded(first) as again:
        assert again is not once


def test_who_finds_no_room_in_time_is_told_so() -> None:
    memory = DecodeMemory(COST)
    holder, late = EncodedPicture(jpeg(), memory, soon()), EncodedPicture(jpeg(1), memory, time.monotonic() + 0.2)
    with memory.decoded(holder), pytest.raises(PictureError, match="at once") as raised:
        late.part(Box(0, 0, 9, 9), Size(28, 28))
    assert raised.value.kind == "busy"
    late.part(Box(0, 0, 9, 9), Size(28, 28))  # there is room now


def test_a_broken_picture_gives_its_room_back() -> None:
    memory = DecodeMemory(COST)
    broken = EncodedPicture(jpeg()[:2000], memory, soon())
    for _ in range(3):
        with pytest.raises(PictureError):
            broken.part(Box(0, 0, 9, 9), Size(28, 28))
        assert memory.free == memory.limit


def test_a_picture_closed_while_it_is_cut_gives_its_room_back() -> None:
    memory = DecodeMemory(COST)
    picture = EncodedPicture(jpeg(), memory, soon())
    with memory.decoded(picture):
        picture.close()
        assert memory.free == 0
    assert memory.free == memory.limit


def test_what_costs_more_than_there_is_is_refused_by_its_header() -> None:
    with pytest.raises(PictureError, match="MB to decode"):
        EncodedPicture(jpeg(), DecodeMemory(COST - 1), soon())
