"""Sentence answers of V*'s training set: reduced where a rule is sure, left alone where it is not."""

from __future__ import annotations

import pytest

from ergo.data.sentences import reduced


@pytest.mark.parametrize(
    ("question", "answer", "short"),
    [
        ("What is the color of the umbrella?", "The color of the umbrella is yellow.", "yellow"),
        ("What color is the umbrella?", "The umbrella is yellow.", "yellow"),
        ("What is the material of the glove?", "The material of the glove is rubber.", "rubber"),
        ("What is on the plate?", "The thing on the plate is a slice of pizza.", None),  # "thing" was not asked
        ("What is the man's occupation?", "The man's occupation is a chef", "chef"),
        ("What color are the shoes of the boy?", "The shoes of the boy are dark blue.", "dark blue"),
        ("Is the cat on the left or right side of the sofa?", "The cat is on the right side of the sofa.", "right"),
        ("Is the flag above or below the clock?", "The flag is above the clock.", "above"),
        ("Is the flag above or below the clock?", "The flag is neither.", None),
        ("Is the mug red or blue?", "It is red, not blue.", None),  # both are said
        ("Is there a dog in the image?", "Yes, there is a dog near the fence.", "yes"),
        ("Does the sign show a number?", "No, it does not.", "no"),
        ("Is it yes or no?", "No.", "no"),
        ("What does the person say, yes or no?", "Yes", "yes"),
        ("What is written on the sign?", 'The sign reads "SLOW DOWN".', "SLOW DOWN"),
        ("What is written on the signs?", 'One says "A", the other "B".', None),
        ("What is the color of the car?", "The color of the car is red and the bus is blue.", None),
        ("What is the color of the car?", "The color of the car is red, which is rare.", None),
        ("What is the color of the car?", "I cannot see a car.", None),
        ("What is the color of the car?", "red", None),
        ("What is the color of the car?", "", None),
    ],
)
def test_sentences(question: str, answer: str, short: str | None) -> None:
    assert reduced(question, answer) == (answer if short is None else short)
