"""Free answers. The truth says how it is compared: yes or no, a time, a date, a quantity, a formula, a code, words.

strictly: the whole reply, with at most `the answer is` around it, is the truth in another format.
plainly: the reply says the truth once, and beside it nothing that could be another answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ergo.grading.kinds import KINDS
from ergo.grading.maths import is_formula, same_formula
from ergo.grading.numbers import Quantity, quantities
from ergo.grading.spoken import is_denied, is_hedged, taken_back
from ergo.grading.text import DECORATION, OPENERS, bare, clauses, lowered, unframed, words
from ergo.grading.times import Clock, Date, clocks, dates
from ergo.grading.truth import Verdict
from ergo.grading.values import KIND_OF, Code, Value, code, same, value_of

# ── strictly ───────────────────────────────────────────────────────────────────────────────────


def strictly(text: str, answers: tuple[str, ...]) -> Verdict:
    """Right where the whole reply is one of `answers`.

    >>> strictly("It is 1,200 m.", ("1200 m",)), strictly("A5", ("B5",)), strictly("yes and no", ("yes",))
    (Verdict(right=True, reason='number'), Verdict(right=False, reason='different'), Verdict(right=False, reason='contradiction'))
    """
    reason = taken_back(text, answers)
    return Verdict(False, reason) if reason and text.strip(DECORATION) else _best(text, answers, _strictly)


def _best(text: str, answers: tuple[str, ...], grade: Callable[[str, str], Verdict]) -> Verdict:
    body = bare(text)
    if not body.strip(DECORATION):
        named = bool(body) and body in map(bare, answers)  # what is asked for is a sign: `?`
        return Verdict(named, "text" if named else "empty")
    verdicts = [
        _formula(text, answer) if is_formula(answer) else grade(body, bare(answer))
        for answer in answers
        if answer.strip()
    ]
    return next((one for one in verdicts if one.right), verdicts[0] if verdicts else Verdict(False, "different"))


LONGEST_ANSWER = 4000  # signs; a whole reply beyond this is not one value


def _strictly(body: str, answer: str) -> Verdict:
    truth = value_of(answer)
    reason: str = ""
    for stated in dict.fromkeys((body, unframed(body))) if len(body) < LONGEST_ANSWER else ():
        if words(stated) == words(answer) != () and not isinstance(truth, Quantity | Code):
            return Verdict(True, KIND_OF[type(truth)])
        value = value_of(stated)
        alike, why = same(value, truth)
        if alike and why != "unit_missing":
            return Verdict(True, KIND_OF[type(truth)])
        reason = why or reason
    plain = _plainly(body, answer)
    if plain.right:
        return Verdict(False, reason or ("hedge" if is_hedged(body) else "more_said"))
    return Verdict(False, reason or plain.reason)


def _formula(text: str, answer: str) -> Verdict:
    stated = text[text.find(unframed(text)) :].strip().rstrip(".")
    same = stated.replace(" ", "") == answer.replace(" ", "") or ("\n" not in stated and same_formula(stated, answer))
    return Verdict(same, "formula" if same else "different")


# ── plainly ────────────────────────────────────────────────────────────────────────────────────


def plainly(text: str, answers: tuple[str, ...]) -> Verdict:
    """Right where the reply says one of `answers`, and nothing against it.

    >>> plainly("There are three of them.", ("3",)), plainly("red, blue or green", ("blue",)), plainly("3 or 4", ("3",))
    (Verdict(right=True, reason='number'), Verdict(right=False, reason='list'), Verdict(right=False, reason='several'))
    """
    return _best(text, answers, _plainly)


def _plainly(body: str, answer: str) -> Verdict:
    truth = value_of(answer)
    kind = KIND_OF[type(truth)]
    for stated in (body, unframed(body)) if len(body) < LONGEST_ANSWER else ():
        value = value_of(stated)
        numbers = isinstance(value, Quantity) and isinstance(truth, Quantity)  # `mW` is not `MW`, though the words are
        if same(value, truth)[0] or (words(stated) == words(answer) != () and not numbers):
            return Verdict(True, kind)
    if isinstance(truth, bool):
        return _yes_or_no_first(body, truth)
    if isinstance(truth, Clock):
        return _only([value for _, value in clocks(body)], truth, body)
    if isinstance(truth, Date):
        return _only([value for _, value in dates(body)], truth, body)
    if isinstance(truth, Quantity):
        return _only([value for _, value in quantities(body)], truth, body)
    return _phrase_within(body, answer, truth)


def _only(values: Sequence[Value], truth: Value, body: str) -> Verdict:
    """Right where every value of this kind in the reply is the truth, and it is not denied."""
    kind = KIND_OF[type(truth)]
    if not values:
        return Verdict(False, "unread")
    verdicts = [same(value, truth) for value in values]
    if not any(same for same, _ in verdicts):
        return Verdict(False, (verdicts[0][1] or "other_value") if len(values) == 1 else "several")
    if not all(same for same, _ in verdicts):
        return Verdict(False, "several")
    return Verdict(False, "denied") if _is_denied_value(body) else Verdict(True, kind)


_DENIED_VALUE = re.compile(
    r"\b(?:not|isn't|aren't|never|wasn't) (?:\w+ ){0,2}?[-+$€£¥]?\d|不是 ?\d|\bне \d|\bnicht \d|\bpas \d"
)


def _is_denied_value(body: str) -> bool:
    return _DENIED_VALUE.search(body.casefold()) is not None


def _yes_or_no_first(body: str, truth: bool) -> Verdict:
    """The first word decides, if the opposite does not follow it."""
    low = lowered(body).lstrip(OPENERS)
    low = lowered(unframed(low)) or low
    first = KINDS["yes"].after(low), KINDS["no"].after(low)
    if bool(first[0]) == bool(first[1]) and first[0] == first[1]:
        return Verdict(False, "unread")
    yes = first[0] > first[1]
    rest = low[max(first) :].lstrip(OPENERS + DECORATION)
    while (
        step := KINDS["either"].after(rest)
        or (len("but") if re.match(r"but\b", rest) else 0)
        or KINDS["hedge"].after(rest)
    ):
        rest = rest[step:].lstrip(OPENERS + DECORATION)
    opposite = KINDS["no" if yes else "yes"]
    if opposite.after(rest) or _OPPOSITE[yes].search(low):
        return Verdict(False, "contradiction")
    return Verdict(yes is truth, "yes_no" if yes is truth else "other_value")


# What takes a first "yes" or "no" back: a sentence, or a clause behind "but", that begins with the other.
_OPPOSITE = {
    True: re.compile(r"[.!?;\n] ?(?:no|nope|actually no)\b(?! \w+ (?:is|are))|\b(?:but|or|and|also) (?:also )?no\b"),
    False: re.compile(r"[.!?;\n] ?(?:yes|yeah|actually yes)\b|\b(?:but|or|and|also) (?:also )?yes\b"),
}


_COMPOUND = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
_COLOURED = re.compile(r"-(?:coloured|colored|painted|toned|tinted|ish|shaped|sided|like)$", re.IGNORECASE)


def _phrase_within(body: str, answer: str, truth: Value) -> Verdict:
    """The truth as whole words, not denied, nothing offered beside it. `off-white` does not say `white`."""
    stated, phrase = words(body), words(answer)
    if len(phrase) == 1 and "-" in body:
        joined = _COMPOUND.sub(lambda found: _COLOURED.sub("", found.group()).replace("-", ""), body)
        body, stated = (joined, words(joined)) if phrase[0] not in words(joined) else (body, stated)
    size = len(phrase)
    found = [place for place in _places(stated, phrase) if stated[place + size : place + size + 1] not in _GOES_ON]
    if not found and isinstance(truth, Code):
        found, size = _code_places(body, truth)
    if not found:
        return Verdict(False, "different")
    clause = clauses(body)
    denied = [is_denied(stated, clause, place, place + size) for place in found if place < len(stated)]
    if any(denied):
        return Verdict(False, "denied" if all(denied) else "contradiction")
    if isinstance(truth, Code) and len(_codes(body)) > 1:
        return Verdict(False, "several")
    if _is_list(body, phrase):
        return Verdict(False, "list")
    return Verdict(True, "code" if isinstance(truth, Code) else "text_within")


_GOES_ON = (("+",), ("#",))  # `C++` and `C#` do not say `C`


def _places(stated: tuple[str, ...], phrase: tuple[str, ...]) -> list[int]:
    if not phrase:
        return []
    return [
        place
        for place, word in enumerate(stated)
        if word == phrase[0] and stated[place : place + len(phrase)] == phrase
    ]


def _codes(body: str) -> set[str]:
    pieces = [piece.strip("\"'()[]{},;:!?").rstrip(".") for piece in body.split()]
    return {one.signs for piece in pieces if (one := code(piece)) is not None and re.search(r"[^\W\d_]", piece)}


def _code_places(body: str, truth: Code) -> tuple[list[int], int]:
    """Where up to four neighbouring words make up the code."""
    pieces = [piece.strip("\"'()[]{},;:!?").rstrip(".") for piece in body.split()]
    for size in range(1, 5):
        for place in range(len(pieces) - size + 1):
            joined = " ".join(pieces[place : place + size])
            if re.sub(r"[\s-]", "", joined).casefold() == truth.signs:
                return [len(words(" ".join(pieces[:place])))], size
    return [], 0


# A list: something short stands beside the truth, parted from it by a comma, a line or "or".
_PARTS = re.compile(
    r"\s*(?:[,;/|\n、،]|\b(?:and|or|und|oder|ou|et|y|o|и|или|và|hoặc|hay)\b|或者?|和|または|또는|หรือ|أو)\s*",
    re.IGNORECASE,
)
_NO_ITEM = frozenset(
    [
        "because",
        "since",
        "as",
        "for",
        "which",
        "that",
        "so",
        "but",
        "though",
        "although",
        "like",
        "with",
        "in",
        "on",
        "at",
        "of",
        "it",
        "its",
        "is",
        "are",
        "was",
        "i",
        "the",
        "there",
        "this",
        "these",
        "not",
        "no",
    ]
)


def _is_list(body: str, phrase: tuple[str, ...]) -> bool:
    parts = [words(part) for part in _PARTS.split(body)]
    for place, part in enumerate(parts):
        if len(part) > len(phrase) + 3 or not _places(part, phrase):
            continue
        beside = [*parts[max(0, place - 1) : place], *parts[place + 1 : place + 2]]
        if any(0 < len(other) <= 2 and other[0] not in _NO_ITEM and other != phrase for other in beside):
            return True
    low = f" {' '.join(words(body))} "
    return " or " in low and len(phrase) > 0 and len(parts) > 1 and " or " not in f" {' '.join(phrase)} "
