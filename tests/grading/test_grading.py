"""specification.tsv is the specification: what is right, under both matches, and why.

Its columns: the group; the options shown ("" for a free answer); the truth (`||` between texts any of
which is right); the reply, with \\n for a line break and \\\\ for a backslash; the two verdicts.
"""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ergo.core.errors import DataError
from ergo.families.replies import read_answer
from ergo.grading import MATCHINGS, Matching, Truth, Verdict, choice_of, grade, is_right
from ergo.grading.maths import is_formula
from ergo.samples.sample import Sample

CHOICES = ("red", "blue", "dark green", "green")


def unescaped(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def specification() -> list[dict[str, str]]:
    with (Path(__file__).parent / "specification.tsv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


ROWS = specification()


def truth_of(row: dict[str, str]) -> Truth:
    answers = tuple(unescaped(answer.strip()) for answer in row["truth"].split("||"))
    return Truth(answers, tuple(row["options"].split("|")) if row["options"] else ())


def verdict_on(matching: Matching, row: dict[str, str]) -> Verdict:
    reply = unescaped(row["reply"])
    return grade(matching, reply, read_answer(reply)[0], truth_of(row))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['truth']}: {row['reply']}"[:60])
@pytest.mark.parametrize("matching", ["strict", "ours"])
def test_every_row_of_the_specification_holds(matching: Matching, row: dict[str, str]) -> None:
    if is_formula(unescaped(row["truth"])):
        pytest.importorskip("math_verify", reason="formulas need the extra `eval`")
    verdict = verdict_on(matching, row)
    assert f"{'right' if verdict.right else 'wrong'} {verdict.reason}" == row[matching]


def test_the_specification_is_as_wide_as_it_claims() -> None:
    assert len(ROWS) >= 500
    assert len({row["group"] for row in ROWS}) >= 30
    assert len({(row["options"], row["truth"], row["reply"]) for row in ROWS}) == len(ROWS)


def test_what_is_right_strictly_is_right_plainly() -> None:
    """Training never rewards what a benchmark would call wrong."""
    for row in ROWS:
        assert not row["strict"].startswith("right") or row["ours"].startswith("right"), row


@pytest.mark.parametrize(
    ("text", "choices", "place"),
    [
        ("dark green", CHOICES, 2),
        ("The car is dark green there", CHOICES, 2),  # and does not speak of `green`
        ("green", CHOICES, 3),
        ("A dog", ("cat", "dog"), 1),  # an article, not a letter
        ("Answer: A dog", ("cat", "dog"), 1),
        ("A dog", ("dog", "cat"), 0),
        ("a", ("cat", "dog"), 0),
        ("1,000", ("100", "1000"), 1),
        ("The umbrella is on the left side", ("right", "left"), 1),
        ("C-shaped", ("round", "flat", "square", "C-shaped"), 3),
        ("T-shirt", ("coat", "T-shirt"), 1),
        ("The option is hard to tell", ("coat", "shirt"), None),
        ("E. The image does not show the object.", ("1", "2", "3", "4", "The image does not show the object."), 4),
        ("No. It is blue.", ("red", "blue"), 1),
        ("Not sure, but blue", ("red", "blue"), 1),
        ("It matches option B.", ("x1", "x2"), 1),
    ],
)
def test_an_option_is_chosen_by_letter_or_by_text(text: str, choices: tuple[str, ...], place: int | None) -> None:
    assert choice_of(text, choices).place == place


def test_a_truth_that_is_no_option_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="'pink' is none of the options red, blue"):
        Truth(("pink",), ("red", "blue"))


def test_rewards_and_training_data_are_strict() -> None:
    sample = Sample("1", b"", "What colour?", "blue", ("red", "blue"))
    assert is_right(sample, "(B)")
    assert not is_right(sample, "B, I would say, or A")
    free = Sample("1", b"", "What colour?", "red", also_right=("crimson",))
    assert is_right(free, "Crimson.")
    assert not is_right(free, "red, orange, yellow, green, blue")


