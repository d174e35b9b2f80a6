"""Options and answers in every form that people write them; the one parser of lettered options.

    a list, a dictionary by letter, columns A, B, C ..., `red|blue`, `(A) red (B) blue`, lines `A. red`,
    JSON or Python text of a list; the answer as an option's letter, its text, both, or a list of them

ValueError says why a form is refused.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

_LINE = re.compile(r"\s*[(\[（]?([A-Z])[)\].:、）：．]\s*(\S.*?)\s*", re.DOTALL)
_INLINE = re.compile(r"(?:^|(?<=[\s,;|]))[(\[（]?([A-Z])[)\].:、）：．]\s*")
_NUMPY = re.compile(r"(?<=['\"])\s+(?=['\"])")
_MISSING = ("", "nan", "none", "null")


@dataclass(frozen=True)
class Options:
    """texts: in the order shown. lettered: they came with their letters, so an answer is a letter first."""

    texts: tuple[str, ...] = ()
    lettered: bool = False


@dataclass(frozen=True)
class Prompt:
    """A text taken apart at the lines of its options. rest: what follows them ("Answer with the letter.")."""

    question: str
    options: tuple[str, ...]
    rest: str = ""


def split_prompt(text: str) -> Prompt:
    """The question, and the options that stand in lines of their own behind it, lettered from A on.

    >>> split_prompt("What colour?\\n(A) red\\n(B) blue\\nAnswer directly.")
    Prompt(question='What colour?', options=('red', 'blue'), rest='Answer directly.')
    """
    lines = text.strip().splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    for start, first in enumerate(found):
        if start == 0 or first is None or first[1] != "A":
            continue
        end = start
        while end < len(lines) and (option := found[end]) and option[1] == ascii_uppercase[min(end - start, 25)]:
            end += 1
        if end - start > 1:
            options = tuple(option[2] for option in found[start:end] if option)
            return Prompt("\n".join(lines[:start]).strip(), options, "\n".join(lines[end:]).strip())
    return Prompt(text.strip(), ())


def is_missing(cell: object) -> bool:
    """Whether a cell holds nothing: None, NaN, blanks."""
    return (
        cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip())
    )


def options_of(cell: Any) -> Options:
    """The options in one cell.

    >>> options_of("['red', 'blue']").texts, options_of({"A": "red", "B": "blue"}).texts, options_of("A. red B. blue").texts
    (('red', 'blue'), ('red', 'blue'), ('red', 'blue'))
    """
    if isinstance(cell, str):
        cell = _structured(cell.strip())
    if is_missing(cell) or (isinstance(cell, str) and cell.casefold() in _MISSING):
        return Options()
    if isinstance(cell, Mapping):
        return _by_letter(cell)
    if isinstance(cell, str):
        return _in_text(cell)
    if not isinstance(cell, Sequence):
        raise ValueError(f"choices are a list, or texts separated by |, not {cell!r}")
    return checked([_text(one) for one in cell]) if len(cell) else Options()


def from_columns(cells: Sequence[tuple[str, Any]]) -> Options:
    """The options in columns A, B, C ...; empty ones at the end are none."""
    texts = ["" if is_missing(cell) or str(cell).casefold() == "nan" else _text(cell) for _, cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    if not texts:
        return Options()
    letters = [letter for letter, _ in cells[: len(texts)]]
    if letters != list(ascii_uppercase[: len(letters)]):
        raise ValueError(f"columns of options are {', '.join(letters)}: not A, B, C ... without a gap")
    return Options(checked(texts).texts, True)


def checked(texts: Sequence[str]) -> Options:
    """Options that can be shown with letters; letters that they bring along are taken off, if all do."""
    if len(texts) > 26:
        raise ValueError(f"{len(texts)} options, and there are letters for 26")
    lines = [_LINE.fullmatch(text) for text in texts]
    lettered = [line[1] for line in lines if line] == list(ascii_uppercase[: len(texts)])
    if lettered:
        texts = [line[2] for line in lines if line]
    texts = [text.strip() for text in texts]
    if len(texts) == 1:
        raise ValueError(f"only one option, {texts[0]!r}; several are a list, or separated by |")
    if empty := [ascii_uppercase[place] for place, text in enumerate(texts) if not text]:
        raise ValueError(f"option {empty[0]} is empty")
    return Options(tuple(texts), lettered)


def _structured(text: str) -> Any:
    """The list or dictionary that a text is, as JSON, Python or NumPy print them; else the text."""
    if text[:1] not in "[{(" or not text or text[-1] not in "]})" or _LINE.fullmatch(text):
        return text
    for read in (json.loads, lambda one: ast.literal_eval(_NUMPY.sub(", ", one))):
        try:
            value = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, list | tuple | dict):
            return value
    return text


def _by_letter(cell: Mapping[str, Any]) -> Options:
    labels, texts = cell.get("label"), cell.get("text")
    if isinstance(labels, Sequence) and isinstance(texts, Sequence) and not isinstance(texts, str):
        cell = dict(zip(labels, texts, strict=True))
    letters = {str(key).strip().strip("().").upper(): value for key, value in cell.items() if not is_missing(value)}
    if sorted(letters) != list(ascii_uppercase[: len(letters)]) or len(letters) != len(
        [v for v in cell.values() if not is_missing(v)]
    ):
        raise ValueError(
            f"choices by letter have the letters A, B, C ... without a gap, not {', '.join(map(str, cell))}"
        )
    return Options(checked([_text(letters[letter]) for letter in sorted(letters)]).texts, True)


def _in_text(text: str) -> Options:
    if "|" in text:
        return checked([part for part in text.split("|")])
    places: list[re.Match[str]] = []
    for found in _INLINE.finditer(text):
        if len(places) < 26 and found[1] == ascii_uppercase[len(places)]:
            places.append(found)
    if len(places) > 1:
        ends = [*(found.start() for found in places[1:]), len(text)]
        parts = [text[found.end() : end].strip(" \t\r\n;,") for found, end in zip(places, ends, strict=True)]
        return Options(checked(parts).texts, True)
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return checked(lines)
    raise ValueError(f"choices {text[:60]!r} are one text; separate them by |, or write a list")


def _text(value: Any) -> str:
    """One option or answer as text: numbers without a needless fraction."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise ValueError(f"{value!r} is neither text nor number")


