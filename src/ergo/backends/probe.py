"""What a model and its server really do, seen from four small pictures of known truth.

A model's boxes are read in its family's frame, and a server may shrink what it is sent or lose its cache without a
word. Here the truth is known, so each is measured and not believed: `examine` asks where a red rectangle is, in two
shapes and two sizes, reads the replies in every frame there is, and compares the tokens a server counts with ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import NamedTuple

from PIL import Image, ImageDraw

from ergo.backends import Model
from ergo.core.errors import BackendError
from ergo.core.flows import LookConfig
from ergo.core.geometry import Box, Size
from ergo.core.messages import Completion, Message, Request, Sampling
from ergo.core.view import View
from ergo.families import FAMILIES
from ergo.families.base import ModelFamily
from ergo.families.forms import Frame, read_regions
from ergo.families.replies import split_thought
from ergo.images.picture import Picture

QUESTION = "Where is the red rectangle?"
SMALL, LARGE = 0.5, 2.0
"""Sides of what a token sees, a unit of the pictures below: some shown as they are, and some shrunk to the budget."""
SHAPES = (Size(40, 20), Size(20, 40))
TRUTHS = (Box(23, 4, 33, 12), Box(4, 23, 12, 33))
"""Far from the middle and from each other's mirror image, so that no frame or order is taken for another."""
FOUND = 0.5
"""IoU from which a region counts as found."""


class Reading(NamedTuple):
    """One way to read four numbers. of_source: pixels of the picture, not of what was shown of it."""

    frame: Frame
    y_first: bool
    of_source: bool = False

    def __str__(self) -> str:
        counts = {"pixels": "pixels of the view", "thousandths": "0..1000", "fractions": "0..1"}[self.frame]
        return f"{'pixels of the whole picture' if self.of_source else counts}, {'y' if self.y_first else 'x'} first"


_FRAMES: tuple[tuple[Frame, bool], ...] = (
    ("pixels", False),
    ("thousandths", False),
    ("fractions", False),
    ("pixels", True),
)
READINGS = tuple(Reading(frame, y_first, of_source) for frame, of_source in _FRAMES for y_first in (False, True))
ANSWERED_BY = {
    Reading("pixels", False): "qwen2_5_vl",
    Reading("thousandths", False): "hosted",
    Reading("thousandths", True): "gemma4",
    Reading("fractions", False): "kimi",
}
"""The family whose frame a reading is, for a model of none; the other four are nobody's."""


@dataclass(frozen=True)
class Sight:
    """One picture and what came of it. iou: in the family's frame. off: mean distance of the sides, of the picture's.

    ours, theirs: vision tokens by our count and by the server's; theirs is None where it does not say.
    """

    picture: str
    shown: str
    reply: str
    iou: float
    off: float | None
    ours: int
    theirs: int | None
    error: str | None = None


@dataclass(frozen=True)
class Report:
    """What was seen. None: it could not be told.

    frame: that the boxes are in, by the truth. counted_like: families whose processors cost what this server counts,
    where ours does not. problems: in words, each with what to do. flags: to use with any verb.
    """

    model: str
    family: str
    expected: str
    frame: str | None
    sights: tuple[Sight, ...]
    counts_agree: bool | None
    counted_like: tuple[str, ...]
    shrinks_above: int | None
    second_look_cached: bool | None
    thinks: bool
    obeys_forced_region: bool | None
    takes_two_pictures: bool
    problems: tuple[str, ...] = ()
    flags: tuple[str, ...] = field(default=())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        def told(value: bool | None) -> str:
            return "cannot be determined" if value is None else "yes" if value else "no"

        lines = [f"model     {self.model}, asked as {self.family}", f"frame     {self.frame or 'none that fits'}"]
        lines[1] += "" if self.frame == self.expected else f" (the family's: {self.expected})"
        for one in self.sights:
            off = "not found" if one.off is None else f"IoU {one.iou:.2f}, {one.off:.1%} off"
            theirs = "not reported" if one.theirs is None else str(one.theirs)
            seen = one.error or f"{off}; tokens {one.ours}, the server's {theirs}"
            lines.append(f"          {one.picture} shown as {one.shown}: {seen}")
        lines += [
            f"tokens    the server counts as we do: {told(self.counts_agree)}"
            + (f"; as {', '.join(self.counted_like)} do" if self.counted_like else ""),
            f"second    takes two pictures: {told(self.takes_two_pictures)}; "
            f"finds the first look in its cache: {told(self.second_look_cached)}",
            f"replies   thinks: {told(self.thinks)}; obeys a forced region: {told(self.obeys_forced_region)}",
        ]
        lines += [f"problem   {problem}" for problem in self.problems]
        return "\n".join([*lines, f"flags     {' '.join(self.flags) or 'none are needed'}"])