# ── published ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("<answer>B</answer>", True),
        ("<answer>(b)</answer>", True),
        ("<answer>B:blue</answer>", False),  # HR-Bench's own options are shown as `A:text`
        ("<think>The car is blue.</think> The answer is B.", False),  # without a tag, all letters of the reply
        ("B.", True),
        ("The format is <answer>A</answer>, so: <answer>B</answer>", False),  # the first one
        ("<answer></answer>", False),
        ("<answer>В</answer>", False),
        ("<answer>B", True),
        ("", False),
    ],
)
def test_the_published_match_keeps_its_faults(reply: str, right: bool) -> None:
    assert grade("published", reply, reply, Truth(("blue",), CHOICES)).right is right


def test_published_compares_letters_where_two_options_have_one_text() -> None:
    truth = Truth(("red",), ("red", "blue", "red"), place=2)
    assert [grade("published", letter, letter, truth).right for letter in "ABC"] == [False, False, True]
    assert [grade("strict", letter, letter, truth).right for letter in "ABC"] == [
        True,
        False,
        True,
    ]  # they say the same


# ── any reply at all ───────────────────────────────────────────────────────────────────────────

PIECES = st.sampled_from(
    [*"ABCDEabcde()[]{}<>*$.,:;!?-–—'\"\n \t/|&%°€0123456789", "\\boxed{", "\\frac{1}{2}", "<think>", "</think>", "<answer>",
     "</answer>", "answer", " is ", " not ", " or ", " and ", "blue", "red", "green", "wait", "答案", "是", "不是", "或", "です",
     "정답", "ответ", "В", "الإجابة", "उत्तर", "คำตอบ", "đáp án", "½", "²", "Ⓑ", "🅱", "\u200f", "\ud7ff", "5 pm", "May 5", "$3.50",
     "twenty-", "hundred", "1,200", "yes", "no", "maybe", "B5", "007"]
)  # fmt: skip
TRUTHS = (
    *(Truth((one,), CHOICES) for one in CHOICES),
    *(
        Truth((one,))
        for one in ("blue", "3", "$3.50", "5 pm", "May 5", "B5", "yes", "A", "1/2", "12 cats", "蓝色", "C++", "...", "")
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=80), st.sampled_from(TRUTHS))
def test_no_reply_ends_in_an_exception_and_strict_implies_ours(reply: str, truth: Truth) -> None:
    verdicts = {matching: grade(matching, reply, read_answer(reply)[0], truth) for matching in MATCHINGS}
    assert all(verdict.reason for verdict in verdicts.values())
    assert not verdicts["strict"].right or verdicts["ours"].right, (reply, truth, verdicts)


@given(st.lists(st.sampled_from(["red", "blue", "green", "black", "white"]), min_size=2, max_size=8, unique=True))
@settings(deadline=None)
def test_a_list_is_right_for_none_of_its_items(colours: list[str]) -> None:
    for said in (
        ", ".join(colours),
        " or ".join(colours),
        "\n".join(colours),
        "/".join(colours),
        " and ".join(colours),
    ):
        for colour in colours:
            assert not any(grade(matching, said, said, Truth((colour,))).right for matching in MATCHINGS), (
                said,
                colour,
            )


@pytest.mark.parametrize(
    "unit", ["x", " ", "A ", "B\n", "(B)", "$", "1 ", "twenty-", "答案是", "the answer is B. ", "\\frac{", "'", "<b>"]
)
def test_a_reply_of_two_hundred_thousand_signs_is_graded_in_seconds(unit: str) -> None:
    """Nothing is worse than linear, and what is read of a reply is bounded."""
    rng = random.Random(0)
    text = "".join(unit if rng.random() < 0.999 else "?" for _ in range(200_000 // len(unit)))
    started = time.process_time()
    for truth in (Truth(("blue",), CHOICES), Truth(("3",)), Truth(("blue",))):
        for matching in MATCHINGS:
            grade(matching, text, text, truth)
    assert time.process_time() - started < 20
