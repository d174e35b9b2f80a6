"""What stands on signs: words, names, numbers, prices, times and number plates; all in CHARACTERS.

Signs show capitals and small letters; what the model is taught to answer is the text in capitals, so that a
letter has one name, and grading ignores case.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

CANNOT_TELL = "cannot tell"  # the whole answer to a question that the picture does not answer
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:-$"
TextKind = Literal["word", "name", "number", "price", "time", "plate"]
TEXT_KINDS: tuple[TextKind, ...] = ("word", "name", "number", "price", "time", "plate")
# letters and digits that a careless reader takes for each other
CONFUSABLE = ("0OQDC", "1IL7T", "8B3", "5S", "2Z", "6G", "UVW", "MNH", "EF", "PR", "KX", "AR", "JY", "94")
LETTERS = "ABCDEFGHJKLMNPRSTUVWXYZ"


def make_text(rng: np.random.Generator, kind: TextKind, words: list[str]) -> str:
    """One text of 2 to 9 CHARACTERS (words and names as they are spelt)."""
    if kind == "word":
        word = words[int(rng.integers(len(words)))]
        return word.upper() if rng.random() < 0.7 else word.capitalize()
    if kind == "name":
        names = words[int(rng.integers(len(words)))]
        return names.capitalize() if rng.random() < 0.6 else names.upper()
    if kind == "number":
        return str(int(rng.integers(10 ** int(rng.integers(1, 5)), 10**5)))[: int(rng.integers(2, 6))]
    if kind == "price":
        return f"${int(rng.integers(0, 100))}.{int(rng.integers(0, 100)):02d}"
    if kind == "time":
        return f"{int(rng.integers(0, 24)):02d}:{int(rng.integers(0, 60)):02d}"
    letters = "".join(LETTERS[int(i)] for i in rng.integers(len(LETTERS), size=int(rng.integers(1, 4))))
    return f"{letters}-{int(rng.integers(10, 10000))}"


def change_one(rng: np.random.Generator, text: str) -> str | None:
    """`text` with one character taken for one that looks like it; None if it has none such."""
    places = [(at, group) for at, letter in enumerate(text.upper()) for group in CONFUSABLE if letter in group]
    if not places:
        return None
    at, group = places[int(rng.integers(len(places)))]
    same_kind = [c for c in group if c != text[at].upper() and c.isdigit() == text[at].isdigit()]
    if not same_kind:
        return None
    return text[:at] + same_kind[int(rng.integers(len(same_kind)))] + text[at + 1 :]
