"""What counts as right. Each row: what the model said, whether it is right as published, and as we read it.

The question is "What is the colour of the car?" with (A) red (B) blue (C) dark green (D) green, and
the truth is B unless the row says otherwise.
"""

from __future__ import annotations

import pytest

from ergo.families import QWEN2_5_VL
from ergo.grading import choice_of, grade, grade_ours, grade_published

CHOICES = ("red", "blue", "dark green", "green")

# answer text (the truth is B, blue)      published  ours   how ours read it
FORMS = [
    ("B",                                   True,  True,  "letter"),
    ("b",                                   True,  True,  "letter"),
    ("(B)",                                 True,  True,  "letter"),
    ("(b)",                                 True,  True,  "letter"),
    ("[B]",                                 True,  True,  "letter"),
    ("B.",                                  True,  True,  "letter"),
    ("B)",                                  True,  True,  "letter"),
    ("B:",                                  True,  True,  "letter"),
    (" B \n",                               True,  True,  "letter"),
    ("**B**",                               True,  True,  "letter"),
    ("`B`",                                 True,  True,  "letter"),
    ('"B"',                                 True,  True,  "letter"),
    ("$\\boxed{B}$",                        False, True,  "letter"),
    ("\\boxed{\\text{B}}",                  False, True,  "letter"),
    ("（Ｂ）",                               False, True,  "letter"),
    ("Option B",                            False, True,  "letter"),
    ("Answer: B",                           False, True,  "letter"),
    ("The answer is B",                     False, True,  "letter"),
    ("The correct option is (B).",          False, True,  "letter"),
    ("B: blue",                             False, True,  "letter_and_text"),
    ("B:blue",                              False, True,  "letter_and_text"),
    ("(B) blue",                            False, True,  "letter_and_text"),
    ("(B)blue",                             False, True,  "letter_and_text"),
    ("B. Blue.",                            False, True,  "letter_and_text"),
    ("B) blue",                             False, True,  "letter_and_text"),
    ("B - blue",                            False, True,  "letter_and_text"),
    ("B blue",                              False, True,  "letter_and_text"),
    ("B. The car is painted in that shade", False, True,  "letter_and_text"),
    ("B, because it is not red",            False, True,  "letter_and_text"),
    ("B: blue, not red",                    False, True,  "letter_and_text"),
    ("I looked closely. The answer is B.",  False, True,  "said_letter"),
    ("The answer is A. Wait: the answer is B.", False, True, "said_letter"),
    ("I would choose (B) here",             False, True,  "said_letter"),
    ("The answer is B because of the roof", False, True,  "said_letter"),
    ("blue",                                False, True,  "text"),
    ("Blue.",                               False, True,  "text"),
    ("The blue",                            False, True,  "text"),
    ("The answer is blue.",                 False, True,  "text"),
    ("It is blue",                          False, True,  "text"),
    ("It's blue!",                          False, True,  "text"),
    ("The hood is gone, so (B) fits best",  False, True,  "bracketed"),
    ("The car looks blue to me",            False, True,  "text_within"),
    ("The car is not red, it is blue",      False, True,  "text_within"),
    ("Having looked, I would say B.",       False, True,  "last_letter"),
    ("A",                                   False, False, "letter"),
    ("red",                                 False, False, "text"),
    ("A: red",                              False, False, "letter_and_text"),
    ("The answer is A",                     False, False, "letter"),
    ("A: blue",                             False, False, "contradiction"),
    ("B: red",                              False, False, "contradiction"),
    ("B. red, I think",                     False, False, "contradiction"),
    ("B. The answer is C",                  False, False, "several"),
    ("A, B",                                False, False, "several"),
    ("The answer is A or B",                False, False, "several"),
    ("Either (A) or (B)",                   False, False, "several"),
    ("red or blue",                         False, False, "several"),
    ("AB",                                  False, False, "unread"),
    ("E",                                   False, False, "outside"),
    ("(F)",                                 False, False, "outside"),
    ("",                                    False, False, "empty"),
    ("...",                                 False, False, "unread"),
    ("I cannot see the car",                False, False, "unread"),
    ("purple",                              False, False, "unread"),
    ("not blue",                            False, False, "unread"),
    ("2",                                   False, False, "unread"),
    ("A B C D",                             False, False, "several"),
    ("bluebell",                            False, False, "unread"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "published", "ours", "reading"), FORMS)
