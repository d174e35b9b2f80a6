"""`ergo.ask`: one question about one picture, from whatever holds a picture to a Result."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial, wraps
from itertools import islice
from operator import index
from pathlib import Path
from string import ascii_uppercase
from threading import Lock
from typing import Any, ParamSpec, SupportsFloat, TypeVar

from ergo.backends import Model, open_backend
from ergo.core.errors import UsageError
from ergo.core.flows import Flow, LookConfig, Question
from ergo.core.geometry import Box
from ergo.core.messages import Sampling
from ergo.core.runner import Trace, drive
from ergo.families.base import ModelFamily
from ergo.grading import choice_of
from ergo.images.address import open_picture
from ergo.images.decode import PictureSource
from ergo.images.picture import Picture
from ergo.traces.answers import Remark, confidence, remark
from ergo.traces.flows import FLOWS, check_flow, one_look_at, start_flow
from ergo.traces.rows import trace_to_dict
from ergo.traces.run import run
from ergo.traces.shared import shared
from ergo.viz import page_of, picture_of

SAVED_AS = (".png", ".html")
BUNDLED = Path(__file__).resolve().parent / "demo"
"""Pictures that ship with the package, found by name where no file of that name is."""


@dataclass(frozen=True)
class ChosenOption:
    """Which of the options an answer names. index: counted from 0."""

    index: int
    text: str

    @property
    def letter(self) -> str:
        """As the model was shown it: A, B, C ..."""
        return chr(65 + self.index)


@dataclass(frozen=True, kw_only=True)
class Result(Trace):
    """A Trace that knows its picture and its question, and so can be saved, and name the option chosen.

    picture: None where it could not be opened, which is then the error. compared: one look at the vision tokens that
        these looks spent, where that was asked for and they ended in an answer.
    """

    picture: Picture | None
    question: Question
    compared: Result | None = None

    @property
    def choice(self) -> ChosenOption | None:
        """The option that the answer names; None: there were none, or it names no one of them plainly."""
        if self.answer is None or not self.question.choices:
            return None
        index = choice_of(self.answer.text, self.question.choices).place
        return None if index is None else ChosenOption(index, self.question.choices[index])

    @property
    def confidence(self) -> float | None:
        """How sure the model is of its answer, 0 to 1 (`ergo.traces.answers` defines it); None where it is not known."""
        return confidence(self)

    @property
    def remark(self) -> Remark | None:
        """What to know before relying on the answer, as `ergo.traces.answers` names it; None: nothing.

        no_option: it names none of the options, or several.
        """
        unnamed = self.answer and self.question.choices and self.choice is None
        return remark(self) or ("no_option" if unnamed else None)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the pixels, as JSON takes it; boxes as [left, top, right, bottom] in SOURCE pixels."""
        chosen = self.choice
        return {
            "picture": self.picture.name if self.picture else None,
            "question": self.question.text,
            "options": list(self.question.choices),
            "choice": chosen.index if chosen else None,
            **trace_to_dict(self),
            "remark": self.remark,
            "compared": self.compared.to_dict() if self.compared else None,
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """What was looked at, as a picture (.png) or as a page that needs no other file (.html)."""
        file = Path(path)
        kind = file.suffix.lower()
        if kind not in SAVED_AS:
            raise UsageError(f"what was looked at is saved as a {' or '.join(SAVED_AS)} file, not {file}")
        if self.picture is None:
            raise UsageError(f"there is nothing to save: {self.error}")
        try:
            if kind == ".html":
                page = page_of(self, self.picture, self.question, self.compared)
                file.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
            else:
                picture_of(self, self.picture, self.question, self.compared).save(file)
        except OSError as error:
            raise UsageError(f"{file} could not be written: {error}") from error
        return file


# ── asking ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Inquiry:
    """One question about one picture, not asked yet: for `ask_many`."""

    picture: PictureSource
    question: str
    options: Sequence[str] = ()


def ask(
    picture: PictureSource,
    question: str,
    options: Sequence[str] = (),
    *,
    model: str | Model = "ergo-photo",
    family: str | ModelFamily | None = None,
    budget: int | None = None,
    region: Box | Sequence[float] | None = None,
    flow: str | None = None,
    max_looks: int | None = None,
    max_tokens: int = 1024,
    temperature: float = 0.0,
    seed: int | None = None,
    compare: bool = False,
) -> Result:
    """Answer a question about a picture by looking twice (paper section 3).

    picture: a path, a data URI, the bytes of a file or a file opened in binary mode, a Pillow image, an array of
        uint8 (height x width, or x 3 or 4 channels), a Picture; or the name of one that ships (plate.jpg).
    options: texts to choose from, in the order shown; empty for a free answer.
    model: a name as `open_backend` takes it, or a Model, opened with settings or made of parts of one's own.
        The model last named stays open for the next call.
    family: how a model that was named is spoken to, where neither its name nor its configuration says so.
    budget: most vision tokens of each look; None for the model family's own.
    region: (left, top, right, bottom) in pixels of the picture: only this part is looked at (flow crop_only).
    flow: coarse_to_fine unless there is a region; one_look is the direct baseline; as_needed answers at once or
        looks closer, at up to max_looks views in all (3 unless said; no other flow takes a number).
    max_tokens: of each reply. temperature: 0 is greedy.
    compare: also take one look at the whole picture at the same total of vision tokens: `result.compared`.

    A picture that cannot be opened raises PictureError; a model that does not answer is `result.error`.
    """
    plan = _plan(budget, region, flow, max_looks, max_tokens, temperature, seed, compare)
    posed = _question(question, options)
    loaded = load_picture(picture)  # first: a model takes longer to open than a picture to fail
    opened = _opened(model, family)
    trace = drive((None, lambda: plan.flow_of(loaded, posed, opened)), shared(opened.backend))
    return _compared([_result(trace, loaded, posed)], plan, opened, 1)[0]


P = ParamSpec("P")
R = TypeVar("R")


def _in_thread(function: Callable[P, R]) -> Callable[P, Coroutine[Any, Any, R]]:
    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.get_running_loop().run_in_executor(_threads(), partial(function, *args, **kwargs))

    return call


aask = _in_thread(ask)
"""`ask`, awaited: up to MOST_AT_ONCE calls run side by side. Cancelling one stops the waiting, not the request."""

MOST_AT_ONCE = 64


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="ergo")


