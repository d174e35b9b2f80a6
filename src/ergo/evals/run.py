"""Samples x conditions -> traces in a run folder, as they finish.

One condition after the other: each batch then holds looks of one size, and a run that is stopped has
whole conditions behind it, which are not even read again. Samples are read again for each; pictures are opened inside their flow, so
at most `window` of them are decoded at any time.

    evaluate            all conditions -> Progress
    └── _jobs           one condition: what is not yet in the folder, as jobs for `pipeline.run`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ergo.asking import looking_at, start_flow
from ergo.backends import Opened
from ergo.errors import PictureError
from ergo.evals.conditions import Asking, Condition, Protocol, askings, sampling_of
from ergo.evals.keepsakes import Keepsakes
from ergo.evals.masking import masked
from ergo.geometry import Box
from ergo.grading import grade
from ergo.image import load_image
from ergo.pipeline import Flow, Job, Question, Trace, run
from ergo.sample import Sample
from ergo.store import RunFolder, read_sessions, trace_to_row


@dataclass(frozen=True)
class Progress:
    """Where a run stands after one more trace. done, right, failed: askings of this condition."""

    condition: Condition
    done: int
    right: int
    failed: int
    seconds: float


def evaluate(
    samples: Callable[[], Iterable[Sample]],
    conditions: Sequence[Condition],
    protocol: Protocol,
    opened: Opened,
    folder: RunFolder,
    window: int = 16,
) -> Iterator[Progress]:
    """Ask everything that the folder does not hold yet; failures are asked again.

    samples: reads the data set from its beginning. window: flows under way at once.
    """
    finished = folder.done()
    walked = {session["condition"]: int(session["asked"]) for session in read_sessions(folder.path)}
    keepsakes = Keepsakes(folder.path / "pictures")
    asked = 0
    for condition in conditions:
        if walked.get(condition.name) == sum(key.startswith(f"{condition.name}/") for key in finished):
            asked += walked[condition.name]
            continue
        counted = _Counted(askings(samples(), condition, protocol))
        jobs = _jobs(counted, protocol, opened, finished)
        started, done, right, failed = time.perf_counter(), 0, 0, 0
        for trace in run(jobs, opened.backend, window):
            asking = trace.tag
            assert isinstance(asking, Asking)  # as _jobs tagged it
            verdict = _is_right(asking, trace, protocol)
            if not verdict:
                keepsakes.keep(asking, trace)
            folder.write(_row(asking, trace))
            done, right, failed = done + 1, right + verdict, failed + (trace.error is not None)
            yield Progress(condition, done, right, failed, time.perf_counter() - started)
        seconds = time.perf_counter() - started
        folder.note(
            {"condition": condition.name, "asked": counted.count, "answers": done, "seconds": seconds, "window": window}
        )
        asked += counted.count
    (folder.path / "complete.json").write_text(json.dumps({"answers": asked}) + "\n")


def _jobs(
    asked: Iterable[tuple[Asking, Sample]], protocol: Protocol, opened: Opened, finished: set[str]
) -> Iterator[Job]:
    for asking, sample in asked:
        if asking.key not in finished:
            yield asking, _flow_maker(asking, sample, protocol, opened)


def _flow_maker(asking: Asking, sample: Sample, protocol: Protocol, opened: Opened) -> Callable[[], Flow]:
    def make() -> Flow:
        picture = load_image(sample.image)
        region = Box(*asking.region) if asking.region else None
        if region and region.clamped(picture.size) != region:
            raise PictureError(
                f"the true region {region} of sample {sample.id} is not inside {picture.size}", "bad_region"
            )
        if protocol.mask and region:
            picture = masked(picture, region)
        put = protocol.opened(opened, asking.choices)
        looking = looking_at(put, asking.condition.tokens, sampling_of(protocol, asking.seed))
        return start_flow(asking.condition.flow, picture, Question(asking.question, asking.choices), looking, region)

    return make


def _is_right(asking: Asking, trace: Trace, protocol: Protocol) -> bool:
    if trace.answer is None:
        return False
    return grade(protocol.preset, trace.turns[-1].text, trace.answer.text, asking.answer, asking.choices).right


def _row(asking: Asking, trace: Trace) -> dict[str, Any]:
    """The verdict is not stored: reports read the reply again, so a better reading needs no new run."""
    return {"key": asking.key, "asked": asking.to_row(), **trace_to_row(trace)}


class _Counted:
    """Askings going by; `count` of them so far, those already answered included."""

    def __init__(self, asked: Iterable[tuple[Asking, Sample]]) -> None:
        self._asked = asked
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Asking, Sample]]:
        for one in self._asked:
            self.count += 1
            yield one
