"""Pictures wait as files, are decoded within one bound, and show the same pixels as ever."""

from __future__ import annotations

import gc
import io
import threading
import time
import weakref

import pytest
from PIL import Image

from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.images.decode import load_image
from ergo.images.ranges import BytesInMemory
from ergo.images.tiff import open_tiff
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
    with memory.decoded(first) as picture:
        kept = weakref.ref(picture)
    with memory.decoded(first) as picture:
        assert picture is kept()
    del picture
    with memory.decoded(second):
        assert kept() is None


def test_room_is_free_when_the_pixels_are_gone_and_not_before() -> None:
    memory = DecodeMemory(COST)
    first, late = EncodedPicture(jpeg(), memory, soon()), EncodedPicture(jpeg(1), memory, time.monotonic() + 0.3)
    with memory.decoded(first) as held:
        pass
    with pytest.raises(PictureError, match="at once"):  # its pixels are idle and somebody still has them
        late.part(Box(0, 0, 9, 9), Size(28, 28))
    assert memory.free == 0
    del held
    assert memory.free == memory.limit


def test_who_has_to_be_answered_first_is_served_first() -> None:
    memory = DecodeMemory(COST)
    served: list[int] = []
    holder, *waiting = (EncodedPicture(jpeg(number), memory, soon() + 10 - number) for number in range(4))

    def look(number: int) -> None:
        with memory.decoded(waiting[number]):
            served.append(number)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(3)]
    with memory.decoded(holder):
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join()
    assert served == [2, 1, 0]


def test_a_small_picture_does_not_wait_behind_a_large_one() -> None:
    memory = DecodeMemory(COST + COST // 2)
    first, second = (EncodedPicture(jpeg(number), memory, soon() - number) for number in range(2))
    out = io.BytesIO()
    Image.new("RGB", (200, 150)).save(out, "JPEG")
    small = EncodedPicture(out.getvalue(), memory, soon() + 30)
    thread = threading.Thread(target=second.part, args=(Box(0, 0, 9, 9), Size(28, 28)))
    with memory.decoded(first):
        thread.start()
        time.sleep(0.2)
        assert small.part(Box(0, 0, 9, 9), Size(28, 28)).size == (28, 28)
    thread.join()


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


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "I;16"])
def test_a_picture_decoded_apart_shows_the_same_pixels(mode: str) -> None:
    noise = Image.effect_noise((300, 200), 60)
    stored = Image.frombytes("I;16", (150, 200), noise.tobytes()) if mode == "I;16" else noise.convert(mode)
    stored.save(out := io.BytesIO(), "JPEG2000")
    encoded, box, size = out.getvalue(), Box(10, 10, 140, 150), Size(56, 56)
    picture = EncodedPicture(encoded, DecodeMemory(10_000_000), soon())
    assert picture.part(box, size).tobytes() == load_image(encoded).part(box, size).tobytes()


def test_what_is_decoded_apart_and_broken_is_a_line_and_ends_in_time() -> None:
    Image.effect_noise((300, 200), 60).save(out := io.BytesIO(), "JPEG2000")
    memory = DecodeMemory(10_000_000)
    for encoded, ends in ((out.getvalue()[:3000], soon()), (out.getvalue(), time.monotonic())):
        with pytest.raises(PictureError) as raised:
            EncodedPicture(encoded, memory, ends).decode()
        assert "\n" not in str(raised.value)


def test_the_event_loop_goes_on_while_jpeg_2000_is_decoded() -> None:
    Image.effect_noise((600, 400), 60).convert("RGB").resize((3000, 2000)).save(out := io.BytesIO(), "JPEG2000")
    picture = EncodedPicture(out.getvalue(), DecodeMemory(200_000_000), soon())
    thread = threading.Thread(target=picture.part, args=(Box(0, 0, 300, 300), Size(28, 28)))
    thread.start()
    turns = 0
    while thread.is_alive():
        time.sleep(0.005)
        turns += 1
    assert turns > 10


def test_the_bytes_of_a_tiff_are_gone_with_it() -> None:
    """Its reader's objects form a cycle: 60 MB would stay until Python looks for such."""
    pytest.importorskip("tifffile")
    Image.effect_noise((300, 200), 60).save(out := io.BytesIO(), "TIFF")
    ranges = BytesInMemory(out.getvalue(), "picture")
    kept = weakref.ref(ranges)
    gc.disable()
    try:
        open_tiff(ranges)
        del ranges
        assert kept() is None
    finally:
        gc.enable()


def test_a_file_of_more_pixels_than_are_decoded_is_refused_before_a_look() -> None:
    """A few kB that unpack to 625 megapixels, strip by strip: little memory, and the whole of a deadline."""
    out = io.BytesIO()
    Image.new("1", (25_000, 25_000)).save(out, "TIFF", compression="group4")
    with pytest.raises(PictureError, match="25000x25000 pixels, is larger than 400,000,000 pixels"):
        EncodedPicture(out.getvalue(), DecodeMemory(10**9), soon())