def examine(
    model: Model,
    budget: int | None = None,
    force_region: bool = False,
    concurrency: int = 4,
    max_tokens: int = 2048,
) -> Report:
    """Ask, and compare with the truth. budget: vision tokens of a look. force_region: the backend was told to."""
    config = model.look_config(budget, Sampling(max_tokens))
    asked = [_asked(config, round(unit * model.patch), shape, truth) for unit in (SMALL, LARGE)
             for shape, truth in zip(SHAPES, TRUTHS, strict=True)]  # fmt: skip
    replies = _complete(model, [request for request, _ in asked], concurrency)
    failed = [reply for reply in replies if isinstance(reply, BackendError)]
    if len(failed) == len(replies):
        raise failed[0]
    seen = [(request.views[0], truth, reply) for (request, truth), reply in zip(asked, replies, strict=True)]
    expected = Reading(model.family.frame, model.family.y_first)
    frame = _frame(seen)
    counted = _counted(replies)
    sights = tuple(_sight(*one, theirs, expected) for one, theirs in zip(seen, counted, strict=True))
    agree = _counts_agree(sights)
    counted_like = _counted_like(seen) if agree is False else ()
    second = _second_look(model, *asked[-1], replies[-1])
    report = Report(
        model=model.name,
        family=model.family.name,
        expected=str(expected),
        frame=str(frame) if frame else None,
        sights=sights,
        counts_agree=agree,
        counted_like=counted_like,
        shrinks_above=None if counted_like else _shrinks_above(sights),
        second_look_cached=_cached(second, sights[-1].ours),
        thinks=any(split_thought(one.reply)[0] for one in sights),
        obeys_forced_region=_obeys(model, asked[0][0]) if force_region else None,
        takes_two_pictures=isinstance(second, Completion),
    )
    problems, flags = _advice(report, frame, expected, model)
    return replace(report, problems=problems, flags=flags)


def _asked(config: LookConfig, scale: int, shape: Size, truth: Box) -> tuple[Request, Box]:
    picture = Image.new("RGB", (shape.width * scale, shape.height * scale), (236, 236, 230))
    box = Box(*(side * scale for side in truth.corners))
    left, top, right, bottom = box.corners
    ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), (200, 20, 30))
    view = View.of(Picture(picture, f"{picture.width}x{picture.height}"), config.coarse)
    return Request(config.family.ask_region(view, QUESTION), config.sampling), box


def _complete(model: Model, requests: Sequence[Request], concurrency: int) -> list[Completion | BackendError]:
    results: list[Completion | BackendError] = []
    for start in range(0, len(requests), max(1, concurrency)):
        results += model.backend.complete(requests[start : start + max(1, concurrency)])
    return results


def _read(view: View, reply: str, reading: Reading) -> Box | None:
    shown = View(view.picture, view.box, view.picture.size, view.budget) if reading.of_source else view
    region, _ = read_regions(reply, shown, reading.frame, reading.y_first)
    converted = region.reading in ("repaired_fraction", "repaired_percent")  # by its range: in whatever frame
    return None if converted else region.box


def _frame(seen: Iterable[tuple[View, Box, Completion | BackendError]]) -> Reading | None:
    """The one reading in which the boxes are right: the truth decides, and only where one is plainly better."""
    answered = [(view, truth, reply.text) for view, truth, reply in seen if isinstance(reply, Completion)]

    def right(reading: Reading) -> float:
        boxes = [(_read(view, text, reading), truth) for view, truth, text in answered]
        return sum(box.iou(truth) if box else 0.0 for box, truth in boxes) / len(boxes)

    best, next_best, *_ = sorted(READINGS, key=right, reverse=True)
    return best if right(best) >= FOUND and right(best) > right(next_best) + 0.05 else None


def _counted(replies: Sequence[Completion | BackendError]) -> list[int | None]:
    """Vision tokens by the server's count, of one picture each and always the same words.

    A backend puts our own count where the server reports none; then the prompts' lengths tell: they must differ by
    what the pictures do.
    """
    usages = [reply.usage if isinstance(reply, Completion) else None for reply in replies]
    first = next((one for one in usages if one and one.prompt_tokens is not None), None)
    counts: list[int | None] = []
    for usage in usages:
        if not first or not usage or usage.prompt_tokens is None or first.prompt_tokens is None:
            counts.append(None)
        else:
            by_length = (first.vision_tokens or 0) + usage.prompt_tokens - first.prompt_tokens
            counts.append(by_length if abs(by_length - (usage.vision_tokens or 0)) > 2 else usage.vision_tokens)
    return counts


def _sight(view: View, truth: Box, reply: Completion | BackendError, theirs: int | None, expected: Reading) -> Sight:
    picture, shown = str(view.picture.size), str(view.size)
    if isinstance(reply, BackendError):
        return Sight(picture, shown, "", 0.0, None, view.tokens, None, str(reply))
    box, size, off = _read(view, reply.text, expected), view.picture.size, None
    if box:
        sides = zip(box.corners, truth.corners, (size.width, size.height) * 2, strict=True)
        off = sum(abs(one - other) / whole for one, other, whole in sides) / 4
    iou = box.iou(truth) if box else 0.0
    return Sight(picture, shown, reply.text, iou, off, view.tokens, theirs)


