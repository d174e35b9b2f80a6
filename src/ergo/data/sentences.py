"""Answers in sentences, as DeepEyes and TreeVGR take them from V*'s training set, reduced to what a strict match can check.

Rules, in this order; an answer that none of them fits stays as it is, and is dropped if it is too long (`prepare.py`):

    yes or no      a question that begins with a verb, an answer that begins with Yes or No
    alternatives   "... left or right ...?": the one of both words that the answer says
    quotation      what the answer puts in quotation marks, if it is one thing
    predicate      "The colour of the car is red.": what follows the verb, if everything before it was in the question
"""

from __future__ import annotations

import re

_VERB = r"(?:is|are|was|were)"
_BEGINS_WITH_VERB = re.compile(r"(?:is|are|was|were|do|does|did|can|could|has|have|will)\b", re.IGNORECASE)
_YES_OR_NO = re.compile(r"(yes|no)\b", re.IGNORECASE)
_ALTERNATIVES = re.compile(r"([\w-]+) or (?:the |a |an |on the |to the |in )?([\w-]+)", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")
_PREDICATE = re.compile(rf"(?P<subject>.+?) {_VERB} (?P<rest>.+)", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:a|an|the)\s+", re.IGNORECASE)
_COMMON = frozenset(
    [
        "the",
        "a",
        "an",
        "of",
        "in",
        "on",
        "at",
        "to",
        "it",
        "its",
        "this",
        "that",
        "there",
        "s",
        "is",
        "are",
        "was",
        "were",
        "image",
        "picture",
        "photo",
    ]
)


def reduced(question: str, answer: str) -> str:
    """The answer without its sentence, where a rule fits; else as it was.

    >>> reduced("What is the color of the car?", "The color of the car is dark red.")
    'dark red'
    >>> reduced("Is the dog on the left or right side of the bench?", "The dog is on the left side of the bench.")
    'left'
    >>> reduced("Is there a bus?", "Yes, there is a bus behind the tree."), reduced("What does it say?", 'The sign says "STOP".')
    ('yes', 'STOP')
    >>> reduced("What is she holding?", "She is holding a cup, and the man beside her is holding a pot.")
    'She is holding a cup, and the man beside her is holding a pot.'
    """
    said = answer.strip().rstrip(".").strip()
    alternatives = _ALTERNATIVES.search(question)
    verdict = _YES_OR_NO.match(said)
    if verdict and not alternatives and _BEGINS_WITH_VERB.match(question.strip()):
        return verdict.group(1).lower()
    words = set(_words(said))
    if alternatives:
        found = [one for one in alternatives.groups() if one.lower() in words]
        return found[0].lower() if len(found) == 1 else answer
    quoted = _QUOTED.findall(said)
    if len(quoted) == 1:
        return str(quoted[0]).strip()
    sentence = _PREDICATE.fullmatch(said)
    if sentence and not quoted and set(_words(sentence["subject"])) <= set(_words(question)) | _COMMON:
        rest = _ARTICLE.sub("", sentence["rest"], count=1) if _ARTICLE.match(sentence["rest"]) else sentence["rest"]
        return rest if not re.search(r"[,;:]| and | which | that | because ", rest) else answer
    return answer


def _words(text: str) -> list[str]:
    return re.findall(r"[\w-]+", text.lower().replace("'s", " "))
