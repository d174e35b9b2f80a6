"""The released match, kept as it is for comparison (nota-github/ERGO src/ergo/eval.py and utils.py @ c6d6742).

Its faults are part of it: it reads the first <answer> and not the last; without one the letters of the
whole reply are the answer; `A: red` becomes "Ared".
"""

from __future__ import annotations

import re

from ergo.grading.truth import Truth, Verdict


def grade_published(reply: str, truth: Truth) -> Verdict:
    """All ASCII letters of the first <answer>, or of the whole reply, against the right letter.

    >>> grade_published("<answer>(A)</answer>", Truth(("red",), ("red", "blue"))).right
    True
    >>> grade_published("<answer>A: red</answer>", Truth(("red",), ("red", "blue"))).right
    False
    """
    opened = reply.split("<answer>")
    body = opened[1].split("</answer>")[0].strip() if len(opened) > 1 else ""
    letters = "".join(re.findall("[a-zA-Z]", body or reply))
    return Verdict(letters.lower() == truth.label.lower(), "letters" if letters else "empty")
