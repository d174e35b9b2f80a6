"""A reply's answer -> right or wrong, without a judge. Two presets, so that no score is a matter of taste:

    published   the released code's match (nota-github/ERGO src/ergo/eval.py @ c6d6742), faults included:
                all ASCII letters of the first <answer>, or of the whole reply where there is none,
                compared with the right letter
    ours        a reply that plainly names one option, by letter or by text, has chosen it; a free answer
                is compared as number, as yes or no, as text. Every rule is a function below

What "ours" never does: guess. A reply that names two options, or a letter and another option's text,
has chosen nothing, and how it was read is named so that it can be counted.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Matching = Literal["published", "ours"]
MATCHINGS: tuple[Matching, ...] = ("published", "ours")


@dataclass(frozen=True)
class Choice:
    """Which option a reply chose. index: None where it chose none; reading: how that was told.

    Read: letter, letter_and_text, said_letter, bracketed, last_letter, text, text_within.
    Not read: empty, several, contradiction, outside, unread.
    """

    index: int | None
    reading: str


@dataclass(frozen=True)
class Verdict:
    """right: the score of one reply. reading: how the reply was read, a short stable name for counting."""

    right: bool
    reading: str


def grade(matching: Matching, reply: str, text: str, answer: str, choices: Sequence[str] = ()) -> Verdict:
    """The verdict on a reply.

    reply: the last reply as it came. text: the answer a Dialect read from it. answer: the true text;
    with choices, one of them. choices: option texts in the order shown; empty for free answers.
    """
    if matching == "published":
        return grade_published(reply, answer, choices)
    return grade_ours(text, answer, choices)


def grade_published(reply: str, answer: str, choices: Sequence[str] = ()) -> Verdict:
    """The released match, kept as it is for comparison.

    >>> grade_published("<answer>(A)</answer>", "red", ("red", "blue")).right
    True
    >>> grade_published("<answer>A: red</answer>", "red", ("red", "blue")).right  # all letters: "Ared"
    False
    """
    opened = reply.split("<answer>")
    body = opened[1].split("</answer>")[0].strip() if len(opened) > 1 else ""
    letters = "".join(re.findall("[a-zA-Z]", body or reply))
    return Verdict(letters.lower() == _label(answer, choices).lower(), "letters" if letters else "empty")


def _label(answer: str, choices: Sequence[str]) -> str:
    """What the released code compares with: the right option's letter, or the free answer itself."""
    return chr(65 + choices.index(answer)) if answer in choices else answer


def grade_ours(text: str, answer: str, choices: Sequence[str] = ()) -> Verdict:
    """Our match.

    >>> grade_ours("A: red", "red", ("red", "blue"))
    Verdict(right=True, reading='letter_and_text')
    >>> grade_ours("1,200.0", "1200").right
    True
    """
    if not choices:
        return _grade_free(text, answer)
    choice = choice_of(text, choices)
    return Verdict(choice.index is not None and choices[choice.index] == answer, choice.reading)


# ── which option ───────────────────────────────────────────────────────────────────────────────

_LONE = re.compile(
    r"(?:the )?(?:(?:final |correct |best )?(?:answer|option|choice|letter)\b[ :=]*(?:is )?)?[\(\[\"'<]?\s*([A-Za-z])\s*[\)\]\"'>]?[.:,;!]*",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"[\(\[]?([A-Za-z])(?:[\)\]][.:,]?|[.:,]|\s+[-–—])\s+(.+)|([A-Za-z]):(\S.*)|[\(\[]([A-Za-z])[\)\]](\S.*)", re.DOTALL
)
_SPACED = re.compile(r"([A-Z])\s+(.+)", re.DOTALL)
_SAID = re.compile(
    r"\b(?:[Aa]nswer|ANSWER|[Oo]ption|[Cc]hoice|[Ll]etter|[Cc]hoose|[Pp]ick|[Ss]elect)\b['\"]?\s*"
    r"(?:(?:is|would be|should be|must be|:|=)\s*)*(?:the\s+)?(?:(?:option|choice|letter)\s*:?\s*)?"
    r"(?:[\(\[\"']\s*([A-Za-z])\s*[\)\]\"']|([A-Z])\b(?!['’]))(.{0,12})",
    re.DOTALL,
)
_BRACKETED = re.compile(r"[\(\[]([A-Z])[\)\]]")
_LAST = re.compile(r"\s([A-Z])[.)!]*$")
_MORE = re.compile(r"\s*(?:,|/|&|and|or)\s*[\(\[]?[A-Z]\b")
_ARTICLE = re.compile(r"\s+(?!because\b|since\b|as\b|for\b|and\b|or\b|is\b)[a-z]")
_OPENING = re.compile(
    r"^(?:so |thus |therefore )?(?:the )?(?:(?:final |correct |best )?(?:answer|option|choice) (?:is |would be )?|it (?:is|looks|appears|seems)(?: to be)? |it's |it s |this is |that is |i see |i think (?:it is )?)+"
)


