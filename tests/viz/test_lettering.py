"""Any script is drawn with the fonts there are, from the side it is read from, or the way out is named."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from PIL import Image, ImageFont

from ergo.viz.lettering import can_shape, draw, is_rtl, length, report_missing, runs_of

INK, WHITE = (0, 0, 0), (255, 255, 255)


def drawn(text: str, width: int = 400) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    paper = Image.new("RGB", (width, 60), WHITE)
    draw(paper, (0, 0), text, 30, INK)
    return (np.asarray(paper) != 255).any(axis=2)


def needs(name: str) -> None:
    try:
        ImageFont.truetype(name, 30)
    except OSError:
        pytest.skip(f"the font {name} is not on this machine")


def test_latin_text_is_drawn_as_pillow_draws_it() -> None:
    paper, same = Image.new("RGB", (400, 60), WHITE), Image.new("RGB", (400, 60), WHITE)
    draw(paper, (0, 0), "What does it say?", 30, INK)
    from PIL import ImageDraw

    font = ImageFont.load_default(30)
    ImageDraw.Draw(same).text((0, 0), "What does it say?", fill=INK, font=font)
    assert paper.tobytes() == same.tobytes()
    assert length("What does it say?", 30) == font.getlength("What does it say?")
    assert [run for run, _ in runs_of("What does it say?", 30)] == ["What does it say?"]


@pytest.mark.parametrize(
    ("text", "rtl"),
    [
        ("קף", True),
        ("قف", True),
        ("(1) قف STOP", True),
        ("STOP קף", False),
        ("12:30", False),
        ("", False),
        ("停止", False),
    ],
)
def test_a_line_is_read_from_the_side_of_its_first_letter(text: str, rtl: bool) -> None:
    assert is_rtl(text) is rtl


@pytest.mark.parametrize(("one", "other"), [("Что", "Кто"), ("עצור", "עצוק"), ("قف", "قل"), ("é", "è")])
def test_letters_are_not_all_the_same_box(one: str, other: str) -> None:
    needs("DejaVuSans.ttf")
    assert drawn(one).any()
    assert (drawn(one) != drawn(other)).any()


@pytest.mark.skipif(not can_shape(), reason="this Pillow has no Raqm, or the system no FriBiDi")
def test_hebrew_begins_at_the_right_edge_and_numbers_in_it_are_read_from_the_left() -> None:
    needs("DejaVuSans.ttf")
    assert drawn("עצור")[:, 380:].any()
    assert not drawn("עצור")[:, :200].any()
    ink, alone = drawn("א 12"), drawn("12")
    columns = np.flatnonzero(ink.any(axis=0))
    number = np.flatnonzero(alone.any(axis=0))
    assert number.max() < 100, "read from the left by itself"
    left_part = ink[:, columns.min() : columns.min() + number.max() - number.min() + 1]
    other_font = [face for _, face in runs_of("א 12", 30)]
    assert len(other_font) == 1, "one font, so that the order within is the layout's"
    assert left_part.any()


@pytest.mark.skipif(not can_shape(), reason="this Pillow has no Raqm, or the system no FriBiDi")
def test_arabic_letters_join() -> None:
    needs("DejaVuSans.ttf")
    apart = length("ب", 30) * 3
    assert length("ببب", 30) < apart * 0.8


def test_text_of_two_fonts_keeps_its_letters_and_their_order() -> None:
    needs("DejaVuSans.ttf")
    text = "Answer: СТОП, then go"
    runs = list(runs_of(text, 30))
    assert "".join(run for run, _ in runs) == text
    assert [run for run, _ in runs] == ["Answer: ", "СТОП, ", "then go"]
    assert length(text, 30) == sum(face.length(run) for run, face in runs)


def test_letters_without_a_font_are_named_in_one_line_with_the_way_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert drawn("\ue123 x").any()  # private use: no script's
        report_missing("x\n\ue123 \ue124 \ue123")
        report_missing("x y")
    assert [record.getMessage() for record in caplog.records] == [
        "there is no font here to draw \ue123\ue124 with: save the look as .html, which a browser draws with its own"
    ]


def test_without_layout_a_right_to_left_script_is_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert "".join(run for run, _ in runs_of("עצ ok", 30, shaping=False)) == "עצ ok"
        report_missing("עצ ok", shaping=False)
    assert "save the look as .html" in caplog.text
