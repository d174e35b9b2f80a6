"""Which option a reply chose: `strictly`, as rewards read it, and `plainly`, as a benchmark reads it.

strictly: the whole reply is one option, by letter, by text or by both, with at most `the answer is` around it.
plainly: somewhere the reply says which option is the answer, and nowhere that another one is. A later
statement counts over an earlier one only behind a word of correction ("wait", "actually", "其实"). Where
nothing is stated, one letter in brackets, or one option spoken of, is enough. Never is a guess made: every
other reply has chosen nothing, and the reason says why.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ergo.grading.claims import Claim, after_corrections, claims_in
from ergo.grading.kinds import KINDS
from ergo.grading.letters import Mention, latin, mentions
from ergo.grading.spoken import Texts, is_hedged, spoken_options, taken_back
from ergo.grading.text import DECORATION, bare, is_frame, lowered, unframed, words
from ergo.grading.truth import Choice


def strictly(text: str, options: Sequence[str]) -> Choice:
    """The option that the reply is, and nothing else.

    >>> strictly("(B) blue", ("red", "blue")), strictly("B, because it is dark", ("red", "blue"))
    (Choice(place=1, reason='letter_and_text'), Choice(place=None, reason='more_said'))
    """
    reason = taken_back(text, options)
    if reason:
        return Choice(None, reason)
    body, shown = latin(bare(text)), [lowered(bare(option)) for option in options]
    texts = tuple(words(option) for option in shown)
    whole = _whole(body, texts, shown)
    if whole is not None:
        return whole
    plain = plainly(text, options)
    return plain if plain.place is None else Choice(None, "hedge" if is_hedged(body) else "more_said")


def _whole(body: str, texts: Texts, shown: Sequence[str]) -> Choice | None:
    """The option that the whole reply is; None where it is more than one option or none."""
    if not body.strip(DECORATION):
        return Choice(None, "empty")
    for stated in (body, unframed(body)):
        letter = _LONE.fullmatch(stated)
        if letter and (place := ord(letter[1].upper()) - 65) < len(texts):
            return Choice(place, "letter")
        if (named := words(stated)) in texts and named:
            return Choice(texts.index(named), "text")  # options of one text say the same
        both = _LETTERED.fullmatch(stated)
        if both and (place := ord(both[1].upper()) - 65) < len(texts):
            rest = words(unframed(both[2]))
            if rest in texts:
                return Choice(place, "letter_and_text") if rest == texts[place] else Choice(None, "contradiction")
    found = mentions(body, shown) if len(body) < LONGEST_FRAME else []
    if (
        len(found) == 1
        and found[0].stated == "answer"
        and len(found[0].places) == 1
        and found[0].places[0] < len(texts)
    ):
        low = lowered(body)
        if is_frame(low[: found[0].start]) and is_frame(low[found[0].end :]):
            return Choice(found[0].places[0], "letter")
    return None


LONGEST_FRAME = 200  # signs; no reply that says nothing but one letter is longer
_OPTION = "|".join(re.escape(word) for word in KINDS["option"].phrases)
_LONE = re.compile(
    rf"(?:(?:the )?(?:(?:correct|best|right) )?(?:{_OPTION})[ :]*)?[\s\"'(\[{{<]*([A-Za-z])[\s\"')\]}}>]*(?:{_OPTION})?[.:,;!]*",
    re.IGNORECASE,
)
_LETTERED = re.compile(
    rf"(?:(?:{_OPTION})[ :]*)?[\s(\[\"']*([A-Za-z])(?:\s?[)\]\"']\s?[.:,-]?\s*|\s?[.:,;=]\s*|\s+[-–—]\s+|\s+)(\S.*)",
    re.IGNORECASE | re.DOTALL,
)


# ── plainly ────────────────────────────────────────────────────────────────────────────────────


def plainly(text: str, options: Sequence[str]) -> Choice:
    """The option that the reply says is the answer.

    >>> plainly("Answer: B\\nOption A describes the flag.", ("red", "blue"))
    Choice(place=1, reason='stated')
    >>> plainly("A or B", ("red", "blue")).reason, plainly("The answer is not B", ("red", "blue")).reason
    ('several', 'denied')
    """
    body, shown = latin(bare(text)), [lowered(bare(option)) for option in options]
    texts = tuple(words(option) for option in shown)
    whole = _whole(body, texts, shown)
    if whole is not None:
        return whole
    body = _without_listing(body, options)
    found = [one for one in mentions(body, shown) if one.stated != "denied" or min(one.places) < len(options)]
    claims, denied = after_corrections(body, claims_in(body, found, texts), found)
    if any(claim.reason == "contradiction" for claim in claims):
        return Choice(None, "contradiction")
    inside = [claim for claim in claims if all(place < len(options) for place in claim.places)]
    if inside:
        return _agreed(inside, denied, texts)
    if claims:
        return Choice(None, "outside")
    return _spoken_of(body, found, denied, texts)


def _agreed(claims: list[Claim], denied: set[int], texts: Texts) -> Choice:
    chosen = {texts[place]: place for claim in claims for place in reversed(claim.places)}
    if any(len(claim.places) > 1 for claim in claims):
        return Choice(None, "several")
    if len(chosen) > 1 or denied.intersection(chosen.values()):
        return Choice(None, "contradiction")
    return Choice(claims[0].places[0], claims[-1].reason if len(claims) == 1 else "stated")


def _without_listing(body: str, options: Sequence[str]) -> str:
    """Without the options where the reply repeats two or more of them in a row, unless it says nothing else."""
    items = "|".join(
        rf"[(\[]?{chr(65 + place)}[)\].:] ?{re.escape(bare(option))}"
        for place, option in enumerate(options[:26])
        if option.strip()
    )
    if not items:
        return body
    rest = re.sub(rf"(?:(?<!\w)(?:{items})(?!\w)[\s,;.]*){{2,}}", "\n", body, flags=re.IGNORECASE).strip()
    return rest or body


def _spoken_of(body: str, found: list[Mention], denied: set[int], texts: Texts) -> Choice:
    """Nothing is stated: one letter in brackets, one option's text, a letter that something is."""
    inside = [one for one in found if one.stated != "denied" and all(place < len(texts) for place in one.places)]
    shut = {place for one in inside if one.shut for place in one.places}
    spoken, refused = spoken_options(body, texts)
    linked = {place for one in inside if one.stated == "linked" for place in one.places}
    for named, against, reason in (
        (shut, spoken, "bracketed"),
        (spoken, linked, "text_within"),
        (linked, set[int](), "linked_letter"),
    ):
        if len(named) > 1:
            return Choice(None, "several")
        if named:
            (only,) = named
            contradicted = only in denied | refused or bool(against and only not in against)
            return Choice(None, "contradiction") if contradicted else Choice(only, reason)
    if any(len(one.places) > 1 for one in inside):
        return Choice(None, "several")
    if denied or refused:
        return Choice(None, "denied")
    outside = [one for one in found if one.stated != "denied" and any(place >= len(texts) for place in one.places)]
    return Choice(None, "outside" if outside and len(body) < 12 else "unread")