def ask_many(
    inquiries: Iterable[Inquiry],
    *,
    model: str | Model = "ergo-photo",
    family: str | ModelFamily | None = None,
    budget: int | None = None,
    region: Box | Sequence[float] | None = None,
    flow: str | None = None,
    max_looks: int | None = None,
    max_tokens: int = 1024,
    temperature: float = 0.0,
    seed: int | None = None,
    concurrency: int = 16,
    compare: bool = False,
) -> Iterator[Result]:
    """`ask` about many, `concurrency` at a time; in the order given.

    A picture that cannot be opened is the `error` of its Result, as a model that does not answer is.
    """
    plan = _plan(budget, region, flow, max_looks, max_tokens, temperature, seed, compare)
    if not isinstance(inquiries, Iterable):
        raise UsageError(f"ask_many is given Inquiries, not {inquiries!r}")
    ordered = _in_turns if plan.compare else _in_order
    return ordered(iter(inquiries), plan, _opened(model, family), _whole("concurrency", concurrency))


def _in_order(inquiries: Iterable[Inquiry], plan: _Plan, opened: Model, concurrency: int) -> Iterator[Result]:
    pictures: dict[int, Picture] = {}
    questions: dict[int, Question] = {}

    def job(number: int, inquiry: Inquiry) -> tuple[object, Callable[[], Flow]]:
        if not isinstance(inquiry, Inquiry):
            raise UsageError(f"ask_many is given Inquiries, as Inquiry('photo.jpg', 'What colour?'), not {inquiry!r}")
        questions[number] = _question(inquiry.question, inquiry.options)

        def make() -> Flow:
            pictures[number] = load_picture(inquiry.picture)
            return plan.flow_of(pictures[number], questions[number], opened)

        return number, make

    waiting: dict[int, Result] = {}
    due = 0
    jobs = (job(number, inquiry) for number, inquiry in enumerate(inquiries))
    for trace in run(jobs, shared(opened.backend), concurrency):
        assert isinstance(trace.tag, int)
        waiting[trace.tag] = _result(trace, pictures.pop(trace.tag, None), questions.pop(trace.tag))
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def _in_turns(inquiries: Iterator[Inquiry], plan: _Plan, opened: Model, concurrency: int) -> Iterator[Result]:
    """`_in_order` for `concurrency` of them, then their single looks, so that no more are ever asked at once."""
    while some := list(islice(inquiries, max(1, concurrency))):
        yield from _compared(list(_in_order(some, plan, opened, concurrency)), plan, opened, concurrency)


def _compared(results: list[Result], plan: _Plan, opened: Model, concurrency: int) -> list[Result]:
    """The results, each that has an answer with its single look if the plan wants one."""
    jobs = (
        (number, partial(plan.flow_of, result.picture, result.question, opened, result.vision_tokens))
        for number, result in enumerate(results)
        if plan.compare and result.answer and result.picture
    )
    for trace in run(jobs, shared(opened.backend), concurrency):
        assert isinstance(trace.tag, int)
        results[trace.tag] = replace(two := results[trace.tag], compared=_result(trace, two.picture, two.question))
    return results


@dataclass(frozen=True)
class _Plan:
    """How to look, whatever the picture and the model."""

    flow: str
    region: Box | None
    budget: int | None
    max_looks: int
    sampling: Sampling
    compare: bool

    def flow_of(self, picture: Picture, question: Question, model: Model, spent: int | None = None) -> Flow:
        """spent: by the looks that this one, a single look, is compared with."""
        config = replace(model.look_config(self.budget, self.sampling), max_looks=self.max_looks)
        picture = model.shown(picture)
        if spent:
            return model.family.careful(one_look_at(spent, picture, question, config))
        return model.family.careful(start_flow(self.flow, picture, question, config, self.region))