def choice_of(text: str, choices: Sequence[str]) -> Choice:
    """The option that `text` names.

    Rules in order; the first that says something decides: nothing but a letter; a letter, then the
    option; "the answer is B"; an option's text; one letter in brackets; one option's text inside the
    reply; a letter at its very end.
    """
    body = _bare(text)
    if not body:
        return Choice(None, "empty")
    for rule in (_lone_letter, _leading_letter, _said_letter, _whole_text, _bracketed, _text_within, _last_letter):
        choice = rule(body, choices)
        if choice is not None:
            return choice
    return Choice(None, "unread")


def _lone_letter(body: str, choices: Sequence[str]) -> Choice | None:
    """`B`, `(b)`, `B.`, `Option B`, `answer: B`."""
    found = _LONE.fullmatch(body)
    if found is None:
        return None
    index = _index(found.group(1), choices)
    return Choice(index, "letter" if index is not None else "outside")


def _leading_letter(body: str, choices: Sequence[str]) -> Choice | None:
    """`B: blue`, `(B) blue`, `B. blue, for ...`, `B - blue`, and `B blue` where blue is option B."""
    found = _LEAD.fullmatch(body)
    if found is None:
        spaced = _SPACED.fullmatch(body)
        index = _index(spaced.group(1), choices) if spaced else None
        if spaced is None or index is None or _words(spaced.group(2)) != _words(choices[index]):
            return None
        return Choice(index, "letter_and_text")
    letter, rest = (group for group in found.groups() if group is not None)
    index = _index(letter, choices)
    if index is None:
        return None
    other = _whole_text(rest, choices) or _lone_letter(rest, choices) or _said_letter(rest, choices)
    if other is not None and other.index not in (index, None):
        return Choice(None, "several" if other.reading == "letter" else "contradiction")
    own, said = _words(choices[index]), _words(rest)
    if not _starts(said, own) and any(_starts(said, _words(choice)) for choice in choices):
        return Choice(None, "contradiction")
    return Choice(index, "letter_and_text")


def _said_letter(body: str, choices: Sequence[str]) -> Choice | None:
    """`the answer is (B)`; the last one said, for models correct themselves."""
    said: Choice | None = None
    for found in _SAID.finditer(body):
        bracketed, bare, after = found.groups()
        index = _index(bracketed or bare, choices)
        if bare == "A" and _ARTICLE.match(after):  # "Answer: A dog"
            continue
        if _MORE.match(after):
            said = Choice(None, "several")
        elif index is not None:
            said = Choice(index, "said_letter")
    return said


def _whole_text(body: str, choices: Sequence[str]) -> Choice | None:
    """`blue`, `The answer is blue.`"""
    for said in (_words(body), _words(_OPENING.sub("", " ".join(_words(body, articles=True))))):
        same = [index for index, choice in enumerate(choices) if said and _words(choice) == said]
        if same:
            return Choice(same[0], "text") if len(same) == 1 else Choice(None, "several")
    return None


def _bracketed(body: str, choices: Sequence[str]) -> Choice | None:
    """`The car is blue, so (B) fits`."""
    letters = {index for letter in _BRACKETED.findall(body) if (index := _index(letter, choices)) is not None}
    if not letters:
        return None
    return Choice(letters.pop(), "bracketed") if len(letters) == 1 else Choice(None, "several")


def _text_within(body: str, choices: Sequence[str]) -> Choice | None:
    """`The car looks blue to me`: exactly one option is spoken of, and not to deny it.

    An option inside a longer one that is also spoken of (`left` in `top left`) does not count.
    """
    said = _words(body)
    spoken = {index for index, choice in enumerate(choices) if _speaks_of(said, _words(choice))}
    spoken = {
        index
        for index in spoken
        if not any(
            len(_words(choices[other])) > len(_words(choices[index]))
            and _speaks_of(_words(choices[other]), _words(choices[index]))
            for other in spoken
        )
    }
    if not spoken:
        return None
    return Choice(spoken.pop(), "text_within") if len(spoken) == 1 else Choice(None, "several")


