"""All phrases of one kind, of every language, and whether a text begins or ends with one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from ergo.grading.phrasings import LANGUAGES, Phrases

_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\w]")


@dataclass(frozen=True)
class Kind:
    """All phrases of one kind, of every language, and how they are found at an end of a text."""

    phrases: tuple[str, ...]
    stems: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, listed: Iterable[str]) -> Kind:
        found = {phrase for text in listed for phrase in unicodedata.normalize("NFKC", text).split("|") if phrase}
        plain = {phrase.removesuffix("*") for phrase in found}
        return cls(tuple(sorted(plain, key=len, reverse=True)), frozenset(p[:-1] for p in found if p.endswith("*")))

    def before(self, text: str) -> int:
        """How many characters at the end of `text` are such a phrase; 0 for none."""
        if text.endswith(self.phrases):
            for phrase in self.phrases:
                if text.endswith(phrase) and _apart(text[-len(phrase) - 1 : -len(phrase)], phrase[0]):
                    return len(phrase)
        return 0

    def after(self, text: str, start: int = 0) -> int:
        """How many characters of `text` from `start` on are such a phrase; 0 for none."""
        if text.startswith(self.phrases, start):
            for phrase in self.phrases:
                end = start + len(phrase)
                if not text.startswith(phrase, start):
                    continue
                if phrase in self.stems:
                    while text[end : end + 1].isalpha():
                        end += 1
                    return end - start
                if _apart(text[end : end + 1], phrase[-1]):
                    return len(phrase)
        return 0


def _apart(neighbour: str, edge: str) -> bool:
    """Whether a phrase ends here: no letter goes on, or the script is written without spaces."""
    return not neighbour or not (neighbour.isalnum() or neighbour == "'") or _UNSPACED.match(edge) is not None


def _of(kind: str) -> Kind:
    return Kind.of(getattr(language, kind) for language in LANGUAGES.values())


KINDS = {one.name: _of(one.name) for one in fields(Phrases)}
