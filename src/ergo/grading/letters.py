"""Option letters in a reply, and what is said of each: that it is the answer, that it is not, or nothing.

A letter is one that stands alone: not in `T-shirt`, `U.S.A.`, `Vitamin B12`. Letters joined by commas
or "or" are one mention of several. What stands just before and just behind a mention decides what it
is, by the table in phrasings.py; so time grows with the length of the reply, and no letter is chosen
because it came last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ergo.grading.kinds import KINDS
from ergo.grading.text import lowered

Stated = Literal["answer", "denied", "linked", "nothing"]
"""answer: it is the answer. linked: something is it (`the car is B`)."""


@dataclass(frozen=True)
class Mention:
    """Places of options that are mentioned together. start, end: where in the bare text. shut: in brackets."""

    places: tuple[int, ...]
    start: int
    end: int
    stated: Stated
    shut: bool


_WIDE = "A-Za-z0-9\u00c0-\u024f\u0370-\u04ff"
_LETTER = re.compile(
    rf"[(\[\"']\s?([A-Za-z])\s?[)\]\"']|(?<![{_WIDE}])(?<![{_WIDE}]['&.-])([A-Z])(?![{_WIDE}]|[-'&][{_WIDE}]|\.[A-Z]\b)"
)
_LOWER_LAST = re.compile(r"(?<![\w'&.-])([a-z])(?=[.!]?\s*\Z|\n)")
# Cyrillic and Greek capitals that look like the Latin ones which were shown; not where they are a Russian word.
_ALIKE = str.maketrans("АВСЕНКМОРТХΑΒΕΗΙΚΜΝΟΡΤΧ", "ABCEHKMOPTXABEHIKMNOPTX")
_FOREIGN = re.compile(
    r"(?<![\w'-])[АВСЕНКМОРТХΑΒΕΗΙΚΜΝΟΡΤΧ](?![\w'-])(?! (?!прав|верн|неверн|неправ|явл|подх|не |или |и )[а-яё])"
)

BEFORE, BEHIND = 64, 40  # signs around a mention that are looked at
_OPEN = " \n\"'([{<.,)]}>"
_SHUT = " \"')]}>"
_ENDS = re.compile(r"\s*(?:[.,;:!?)\]\n—–-]|\Z)")


def latin(text: str) -> str:
    """Letters that stand alone and look like Latin ones become those."""
    return text if text.isascii() else _FOREIGN.sub(lambda found: found.group().translate(_ALIKE), text)


def mentions(text: str, options: Sequence[str]) -> list[Mention]:
    """Every mention of an option by letter, in order. text: bare, its letters `latin`. options: bare and `lowered`."""
    low = lowered(text)
    found = [(one, (one[1] or one[2]).upper()) for one in _LETTER.finditer(text)]
    last = _LOWER_LAST.search(text, max(0, len(text) - 4))
    if last and not any(one.end() >= last.end() for one, _ in found):
        found.append((last, last[1].upper()))
    known = [(one, ord(letter) - 65) for one, letter in found if not _is_word(low, one, letter)]
    grouped: list[list[tuple[re.Match[str], int]]] = []
    for one, place in known:
        if (
            grouped
            and place not in (earlier for _, earlier in grouped[-1])
            and _joined(low[grouped[-1][-1][0].end() : one.start()])
        ):
            grouped[-1].append((one, place))
        else:
            grouped.append([(one, place)])
    result: list[Mention] = []
    for group in grouped:
        start, end = group[0][0].start(), group[-1][0].end()
        inside = tuple(dict.fromkeys(place for _, place in group))
        lower = text[start:end].islower()
        if any(place >= len(options) for place in inside) and len(inside) > 1:
            inside = tuple(place for place in inside if place < len(options))
        own = options[inside[0]] if len(inside) == 1 and inside[0] < len(options) else ""
        stated = _said(low, start, end, own, result[-1] if result else None)
        if lower and stated != "answer" and not (group[0][0][1] and len(group) == 1):
            continue
        result.append(Mention(inside, start, end, stated, group[0][0][1] is not None))
    return result


_PREPOSITIONS = re.compile(
    r"(?:because|since|as|for|but|not|which|where|while|with|in|if|due|though|based|given|from|at|shows|says|"
    r"describes|fits|matches|seems|looks|appears|can|does)\b"
)


def _is_word(low: str, found: re.Match[str], letter: str) -> bool:
    """`A dog`, `I see`: an article, a pronoun. Before words that cannot follow those it is a letter."""
    if found[0] not in ("A", "I", "E", "O", "Y") or not re.match(
        r" [a-z\u00df-\u024f]", low[found.end() : found.end() + 2]
    ):
        return False
    at = found.end() + 1
    goes_on = any(KINDS[kind].after(low, at) for kind in ("right", "wrong", "either", "link")) or _PREPOSITIONS.match(
        low, at
    )
    return not goes_on or (
        letter == "I"
        and bool(re.match(r"(?:can|do|would|will|could|don't|can't|cannot|must|might|may)", low[at : at + 8]))
    )


def _joined(gap: str) -> bool:
    """Whether two letters are one mention: `A, B`, `A or B`, `A和B`, `(A) and (B)`."""
    if len(gap) > 24:
        return False
    rest = gap.strip(_SHUT + "([{<")
    if not rest:
        return "\n" not in gap
    if rest == ".":
        return False
    while rest:
        step = KINDS["either"].after(rest) or KINDS["option"].after(rest) or (1 if rest[0] in " ,-" else 0)
        if not step:
            return False
        rest = rest[step:].lstrip(_OPEN)
    return True


def _said(low: str, start: int, end: int, own: str, previous: Mention | None) -> Stated:
    """own: the option's text, which may stand between its letter and what is said of it."""
    behind = low[end : end + BEHIND + len(own)].lstrip(_SHUT)
    behind = behind[KINDS["option"].after(behind) :].lstrip(_SHUT)
    named = behind.lstrip(".:,- ")
    if own and named.startswith(own):
        behind = named[len(own) :].lstrip(_SHUT)
    if KINDS["wrong"].after(behind):
        return "denied"
    before = low[max(0, start - BEFORE) : start]
    stated = _said_before(before, low[end : end + BEHIND], previous if previous and start - previous.end < 16 else None)
    if stated in ("denied", "answer"):
        return stated
    if KINDS["right"].after(behind) and not KINDS["wrong"].after(behind):
        return "answer"
    return stated