def _last_letter(body: str, choices: Sequence[str]) -> Choice | None:
    """`..., so I would say B.`"""
    found = _LAST.search(body)
    index = _index(found.group(1), choices) if found else None
    if found is None or index is None:
        return None
    others = {letter for letter in re.findall(r"\b([B-HJ-Z])\b", body) if _index(letter, choices) is not None}
    return Choice(index, "last_letter") if others <= {found.group(1)} else Choice(None, "several")


def _index(letter: str, choices: Sequence[str]) -> int | None:
    number = ord(letter.upper()) - 65
    return number if number < len(choices) else None


# ── free answers ───────────────────────────────────────────────────────────────────────────────


def _grade_free(text: str, answer: str) -> Verdict:
    """Numbers by value, yes and no by the first word, all else by its words.

    A phrase is found inside a longer reply only if it is not denied and nothing is offered beside it
    with "or".
    """
    said, truth = _words(text), _words(answer)
    if not said:
        return Verdict(False, "empty")
    opened = _words(_OPENING.sub("", " ".join(_words(text, articles=True))))
    if truth in (said, opened):
        return Verdict(True, "text")
    if (number := _number(answer)) is not None:
        numbers = _numbers(text)
        return Verdict(numbers == {number}, "number" if len(numbers) == 1 else "several" if numbers else "unread")
    if truth[:1] in (("yes",), ("no",)) and len(truth) == 1:
        return Verdict(said[:1] == truth, "yes_no")
    if _speaks_of(said, truth) and "or" not in said:
        return Verdict(True, "text_within")
    return Verdict(False, "text")


_NUMBER = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-+]?\d+(?:\.\d+)?")
_SPELLED = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)
_NUMBER_WORDS = {word: str(value) for value, word in enumerate(_SPELLED.split())}


def _number(text: str) -> Decimal | None:
    """The value, if the text is one number with perhaps a sign or unit before or behind it."""
    found = _numbers(text)
    return found.copy().pop() if len(found) == 1 and len(_words(text)) <= 2 else None


def _numbers(text: str) -> set[Decimal]:
    """Values in a text: `1,200`, `1200.0` and `3.50` are formats of one value each, `three` is 3."""
    words = _NUMBER_WORDS
    spelled = re.sub(r"[A-Za-z]+", lambda found: words.get(found.group().lower(), found.group()), text)
    return {Decimal(found.replace(",", "")).normalize() for found in _NUMBER.findall(spelled)}


# ── words ──────────────────────────────────────────────────────────────────────────────────────

_BOXED = re.compile(r"\\(?:boxed|text|mathrm)\s*\{([^{}]*)\}")
_DENIALS = frozenset(("not", "isn't", "isnt", "no", "neither", "nor", "never", "without", "aren't", "wasn't"))


def _bare(text: str) -> str:
    """Without markdown, LaTeX boxes and typographic variants."""
    text = unicodedata.normalize("NFKC", text)
    for _ in range(2):  # \boxed{\text{B}}
        text = _BOXED.sub(r"\1", text)
    return " ".join(re.sub(r"[*`$#]|__", "", text).split())


def _words(text: str, articles: bool = False) -> tuple[str, ...]:
    """Lower-case words for comparison: no punctuation, numbers in one format; articles only if asked for."""
    bare = _bare(text).casefold().replace("’", "'")
    raw = re.findall(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?|[-+]?\d+(?:\.\d+)?|[^\W_]+(?:'[^\W_]+)?|%", bare)
    words = [_same_format(word) for word in raw]
    if articles:
        return tuple(words)
    return tuple(word for word in words if word not in ("a", "an", "the")) or tuple(words)


def _same_format(word: str) -> str:
    if word in _NUMBER_WORDS:
        return _NUMBER_WORDS[word]
    return f"{Decimal(word.replace(',', '')).normalize():f}" if _NUMBER.fullmatch(word) else word


def _speaks_of(said: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    """Whether `phrase` stands in `said` as whole words, at least once without a denial just before it."""
    size = len(phrase)
    places = [start for start in range(len(said) - size + 1) if size and said[start : start + size] == phrase]
    return any(not _DENIALS.intersection(said[max(0, start - 2) : start]) for start in places)


def _starts(said: tuple[str, ...], phrase: tuple[str, ...]) -> bool:
    return said[: len(phrase)] == phrase
