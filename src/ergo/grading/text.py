"""Text as it is compared: without markup, in one form of every sign, as words.

bare    `$\\boxed{\\text{Ｂ}}$` and `**B**` are `B`
words   `The red car.` is (red, car); a script without spaces has one word a character
unframed   `The answer is blue.` says `blue`
"""

from __future__ import annotations

import re
import unicodedata

from ergo.grading.kinds import KINDS
from ergo.grading.numbers import SMALL_NUMBERS

_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]{1,60})\}\s*\{([^{}]{1,60})\}|(\d)\s*(\d))")
_COMMAND = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|tt|bb)|operatorname|bf|rm|left|right|displaystyle)(?![A-Za-z])\s*"
)
_INLINE = re.compile(r"\$\$?(?=[^\s$])([^$\n]{0,200}?[^\s$])\$\$?(?!\d)")
_SIGNS = (
    (re.compile(r"\\[()\[\]]|\\[,;:! ]|~(?=\d)(?<=[A-Za-z]~)"), " "),
    (re.compile(r"\\([%$#&_{}])"), r"\1"),
    (re.compile(r"\^\{?\\circ\}?|\\degree"), "°"),
    (re.compile(r"\\times"), "×"),
    (re.compile(r"\{,\}"), ","),
)
_MARKUP = re.compile(
    r"<\|[^|<>\n]{0,40}\|>|</?(?:answer|strong|em|br|code|span)\s*/?>|<([biup])>(?=[^<]*</\1>)|</[biup]>|[*`]|__|^(?:#+|[-•]) |(?<=\n)(?:#+|[-•]) ",
    re.IGNORECASE,
)
_SPECIAL_FRACTIONS = re.compile("([¼½¾⅐-⅞])")
_SAME = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "「": '"', "」": '"', "『": '"', "』": '"',
     "−": "-", "‐": "-", "‑": "-", "‒": "-", "⁄": "/", "。": ".", "．": ".", "॥": ".", "【": "[", "】": "]", "〔": "[", "〕": "]", "《": '"', "》": '"', "×": "x", "\t": " ", "\r": "\n"}
)  # fmt: skip
_BLANK = re.compile(r" *\n\s*\n *| *\n *| {2,}|[\u00a0\u2000-\u200a\u202f\u205f\u3000]+")


def bare(text: str) -> str:
    """Without markdown, LaTeX around text, tags and typographic variants; lines are kept, blank ones not.

    >>> bare("$\\\\boxed{\\\\textbf{Ｂ}}$"), bare("**3½** \\\\%")
    ('B', '3 1/2 %')
    """
    text = _SPECIAL_FRACTIONS.sub(r" \1", text)
    text = unicodedata.normalize("NFKC", text)
    text = "".join(_one_form(sign) for sign in text) if not text.isascii() else text
    text = _RANGE.sub("-", text.translate(_SAME))
    if "\\" in text or "$" in text:
        text = _without_latex(text)
    text = _MARKUP.sub("", text)
    return _BLANK.sub(lambda found: "\n" if "\n" in found.group() else " ", text).strip()


def _one_form(sign: str) -> str:
    """ASCII digits of every script; letters in black squares or circles; nothing for signs that cannot be seen."""
    if sign.isascii() or sign.isalpha():
        return sign
    code = ord(sign)
    if 0x1F150 <= code <= 0x1F189:
        return chr(65 + (code - 0x1F150) % 32) if (code - 0x1F150) % 32 < 26 else sign
    value = unicodedata.decimal(sign, None)
    if value is not None:
        return str(value)
    return "" if unicodedata.category(sign) in ("Cf", "Cc") or code == 0xFE0F else sign


def _without_latex(text: str) -> str:
    text = _INLINE.sub(r"\1", text)
    if "\\" not in text:
        return text
    text = _FRACTION.sub(lambda found: f" {found[1] or found[3]}/{found[2] or found[4]}", text)
    for pattern, plain in _SIGNS:
        text = pattern.sub(plain, text)
    without = _COMMAND.sub("", text)
    return without if without == text else without.replace("{", "").replace("}", "")