# ── answers ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Answer:
    """text: the right one; also: others that are right as well. place: of the right option, where its text is not enough."""

    text: str
    also: tuple[str, ...] = ()
    place: int | None = None


_LETTER = re.compile(r"[(\[]?\s*([A-Za-z])\s*[)\]]?[.:]?")


def answer_of(cell: Any, options: Options) -> Answer:
    """The right answer in a cell; a list holds several, any of which is right.

    >>> answer_of("B", Options(("red", "blue"))).text, answer_of(["red", "crimson"], Options())
    ('blue', Answer(text='red', also=('crimson',), place=None))
    """
    if isinstance(cell, str) and cell.strip()[:1] == "[":
        cell = _structured(cell.strip())
    cells = list(cell) if isinstance(cell, list | tuple) else [cell]
    if not cells or all(is_missing(one) for one in cells):
        raise ValueError("no answer; a test set without answers cannot be scored")
    if any(is_missing(one) for one in cells):
        raise ValueError("one of its answers is empty")
    if not options.texts:
        texts = list(dict.fromkeys(_text(one).strip() for one in cells))
        return Answer(texts[0], tuple(texts[1:]))
    places = list(dict.fromkeys(_place(one, options) for one in cells))
    text = options.texts[places[0]]
    also = tuple(options.texts[place] for place in places[1:])
    return Answer(text, also, places[0] if options.texts.count(text) > 1 else None)


def _place(cell: Any, options: Options) -> int:
    """Which option an answer is: for lettered options by letter first, else by text first."""
    stated, texts = _text(cell).strip(), options.texts
    letter = _LETTER.fullmatch(stated)
    place = ord(letter[1].upper()) - 65 if letter else -1
    if options.lettered and 0 <= place < len(texts):
        return place
    same = [at for at, text in enumerate(texts) if text == stated] or [
        at for at, text in enumerate(texts) if text.casefold() == stated.casefold()
    ]
    if same:
        return same[0]
    if 0 <= place < len(texts):
        return place
    both = _LINE.fullmatch(stated)
    if both and (place := ord(both[1]) - 65) < len(texts) and both[2].casefold() == texts[place].casefold():
        return place
    if isinstance(cell, bool):
        other = [at for at, text in enumerate(texts) if text.casefold() == str(cell).casefold()]
        if other:
            return other[0]
    if isinstance(cell, int | float):
        raise ValueError(f"the answer {stated} is a number and none of its options: give the letter or the text")
    raise ValueError(
        f"the answer {stated!r} is none of its options {', '.join(texts)}, nor a letter from A to {chr(64 + len(texts))}"
    )