def _plan(
    budget: int | None,
    region: Box | Sequence[float] | None,
    flow: str | None,
    max_looks: int | None,
    max_tokens: int,
    temperature: float,
    seed: int | None,
    compare: bool,
) -> _Plan:
    name = flow or ("coarse_to_fine" if region is None else "crop_only")
    if not isinstance(name, str):
        raise UsageError(f"a flow is a name, one of {', '.join(FLOWS)}, not {name!r}")
    check_flow(name)
    if region is not None and name != "crop_only":
        raise UsageError(f"a region is for crop_only, which looks at nothing else; {name} finds its own")
    if not isinstance(region, Box | None):
        region = _box(region)
    if max_looks is not None and name != "as_needed":
        raise UsageError(f"max_looks is for the flow as_needed; {name} looks as often as it says")
    if compare and name in ("one_look", "crop_only"):
        raise UsageError(f"compare sets one look beside two; {name} takes one, and there is nothing to compare")
    budget = None if budget is None else _whole("budget", budget)
    looks = LookConfig.max_looks if max_looks is None else _whole("max_looks", max_looks)
    if looks < 1:
        raise UsageError(f"max_looks is at least 1, not {looks}")
    if isinstance(temperature, str | None) or not isinstance(temperature, SupportsFloat):
        raise UsageError(f"temperature is a number from 0 to 100, not {temperature!r}")
    seed = None if seed is None else _whole("seed", seed)
    sampling = Sampling(_whole("max_tokens", max_tokens), float(temperature), seed=seed)
    return _Plan(name, region, budget, looks, sampling, bool(compare))


def _whole(name: str, value: Any) -> int:
    """An int, or what stands for one (numpy's); 100.0, "100" and True do not."""
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise UsageError(f"{name} is a whole number, not {value!r}")


def _box(corners: Sequence[float]) -> Box:
    try:
        left, top, right, bottom = (round(corner) for corner in corners)
        return Box(left, top, right, bottom)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"a region is left, top, right, bottom in pixels of the picture, not {corners!r} ({error})"
        ) from error


def _question(text: str, options: Sequence[str]) -> Question:
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"the question is a text that is not empty, not {text!r}")
    choices = tuple(options) if isinstance(options, Iterable) and not isinstance(options, str | Mapping | Set) else None
    if choices is None or not all(isinstance(option, str) for option in choices):
        raise UsageError(f"options are a list of texts, such as ['red', 'blue'], not {options!r}")
    if len(choices) == 1:
        apart = [part.strip() for part in choices[0].split(",")]
        meant = f": did you mean {len(apart)}, {apart}?" if len(apart) > 1 else ""
        raise UsageError(f"options are two or more to choose from, not {choices[0]!r} alone{meant}")
    if len(choices) > len(ascii_uppercase):
        raise UsageError(f"there are letters for {len(ascii_uppercase)} options, not for {len(choices)}")
    if len(choices) > 1 and all(choice.endswith(",") for choice in choices[:-1]):
        raise UsageError(f"the options end in commas, {', '.join(map(repr, choices))}: give them without")
    odd = [choice for choice in choices if not choice.strip() or choices.count(choice) > 1]
    if odd:
        raise UsageError(f"options differ from each other, and none is empty, unlike {odd[0]!r}")
    return Question(text, choices)


def load_picture(source: PictureSource) -> Picture:
    """`load_image`, which also reads addresses and finds the bundled pictures by name; a file of one's own of that name wins."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    bundled = name in {path.name for path in BUNDLED.glob("*.jpg")} and not os.path.exists(name)
    return open_picture(BUNDLED / name if bundled else source)


def _result(trace: Trace, picture: Picture | None, question: Question) -> Result:
    known = {field.name: getattr(trace, field.name) for field in fields(Trace)}
    return Result(**known, picture=picture, question=question)


# ── one model, many callers ────────────────────────────────────────────────────────────────────


def _opened(model: str | Model, family: str | ModelFamily | None) -> Model:
    if isinstance(model, Model):
        if family is not None:
            raise UsageError("a Model knows its family: Model.of(model.backend, family) makes one of another")
        return model
    if not isinstance(model, str):
        raise UsageError(f"a model is a name, such as 'ergo-photo' or 'openai:http://localhost:8000/v1', not {model!r}")
    if not isinstance(family, str | ModelFamily | None):
        raise UsageError(f"a family is a name or a ModelFamily, not {family!r}")
    with _opening:
        opened = _last_opened(model, family if isinstance(family, str) else None, _stamp(model))
    return replace(opened, family=family) if isinstance(family, ModelFamily) else opened


_opening = Lock()


@lru_cache(maxsize=1)
def _last_opened(name: str, family: str | None, stamp: int) -> Model:
    return open_backend(name, family)


def _stamp(name: str) -> int:
    """When a checkpoint's folder last changed, so that a model trained anew is opened anew."""
    folder = Path(name.removeprefix("hf:"))
    return max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0) if folder.is_dir() else 0
