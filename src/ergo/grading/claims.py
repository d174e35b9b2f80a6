"""Statements in a reply that an option is the answer: by letter, by a letter in front or alone on a line, by text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from ergo.grading.kinds import KINDS
from ergo.grading.letters import Mention
from ergo.grading.spoken import Texts
from ergo.grading.text import DECORATION, lowered, unframed, words


@dataclass(frozen=True)
class Claim:
    """A statement that options are the answer. at: where in the reply. final: it is called the final one."""

    places: tuple[int, ...]
    at: int
    reason: str
    final: bool = False


def claims_in(body: str, found: list[Mention], texts: Texts) -> list[Claim]:
    """Statements by letter, by a letter in front or alone on a line, and by text."""
    low = lowered(body)
    fronts = {one.start: one for one in found if one.stated != "denied" and _opens_line(body, one)}
    counted = [one for one in fronts.values() if not _stands_alone(body, one)]
    listing = len({one.places for one in counted}) > 1 and counted[0].places == (0,)
    listed = counted[:1] if listing else []  # "Consider each option:" does not say that A is the answer
    claims = []
    for one in found:
        if one.stated == "answer" and not (one in listed and low[: one.start].rstrip().endswith(":")):
            final = "final" in low[max(0, one.start - 40) : one.start]
            claims.append(Claim(one.places, one.start, _reason(body, one, texts, "stated"), final))
        elif one.start in fronts:
            first = one.start == 0 or not body[: one.start].strip(DECORATION)
            if _stands_alone(body, one) or (not listing and (first or _is_own_text(body, one, texts))):
                claims.append(Claim(one.places, one.start, _reason(body, one, texts, "letter")))
    return sorted([*claims, *_text_claims(body, texts)], key=lambda claim: claim.at)


_BEHIND_FRONT = re.compile(
    r"[\s\"')\]}>]*(?:[.:,;!)=]|\n|\Z|[-–—] |(?:because|since|as|for|which|due|parce|porque|weil|потому|因为)\b)",
    re.IGNORECASE,
)


def _opens_line(body: str, one: Mention) -> bool:
    line = body.rfind("\n", 0, one.start) + 1
    before = body[line : one.start].strip(" \"'([{<•-")
    opened = not before or (len(before) < 24 and KINDS["option"].before(lowered(before)) == len(before))
    end = one.end + KINDS["option"].after(lowered(body[one.end : one.end + 12]))
    return opened and (one.shut or _BEHIND_FRONT.match(body, end) is not None)


def _stands_alone(body: str, one: Mention) -> bool:
    end = body.find("\n", one.end)
    rest = lowered(body[one.end : end if end >= 0 else len(body)][:40]).strip(DECORATION)
    return not rest or KINDS["option"].after(rest) == len(rest)


def _rest_of_line(body: str, one: Mention) -> str:
    end = body.find("\n", one.end)
    return body[one.end : min(end if end >= 0 else len(body), one.end + 400)].lstrip(" \"')]}.:,;=-–—")


def _is_own_text(body: str, one: Mention, texts: Texts) -> bool:
    return (
        len(one.places) == 1 and one.places[0] < len(texts) and words(_rest_of_line(body, one)) == texts[one.places[0]]
    )


def _reason(body: str, one: Mention, texts: Texts, reason: str) -> str:
    """`contradiction` where another option's text follows the letter."""
    if len(one.places) != 1 or one.places[0] >= len(texts) or body[one.end : one.end + 1] == "\n":
        return reason
    stated = words(_rest_of_line(body, one))
    own = texts[one.places[0]]
    if own and stated[: len(own)] == own:
        longer = [text for text in texts if len(text) > len(own) and stated[: len(text)] == text]
        return "contradiction" if longer else "letter_and_text" if reason == "letter" else reason
    return "contradiction" if any(text and stated[: len(text)] == text for text in texts) else reason


_SENTENCE = re.compile(r"[^\n.!?;]+(?:\.(?=\d)[^\n.!?;]+)*")


_CORRECTED = re.compile(r"^(?:wait|actually|correction|sorry|no)[\s,:.-]+", re.IGNORECASE)


def _text_claims(body: str, texts: Texts) -> list[Claim]:
    """`The answer is blue.`, and a sentence that is nothing but an option's text."""
    claims = []
    longest = 16 + 8 * max((sum(map(len, text)) for text in texts), default=0)
    known: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(texts):
        known.setdefault(text, place)
    for sentence in _SENTENCE.finditer(body):
        if len(sentence.group()) > longest + 120:
            continue
        corrected = _CORRECTED.sub("", sentence.group().strip())
        for stated in (corrected, unframed(corrected)):
            named = known.get(words(stated)) if len(stated) > 1 else None
            if named is not None:
                claims.append(
                    Claim((named,), sentence.end() - len(corrected), "text", "final" in sentence.group().casefold())
                )
                break
    return claims


def after_corrections(body: str, claims: list[Claim], found: list[Mention]) -> tuple[list[Claim], set[int]]:
    """Claims that still stand, and options that are still denied: a word of correction ends what was stated before it."""
    low = lowered(body)
    since = 0
    for earlier, later in pairwise(claims):
        if later.places != earlier.places and (later.final or _corrects(low[earlier.at + 1 : later.at][-400:])):
            since = later.at
    kept = [claim for claim in claims if claim.at >= since]
    denied = {place for one in found if one.stated == "denied" and one.start >= since for place in one.places}
    return kept, denied


def _corrects(between: str) -> bool:
    starts = [0, *(found.end() for found in re.finditer(r"[\s.,!?;:\"'(-]+", between))]
    return any(KINDS["correction"].after(between, start) for start in starts) or any(
        phrase in between for phrase in KINDS["correction"].phrases if not phrase.isascii()
    )