def _counts_agree(sights: Sequence[Sight]) -> bool | None:
    told = [one for one in sights if one.theirs is not None]
    return all(0 <= (one.theirs or 0) - one.ours <= 2 for one in told) if told else None  # some count two marks


def _counted_like(seen: Iterable[tuple[View, Box, Completion | BackendError]]) -> tuple[str, ...]:
    """Families whose processors explain every difference between the prompts' lengths, which the pictures alone make."""
    told = [
        (view.size, reply.usage.prompt_tokens)
        for view, _, reply in seen
        if isinstance(reply, Completion) and reply.usage.prompt_tokens is not None
    ]
    if len({prompt for _, prompt in told}) < 2:
        return ()

    def explains(family: ModelFamily) -> bool:
        budget = family.token_budget(family.max_tokens)
        return len({prompt - budget.cost(budget.fit(size)) for size, prompt in told}) == 1

    return tuple(name for name, family in FAMILIES.items() if explains(family))


def _shrinks_above(sights: Sequence[Sight]) -> int | None:
    """Most tokens the server gave a picture, where it gave a larger one fewer than it was sent with."""
    cut = [one for one in sights if one.theirs is not None and one.theirs < 0.9 * one.ours]
    whole = [one for one in sights if one.theirs is not None and one.theirs >= 0.9 * one.ours]
    return max(one.theirs or 0 for one in sights) if cut and whole else None


def _second_look(
    model: Model, first: Request, truth: Box, reply: Completion | BackendError
) -> Completion | BackendError:
    """The close view of the true region, as the second turn of the conversation."""
    if isinstance(reply, BackendError):
        return reply
    [coarse] = first.views
    close = View.of(coarse.picture, coarse.budget, truth)
    chat = first.chat + model.family.ask_answer(reply.text, close, "What colour is it?", ())
    [second] = model.backend.complete([replace(first, chat=chat, previous=reply)])
    return second


def _cached(second: Completion | BackendError, first_tokens: int) -> bool | None:
    if isinstance(second, BackendError) or second.usage.cached_tokens is None:
        return None
    return second.usage.cached_tokens >= 0.5 * first_tokens


def _obeys(model: Model, located: Request) -> bool | None:
    """Asked for one word where a region is forced: a server that obeys writes the region; None: it never came to one."""
    chat = (Message("user", (located.views[0], "Reply with the one word yes. Write nothing else.")),)
    [reply] = model.backend.complete([replace(located, chat=chat, expect=model.family.expects)])
    if isinstance(reply, BackendError):
        return False
    unread = model.family.read_region(reply.text, located.views[0]).reading in ("none_given", "not_numbers")
    return None if unread and reply.finish == "length" else not unread


def _advice(
    report: Report, frame: Reading | None, expected: Reading, model: Model
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is wrong, and the flags that help."""
    problems, flags = [], []
    alike = [FAMILIES[name] for name in report.counted_like]
    if alike:
        problems.append(
            f"the server counts vision tokens as {', '.join(report.counted_like)} do, and not as {report.family}: "
            "it is of another family"
        )
        best = next((one for one in alike if Reading(one.frame, one.y_first) == frame), alike[0])
        flags.append(f"--family {best.name}")
    if frame is None:
        problems.append("its boxes are right in no frame there is: use the flow one_look, or train it to look")
    elif frame != expected:
        family = ANSWERED_BY.get(frame)
        problems.append(
            f"its boxes count {frame}, and not {expected}: "
            + (f"ask it as --family {family}" if family else "no family answers so; a pinned prompt (hosted) may help")
        )
        if not alike:
            flags.append(f"--family {family or 'hosted'}")
    if report.shrinks_above is not None:
        problems.append(f"the server shrinks pictures above {report.shrinks_above} tokens: send no larger ones")
        flags.append(f"--budget {max(report.shrinks_above, model.family.min_tokens)}")
    elif report.counts_agree is False and not alike:
        pairs = ", ".join(f"{one.ours} -> {one.theirs}" for one in report.sights if one.theirs is not None)
        problems.append(f"the server counts other vision tokens than we do ({pairs}): it resizes, or is another family")
    if not report.takes_two_pictures:
        problems.append(
            "it takes one picture a conversation: only the flow one_look works (vLLM: --limit-mm-per-prompt)"
        )
        flags.append("--flow one_look")
    elif report.second_look_cached is False:
        problems.append(
            "the second look finds nothing in the cache, so the first is computed twice: switch on prefix caching"
        )
    if report.obeys_forced_region is False:
        problems.append("it does not obey a forced region: leave --force-region out")
    if report.thinks and model.family.no_thinking:
        flags.append(f"--extra-body '{model.family.no_thinking}'")
    return tuple(problems), tuple(flags)
