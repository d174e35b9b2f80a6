"""What the verbs share of the screen: one printer of progress, and text that may come from anywhere."""

from __future__ import annotations

import pytest

from ergo.cli.screen import REPORT_EVERY, follow, note, say
from ergo.traces.progress import Progress

Captured = pytest.CaptureFixture[str]


def lines(capsys: Captured) -> list[str]:
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()


def test_progress_is_one_line_now_and_then_and_one_at_the_end_of_each_part(capsys: Captured) -> None:
    seconds = REPORT_EVERY / 2
    first = [Progress("a@64", done, 0, done * seconds, right=done) for done in range(1, 6)]
    second = [Progress("b@64", 1, 1, 0.5, right=0)]
    assert follow(iter(first + second)) == 1
    assert lines(capsys) == [
        "ergo: a@64: 2 done, 0.4/s, 100.0% right",
        "ergo: a@64: 4 done, 0.4/s, 100.0% right",
        "ergo: a@64: 5 done, 0.4/s, 100.0% right",
        "ergo: b@64: 1 done, 2.0/s, 0.0% right, 1 failed",
    ]


def test_failures_of_all_parts_are_counted(capsys: Captured) -> None:
    parts = [Progress(name, 3, failed, 1.0) for name, failed in (("a", 2), ("b", 0), ("c", 1))]
    assert follow(parts) == 3
    assert len(lines(capsys)) == 3


def test_what_is_left_and_what_it_cost_is_said_where_it_is_known(capsys: Captured) -> None:
    follow([Progress("", 1000, 2, 500.0, total=9000, vision_tokens=123_456, cost=1.5)])
    [line] = lines(capsys)
    assert line == (
        "ergo: 1,000 of 9,000 done, 2.0/s, 1:06:40 left, 2 failed, 123,456 vision tokens, 123 each, "
        "cost 1.50 of about 13.50"
    )


def test_nothing_to_do_is_said(capsys: Captured) -> None:
    assert follow([]) == 0
    assert lines(capsys) == ["ergo: nothing left to do"]


def test_text_that_a_terminal_would_obey_is_spelled_out(capsys: Captured) -> None:
    say("\x1b[31mred\x07\tand\nblue\x9b")
    assert capsys.readouterr().out == "\\x1b[31mred\\x07\tand\nblue\\x9b\n"
    note("two\nlines")
    assert capsys.readouterr().err == "ergo: two lines\n"
