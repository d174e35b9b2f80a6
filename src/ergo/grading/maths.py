"""Truths that are formulas: `\\frac{\\sqrt{2}}{2}`, `x^2+1`. Compared by math-verify (Hugging Face, extra `eval`).

Only for these: math-verify reads `5 am`, `5 pm` and `5%` as 5, and `June 5` as `May 5`.
"""

from __future__ import annotations

import logging
import re

from ergo.core.errors import MissingExtra

_FORMULA = re.compile(
    r"\\(?:sqrt|pi|frac|d?frac|cdot|times|infty|le|ge|sin|cos|log|ln|sum|int|alpha|beta|theta)(?![a-z])|[\w)}]\^[\w{(]|√"
)
LONGEST = 200  # signs; a formula that answers a question is shorter
_ENDLESS = re.compile(r"\^\s*\{?\s*(?:\d{3,}|\w+\s*\^)|!|\d{10,}|\\(?:int|sum|prod|lim)|\*\*")


def is_formula(truth: str) -> bool:
    """Whether a truth is one that only a reader of mathematics can compare."""
    return _FORMULA.search(truth) is not None


def same_formula(stated: str, truth: str) -> bool:
    """Whether two formulas are equal. What would take long to work out (towers of powers, factorials, sums) is not."""
    stated, truth = stated.strip().strip("$"), truth.strip().strip("$")
    if len(stated) > LONGEST or _ENDLESS.search(stated):
        return stated == truth
    try:
        from math_verify import parse, verify
    except ImportError as error:
        raise MissingExtra("comparing formulas", "eval") from error
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at every call that no time limit is set
    # Without time limits: those of math-verify are signals, which only the main thread can set.
    gold = parse(f"${truth}$", parsing_timeout=None)
    found = parse(f"${stated}$", parsing_timeout=None)
    return bool(gold and found and verify(gold, found, timeout_seconds=None))