_QUALIFIED = re.compile(
    r"(?:final|correct|best|right|richtige|korrekte|correcte|bonne|correcta|правильн\w+|верн\w+|正确|正確|ถูกต้อง|đúng|सही|الصحيحة?)\s*\Z"
)


_ARTICLES = re.compile(r"(?<!\w)(?:the|la|le|el|die|der|das|l')$")
_LEFT_ALONE = re.compile(r"[,:.;—–]\s*[\"'(\[]*\Z")


def _said_before(before: str, behind: str, previous: Mention | None) -> Stated:
    linked = option = doubted = False
    line = before
    while True:
        if not line.endswith("\n\n") and KINDS["deny"].before(line.rstrip(_OPEN)):
            return "denied"
        line = line.rstrip(_OPEN)
        line = _ARTICLES.sub("", line).rstrip()
        if KINDS["answer"].before(line) or KINDS["choose"].before(line):
            stated = KINDS["answer"].before(line) or KINDS["choose"].before(line)
            earlier = line[:-stated].rstrip(" ")
            word = max(KINDS["deny"].before(earlier), 0)
            return "denied" if word else "linked" if doubted else "answer"
        step = KINDS["option"].before(line)
        if step:
            if linked or _QUALIFIED.search(line[:-step]):
                return "linked" if doubted else "answer"
            option = True
        elif step := KINDS["doubt"].before(line):
            linked = doubted = True
        elif step := KINDS["link"].before(line):
            linked = True
        elif linked and KINDS["subject"].before(line):
            return "linked" if doubted else "answer"
        elif (KINDS["so"].before(line) and (linked or _ENDS.match(behind))) or (
            previous
            and previous.stated == "denied"
            and re.search(r"(?:\bbut|\bbut rather|而是|sondern|sino|mais|а|بل|बल्कि|แต่|mà)\Z", line)
        ):
            return "answer"
        else:
            alone = not behind.strip(" .!?\"')]") and _LEFT_ALONE.search(before)
            return "linked" if alone or (linked and (option or _ENDS.match(behind))) else "nothing"
        line = line[:-step]
