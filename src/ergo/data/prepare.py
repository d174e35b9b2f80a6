"""Examples -> Samples worth training on. Nothing is lost silently: every row is kept, or Dropped for a named reason.

prepare             rows -> Samples and Dropped, as they are decided
├── _readable       question and answer are there and, reduced from a sentence, can be checked without a judge
├── _opened         the picture opens, is no benchmark's, and holds what is marked in it
└── examined        the coarse view does not answer it, a closer look does (answerable.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ergo.core.errors import PictureError
from ergo.core.flows import Flow
from ergo.core.runner import Job
from ergo.data.answerable import Examiner, verdict
from ergo.data.example import Dropped, Row, region_of
from ergo.data.likeness import NEAR, Known
from ergo.data.sentences import reduced
from ergo.images.address import open_picture
from ergo.samples.sample import Sample
from ergo.samples.tables import fingerprint
from ergo.traces.run import run

REASONS = {
    "layout": "the row is not in the published layout",
    "several_pictures": "a look is at one picture",
    "no_question": "the question or the answer is empty",
    "long_answer": "the answer has too many words to be checked without a judge",
    "not_a_choice": "the answer is none of the choices",
    "held_out": "what models are tested on",
    "repeated": "the same question about the same picture came before",
    "picture": "the picture cannot be opened",
    "no_such_region": "what is marked is empty, or not inside the picture",
    "benchmark_picture": f"the picture is within {NEAR} of 64 bits of one in --against",
    "coarse_is_enough": "the model answers it from the coarse view",
    "close_is_not_enough": "the model does not answer it from the true region, or the full view",
    "not_examined": "the model did not answer",
}


@dataclass(frozen=True)
class FilterConfig:
    """words: most words of a free answer. known: pictures to keep out. concurrency: samples examined at once."""

    words: int = 5
    known: Known | None = None
    examiner: Examiner | None = None
    concurrency: int = 8


def prepare(rows: Iterable[Row], wanted: FilterConfig) -> Iterator[Sample | Dropped]:
    """Every row of the set, once, decided."""
    checked = (_opened(row, wanted) for row in _readable(rows, wanted.words))
    return examined(checked, wanted.examiner, wanted.concurrency) if wanted.examiner else checked


def _readable(rows: Iterable[Row], words: int) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, Dropped):
            yield row
            continue
        row = replace(row, sample=_without_sentence(row.sample))
        sample = row.sample
        image = sample.image if isinstance(sample.image, bytes) else str(sample.image)
        key = fingerprint(image, sample.question)
        fault = _fault(sample, words) or (("repeated", sample.question) if key in seen else None)
        seen.add(key)
        yield Dropped(sample.id, *fault) if fault else row


def _without_sentence(sample: Sample) -> Sample:
    """A free answer reduced by the rules of sentences.py; the sentence is kept in `info`."""
    answer = sample.answer if sample.choices else reduced(sample.question, sample.answer)
    if answer == sample.answer:
        return sample
    return replace(sample, answer=answer, info={**sample.info, "sentence": sample.answer})


def _fault(sample: Sample, words: int) -> tuple[str, str] | None:
    if not sample.question.strip() or not sample.answer.strip():
        return "no_question", ""
    if sample.choices:
        return None if sample.answer in sample.choices else ("not_a_choice", sample.answer)
    return ("long_answer", sample.answer) if len(sample.answer.split()) > words else None


def _opened(row: Row, wanted: FilterConfig) -> Sample | Dropped:
    if isinstance(row, Dropped):
        return row
    sample = row.sample
    try:
        picture = open_picture(sample.image)
        region = region_of(row.boxes, row.unit, picture.size) if row.boxes else None
    except PictureError as error:
        return Dropped(sample.id, "picture", f"{error.kind}: {error}")
    except ValueError as error:
        return Dropped(sample.id, "no_such_region", str(error))
    distance = wanted.known.distance(picture) if wanted.known else 64
    if distance <= NEAR:
        return Dropped(sample.id, "benchmark_picture", f"{distance} bits apart")
    return replace(sample, region=region)


def examined(rows: Iterable[Sample | Dropped], examiner: Examiner, concurrency: int) -> Iterator[Sample | Dropped]:
    """Ask the model about each sample; what was dropped before goes through."""
    passing: list[Dropped] = []

    def jobs() -> Iterator[Job]:
        for row in rows:
            if isinstance(row, Dropped):
                passing.append(row)
            else:
                yield row, partial(_examination, row, examiner)

    for trace in run(jobs(), examiner.model.backend, concurrency):
        yield from _taken(passing)
        sample = trace.tag
        assert isinstance(sample, Sample)  # as jobs() tagged it
        fault = verdict(sample, trace)
        yield Dropped(sample.id, *fault) if fault else sample
    yield from _taken(passing)


def _examination(sample: Sample, examiner: Examiner) -> Flow:
    return examiner.flow(sample, open_picture(sample.image))


def _taken(passing: list[Dropped]) -> list[Dropped]:
    taken = passing.copy()
    passing.clear()
    return taken


def kept_on_disk(sample: Sample, folder: Path, name: str) -> Sample:
    """A picture that came inside a table is written to folder/name, named by its content; paths become absolute."""
    if isinstance(sample.image, bytes):
        path = folder / name / fingerprint(sample.image)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(sample.image)
        return replace(sample, image=f"{name}/{path.name}")
    if isinstance(sample.image, (str, Path)) and not str(sample.image).startswith("data:"):
        return replace(sample, image=Path(sample.image).resolve())
    return sample