def lowered(text: str) -> str:
    """Lower case, sign for sign: as long as `text`."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(s.lower() if len(s.lower()) == 1 else s for s in text)


# ── words ──────────────────────────────────────────────────────────────────────────────────────

# Combining vowels and tones are part of a word: \w does not hold them in Arabic, Devanagari and Thai.
_MARKS = "\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962\u0963\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
_CHARACTER = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w,])|\d+\.\d+(?![\w.])"
_WORD = re.compile(
    rf"{_NUMBER}|[{_CHARACTER}]|(?:[^\W_{_CHARACTER}]|[{_MARKS}])+(?:'[^\W\d_]+)?|[+#&@$€£¥₹₩%°=<>]|-(?=\d)(?<![\w]-)"
)
_SYMBOL = re.compile("[^\\s\U0001f3fb-\U0001f3ff]")  # a text without words: emoji (of any skin colour), arrows, signs
_RANGE = re.compile(r"(?<=\d) ?[–—] ?(?=\d)")
_ARTICLE = re.compile(r"^\W*(?:a|an|the) (?=\w)")


def words(text: str) -> tuple[str, ...]:
    """Lower-case words of a bare text: no punctuation, no article in front, numbers in one format; its signs if it has none."""
    found = [one_format(word.group()) for word in _words_in(_ARTICLE.sub("", text.casefold(), count=1))]
    return tuple("and" if word == "&" else word for word in found)


def _words_in(text: str) -> list[re.Match[str]]:
    return list(_WORD.finditer(text)) or list(_SYMBOL.finditer(text))


def clauses(text: str) -> tuple[int, ...]:
    """For each of the `words` of a text, the number of its clause."""
    low = _ARTICLE.sub("", text.casefold(), count=1)
    numbers, clause, end = [], 0, 0
    for word in _words_in(low):
        clause += _CLAUSE_END.search(low, end, word.start()) is not None
        numbers.append(clause)
        end = word.end()
    return tuple(numbers)


_CLAUSE_END = re.compile(r"[.,;:!?\n]")


def one_format(number: str) -> str:
    """`1,200.0`, `1200`; `three`, `3`: one word each. What is no number stays as it is."""
    if number in SMALL_NUMBERS:
        return str(SMALL_NUMBERS[number])
    if not number[:1].isdigit() or not number.isascii() or not re.fullmatch(r"[\d,]+(?:\.\d+)?", number):
        return number
    plain = number.replace(",", "")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain


# ── frames ─────────────────────────────────────────────────────────────────────────────────────

_ADJECTIVES = re.compile(
    r"(?:(?:the|my|your|a|final|correct|best|right|most|likely|la|le|les|el|die|das|der|bonne|richtige|korrekte)\s+)*"
)
OPENERS = " \n\"'()[]{},!?;·:"
DECORATION = OPENERS + "."


def unframed(text: str) -> str:
    """What a short statement says: without `the answer is`, `it is`, `答案是`, `입니다` around it.

    >>> unframed("So the final answer is blue."), unframed("答案是蓝色"), unframed("blue")
    ('blue', '蓝色', 'blue')
    """
    low = lowered(text)
    at = _skip(low, 0)
    at = _skip(low, at + KINDS["so"].after(low, at))
    found = _ADJECTIVES.match(low, at)
    named = found.end() if found else at
    subject = (
        KINDS["answer"].after(low, named) or KINDS["option"].after(low, named) or KINDS["subject"].after(low, named)
    )
    short = KINDS["choose"].after(low, named) if not subject else 0  # "it's blue", "I choose blue"
    start = at
    if subject or short:
        after = _skip(low, named + subject + short)
        linked = after
        while step := KINDS["link"].after(low, linked):
            linked = _skip(low, linked + step)
        if linked > after or short:
            start = linked
    end = len(text)
    while end > start and (low[end - 1] in DECORATION or KINDS["close"].before(low[max(start, end - 12) : end])):
        end -= max(1, KINDS["close"].before(low[max(start, end - 12) : end]))
    return text[start:end].lstrip(OPENERS).rstrip(DECORATION)


def is_frame(text: str) -> bool:
    """Whether a lower-case text says nothing but that something is the answer."""
    at = 0
    while at < len(text):
        step = 1 if text[at] in DECORATION else max(KINDS[kind].after(text, at) for kind in _FRAME)
        if not step and (found := _PLAIN.match(text, at)):
            step = found.end() - at
        if not step:
            return False
        at += step
    return True


_FRAME = ("answer", "choose", "option", "subject", "link", "so", "right", "close")
_PLAIN = re.compile(
    r"(?:the|my|your|final|correct|best|right|i|we|would|will|la|le|les|el|l'|die|das|der|bonne|richtige|korrekte|я|我|私|yo|je|ich|tôi|我的|最终)\b ?|我|[=:→—–-]"
)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \n\"'([,":
        at += 1
    return at
