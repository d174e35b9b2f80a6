"""What a reply speaks of, and whether it denies it or is unsure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ergo.grading.kinds import KINDS
from ergo.grading.text import clauses, lowered, words

Texts = tuple[tuple[str, ...], ...]
"""Options as words."""

DENIALS = frozenset((
    "not", "isn't", "isnt", "no", "neither", "nor", "never", "without", "aren't", "wasn't", "doesn't", "don't", "cannot", "can't",
    "не", "ни", "pas", "ni", "nicht", "kein", "keine", "không", "ไม่", "ليس", "ليست", "不", "非", "没",
))  # fmt: skip
_DENIED_BEHIND = frozenset(("नहीं", "아니다", "아닙니다"))


def spoken_options(body: str, texts: Texts) -> tuple[set[int], set[int]]:
    """(options spoken of, options denied). One inside a longer one that is spoken of (`left` in `top left`) does not count."""
    stated, clause = words(body), clauses(body)
    at: dict[str, list[int]] = {}
    for place, word in enumerate(stated):
        at.setdefault(word, []).append(place)
    covered = [0] * len(stated)
    spoken: set[int] = set()
    denied: set[int] = set()
    for option in sorted(range(len(texts)), key=lambda place: -len(texts[place])):
        phrase = texts[option]
        if not phrase or (len(phrase) == 1 and len(phrase[0]) == 1 and not phrase[0].isdigit()):
            continue
        for start in at.get(phrase[0], ()):
            if stated[start : start + len(phrase)] != phrase or min(covered[start : start + len(phrase)]) > len(phrase):
                continue
            covered[start : start + len(phrase)] = [
                max(len(phrase), one) for one in covered[start : start + len(phrase)]
            ]
            (denied if is_denied(stated, clause, start, start + len(phrase)) else spoken).add(option)
    return spoken, denied - spoken


def is_denied(stated: tuple[str, ...], clause: tuple[int, ...], start: int, end: int) -> bool:
    """Whether the words at start..end are denied by what stands around them in their clause. "not sure" denies nothing."""
    if stated[end : end + 2] in _WRONG_BEHIND and clause[end] == clause[start]:
        return True
    before = [place for place in range(max(0, start - 3), start) if clause[place] == clause[start]]
    behind = stated[end : end + 2]
    return any(
        stated[place] in DENIALS and stated[place + 1] not in _NOT_DENIED for place in before
    ) or not _DENIED_BEHIND.isdisjoint(behind)


_WRONG_BEHIND = {("is", word) for word in ("not", "wrong", "incorrect", "false")} | {
    ("are", "not"),
    ("est", "fausse"),
    ("ist", "falsch"),
}
_NOT_DENIED = frozenset(("sure", "certain", "only", "just"))


_STRUCK = re.compile(
    "[\u00ac\u2260\u2262\u274c\u2717\u2718\u2716\u26d4\U0001f44e\U0001f6ab]|~~|(?<![\\w!])!(?=\\s*\\w)"
)


def taken_back(text: str, truths: Iterable[str]) -> str:
    """Why a bare answer is none: `denied` by a sign that strikes it out (`not` signs, crosses, ~~car~~), `hedge` by a
    question mark behind it; empty where it stands. A truth that has such a sign itself may be answered with it."""
    if any(map(str.isalnum, text)) and _STRUCK.search(text) and not any(_STRUCK.search(truth) for truth in truths):
        return "denied"
    asks = text.rstrip(" \n*\"')").endswith(("?", "\uff1f"))
    return "hedge" if asks and not any(truth.rstrip().endswith(("?", "\uff1f")) for truth in truths) else ""


def is_hedged(body: str) -> bool:
    """Whether a reply says that its answer is not certain, or one of several."""
    low = lowered(body)
    starts = [0, *(found.end() for found in re.finditer(r"[^\w']+", low[:2000]))]
    return any(KINDS["hedge"].after(low, start) for start in starts)