def test_every_form_of_reply_has_its_verdict_under_both_presets(
    text: str, published: bool, ours: bool, reading: str
) -> None:
    reply = f"<think>a car</think><answer>{text}</answer>"
    read, _ = QWEN2_5_VL.read_answer(reply)
    # an empty <answer> makes the released code compare the letters of the whole reply
    assert grade("published", reply, read, "blue", CHOICES).right is published
    verdict = grade("ours", reply, read, "blue", CHOICES)
    assert (verdict.right, verdict.reading) == (ours, reading)


def test_there_are_at_least_sixty_forms() -> None:
    assert len(FORMS) >= 60


@pytest.mark.parametrize(
    ("text", "choices", "chosen"),
    [
        ("dark green", CHOICES, 2),
        ("It is dark green", CHOICES, 2),
        ("The car is dark green there", CHOICES, 2),  # and does not speak of `green`
        ("green", CHOICES, 3),
        ("top left", ("left", "top left"), 1),
        ("A dog", ("cat", "dog"), 1),  # an article, not a letter
        ("Answer: A dog", ("cat", "dog"), 1),
        ("A dog", ("dog", "cat"), 0),
        ("a", ("cat", "dog"), 0),
        ("There are three", ("2", "3", "4"), 1),
        ("3", ("2", "3", "4"), 1),
        ("1,000", ("100", "1000"), 1),
        ("B", ("B", "A"), 1),  # options that are letters: the letter asked for wins
        ("red", ("red", "red"), None),  # two options alike: nobody can tell
        ("No", ("Yes", "No"), 1),
        ("No, it is not", ("Yes", "No"), 1),
        ("Yes", ("Yes", "No"), 0),
        ("The umbrella is on the left side", ("right", "left"), 1),
        ("C-shaped", ("round", "flat", "square", "C-shaped"), 3),
        ("T-shirt", ("coat", "T-shirt"), 1),
        ("The option is hard to tell", ("coat", "shirt"), None),
        ("x" * 100_000, CHOICES, None),
    ],
)
def test_an_option_is_chosen_by_letter_or_by_text(text: str, choices: tuple[str, ...], chosen: int | None) -> None:
    assert choice_of(text, choices).index == chosen


@pytest.mark.parametrize(
    ("text", "answer", "right"),
    [
        ("3", "3", True),
        ("3.0", "3", True),
        ("three", "3", True),
        ("There are 3 dogs", "3", True),
        ("1,200", "1200", True),
        ("1200 m", "1200", True),
        ("-5", "5", False),
        ("between 3 and 5", "3", False),
        ("4", "3", False),
        ("30", "3", False),
        ("yes", "Yes", True),
        ("Yes, it is.", "yes", True),
        ("No", "yes", False),
        ("The answer is Blue Lagoon.", "blue lagoon", True),
        ("it says OPEN", "open", True),
        ("it does not say open", "open", False),
        ("open or closed", "open", False),
        ("opening", "open", False),
        ("", "open", False),
        ("The Ritz", "ritz", True),
        ("café", "cafe\u0301", True),
    ],
)
def test_free_answers_are_compared_by_stated_rules(text: str, answer: str, right: bool) -> None:
    assert grade_ours(text, answer).right is right


def test_fault_one_an_answer_that_repeats_its_option_is_wrong_as_published() -> None:
    """HR-Bench's options are shown as `A:text` by the released code, and its match fails on them."""
    reply = "<answer>B:blue</answer>"
    assert not grade_published(reply, "blue", CHOICES).right
    assert grade_ours("B:blue", "blue", CHOICES).right


def test_fault_two_without_tags_the_whole_reply_is_the_answer_as_published() -> None:
    reply = "<think>The car is blue.</think> The answer is B."
    text, reading = QWEN2_5_VL.read_answer(reply)
    assert reading == "no_tag"
    assert not grade_published(reply, "blue", CHOICES).right
    assert grade_ours(text, "blue", CHOICES).right


def test_published_reads_the_first_answer_and_we_the_last() -> None:
    reply = "The format is <answer>A</answer>, so: <answer>B</answer>"
    assert grade_published(reply, "red", CHOICES).right
    assert grade_ours(QWEN2_5_VL.read_answer(reply)[0], "blue", CHOICES).right


# fault three, failures that leave the denominator: tests/evals/test_report.py
