"""One number with its unit, in the formats people write: `-1,200.50`, `1.200,50`, `1 1/2`, `twelve`, `$3`, `5 kg`, `3 dogs`.

Values are exact fractions. What is no number stays none: codes (`B5`), leading zeros (`007`), ranges (`3-5`),
versions (`1.2.3`), a fraction that can be reduced (`2/4` is a page, a score, a date).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import gcd

from ergo.grading.kinds import KINDS
from ergo.grading.units import MONEY, SYMBOLS, UNITS


@dataclass(frozen=True)
class Quantity:
    """number: as written. unit: what it counts, "" for nothing stated; one of them is `factor` of that.

    noun: what is counted, where that is no unit.
    """

    number: Fraction
    unit: str = ""
    factor: Fraction = Fraction(1)
    noun: str = ""

    @property
    def value(self) -> Fraction:
        return self.number * self.factor


SMALL_NUMBERS = {
    word: value
    for value, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
        ]
    )
}
_TENS = {
    word: 10 * value
    for value, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_CJK = {sign: value for value, sign in enumerate("零一二三四五六七八九十")} | {"两": 2, "兩": 2, "〇": 0}
NUMBER_WORDS = frozenset((*SMALL_NUMBERS, *_TENS, *_SCALES))

_FORMATS = (
    (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"), ","),  # 1,200.50
    (re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?"), ","),  # 12,00,000
    (re.compile(r"\d{1,3}(?:[ ']\d{3})+(?:\.\d+)?"), " '"),  # 1 200.50
    (re.compile(r"\d{1,3}(?:\.\d{3}){2,}"), "."),  # 1.200.000
    (re.compile(r"\d{1,3}(?:[. ]\d{3})+,\d+"), ". "),  # 1.200,50
    (re.compile(r"\d+,\d{1,2}|\d+,\d{4,}"), ""),  # 3,5
    (re.compile(r"\d+(?:\.\d+)?|\.\d+"), ""),
)
_LEADING = re.compile(r"(?:[\d.,' ]*\d)?")
_ZEROS = re.compile(r"0\d")
_MIXED = re.compile(r"(?:(\d{1,6}) )?(\d{1,6}) ?/ ?(\d{1,6})(?![\d/])")
LONGEST = 80  # characters; no single quantity is longer


def quantity(text: str) -> Quantity | None:
    """The quantity that a bare text is; None if it is anything else, or more than one.

    >>> quantity("1.5 km").value == quantity("1,500 m").value, quantity("three dogs").noun, quantity("3-5")
    (True, 'dogs', None)
    """
    if len(text) > LONGEST:
        return None
    written = text.strip()
    text = written.casefold()
    if text.startswith("+") and sum(one.isdigit() for one in text) > 7:
        return None  # a telephone number
    sign, text = _sign(text)
    money = ""
    if text.startswith(MONEY):
        money = next((name for name in MONEY if text.startswith(name) and text[len(name) :].lstrip()[:1].isdigit()), "")
    text = text[len(money) :].lstrip()
    if money and sign == 1:
        sign, text = _sign(text)
    read = _value(text)
    if read is None:
        return None
    value, rest = read
    behind = rest.split()
    while behind and behind[0] in _SCALES:  # "1.2 million"
        value *= _SCALES[behind.pop(0)]
    unit = " ".join(behind)
    if (symbol := written[-len(unit) :] if unit else "") in SYMBOLS and not money:
        base, factor = SYMBOLS[symbol]
        return Quantity(sign * value, base, factor)
    if money and (not unit or UNITS.get(unit, ("",))[0] == UNITS[money][0]):
        unit = money
    if unit in UNITS:
        base, factor = UNITS[unit]
        return Quantity(sign * value, base, factor)
    if money:
        return None
    if not unit or _is_counter(unit) or (rest[0] == " " and _is_noun(behind)):
        return Quantity(sign * value, noun=unit)
    return None


def _sign(text: str) -> tuple[int, str]:
    for mark, sign in (("-", -1), ("+", 1), ("minus ", -1), ("negative ", -1), ("plus ", 1)):
        if text.startswith(mark) and text[len(mark) :].lstrip() != text:
            return sign, text[len(mark) :].lstrip()
    return 1, text


def _value(text: str) -> tuple[Fraction, str] | None:
    """(value, what stands behind it)."""
    mixed = _MIXED.match(text)
    if mixed:
        whole, above, below = (int(group or 0) for group in mixed.groups())
        if not below or gcd(above, below) != 1 or (mixed[1] and above >= below) or _ZEROS.match(mixed[2]):
            return None
        return whole + Fraction(above, below), text[mixed.end() :]
    digits = _LEADING.match(text)
    number = digits.group() if digits else ""
    if number:
        for form, separators in _FORMATS:
            if form.fullmatch(number) and not _ZEROS.match(number):
                plain = "".join(sign for sign in number if sign not in separators)
                return Fraction(plain.replace(",", ".")), text[len(number) :]
        return None
    if text[:1] in _CJK and (len(text) == 1 or text[1:2] not in _CJK):
        return Fraction(_CJK[text[0]]), text[1:]
    return _spelled(text)


def _spelled(text: str) -> tuple[Fraction, str] | None:
    """`twenty-one`, `two hundred and five`, `a dozen` is not."""
    total, part, used, begun = 0, 0, 0, False
    for found in re.finditer(r"[a-z]+", text):
        word = found.group()
        if text[used : found.start()].strip(" -") not in ("", "and") or (word not in NUMBER_WORDS and word != "and"):
            break
        if word == "and":
            if not begun:
                break
            continue
        if word in _SCALES:
            if not begun:
                break
            part *= _SCALES[word]
            if word != "hundred":
                total, part = total + part, 0
        elif begun and not _may_follow(text[:used], word):
            return None  # "two three"
        else:
            part += SMALL_NUMBERS.get(word, 0) + _TENS.get(word, 0)
        begun, used = True, found.end()
    return (Fraction(total + part), text[used:]) if begun else None


def _may_follow(before: str, word: str) -> bool:
    last = re.split(r"[ -]+", before)[-1]
    return last in _SCALES or (last in _TENS and SMALL_NUMBERS.get(word, 0) in range(1, 10))


_COUNTED_OTHERWISE = frozenset((
    "dozen", "dozens", "score", "scores", "gross", "tens", "hundreds", "thousands", "millions", "billions", "trillions",
    "lakh", "lakhs", "crore", "crores", "k", "squared", "cubed", "fold", "half", "halves", "third", "thirds", "quarter",
    "quarters", "negative", "minus", "plus", "less", "more", "fewer", "lies", "percent",
))  # fmt: skip
"""Behind a number they make it another one, whatever is counted."""


def _is_noun(behind: list[str]) -> bool:
    """`dogs`, `red cars`: one or two words that say neither another number nor a doubt."""
    others = NUMBER_WORDS | _COUNTED_OTHERWISE
    plain = all(word.replace("-", "").isalpha() and word not in others for word in behind)
    stated = any(KINDS[kind].after(word) for word in behind for kind in ("hedge", "deny", "either", "wrong", "no"))
    return (
        0 < len(behind) <= 2 and plain and not stated and not {"am", "pm", "a", "an", "the", "but", "of"} & set(behind)
    )


def _is_counter(word: str) -> bool:
    """`3个`, `3 匹`, `3명`: a counting word of one or two signs."""
    return 0 < len(word) <= 2 and all("\u3040" <= sign <= "\ud7af" for sign in word) and not _CJK.keys() & set(word)


WINDOW = 5  # words; "two hundred and five dogs"
_BETWEEN = re.compile(r"(?<=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])(?=[-+]?\d)")
_PIECE = re.compile(r"\S+")


def quantities(text: str) -> list[tuple[int, Quantity]]:
    """(place, quantity) of each number that stands for itself in a bare text: `B5`, `3-5`, `5 pm` and `1.2.3` hold none."""
    pieces = list(_PIECE.finditer(_BETWEEN.sub(" ", text)))
    plain = [piece.group().strip("\"'()[]{},;:!?").rstrip(".") for piece in pieces]
    found, at = [], 0
    while at < len(pieces):
        word = plain[at].casefold()
        if not (
            any(sign.isdigit() for sign in word[:5])
            or word.split("-")[0] in NUMBER_WORDS
            or word in ("minus", "negative")
        ):
            at += 1
            continue
        for size in range(min(WINDOW, len(pieces) - at), 0, -1):
            inside = [piece.group() for piece in pieces[at : at + size - 1]]
            if any(piece[-1] in ",;:!?." for piece in inside):
                continue
            read = quantity(" ".join(plain[at : at + size]))
            if read is not None and _HALF_DAY.fullmatch(plain[at + size] if at + size < len(plain) else "") is None:
                found.append((pieces[at].start(), read))
                at += size - 1
                break
        at += 1
    return found


_HALF_DAY = re.compile(r"[ap]\.?m\.?|o'clock", re.IGNORECASE)
