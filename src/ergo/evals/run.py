"""Samples x conditions -> traces in a run folder, as they finish.

One condition after the other: each batch then holds looks of one size, and a run that is stopped has
whole conditions behind it, which are not even read again. Samples are read again for each; pictures are opened inside their flow, so
at most `concurrency` of them are decoded at any time.

    evaluate            all conditions -> Progress, a part for each
    └── _jobs           one condition: what is not yet in the folder, as jobs for `pipeline.run`
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ergo.backends import Model
from ergo.core.errors import PictureError
from ergo.core.flows import Flow
from ergo.core.geometry import Box
from ergo.core.runner import Job, Trace
from ergo.evals.conditions import Condition, Evaluation, Protocol, evaluations, sampling_of
from ergo.evals.masking import masked
from ergo.evals.released import released_coarse_to_fine
from ergo.evals.saved_examples import SavedExamples
from ergo.grading import Truth, grade
from ergo.images.address import open_picture
from ergo.samples.sample import Sample
from ergo.traces.flows import start_flow
from ergo.traces.folder import RunFolder, read_sessions
from ergo.traces.progress import Progress
from ergo.traces.rows import trace_to_dict
from ergo.traces.run import run


def evaluate(
    samples: Callable[[], Iterable[Sample]],
    conditions: Sequence[Condition],
    protocol: Protocol,
    model: Model,
    folder: RunFolder,
    concurrency: int = 16,
) -> Iterator[Progress]:
    """Ask everything that the folder does not hold yet; failures are asked again.

    samples: reads the data set from its beginning. concurrency: flows at once.
    """
    finished = folder.done()
    walked = {session["condition"]: int(session["evaluated"]) for session in read_sessions(folder.path)}
    saved_examples = SavedExamples(folder.path / "pictures")
    evaluated = 0
    for condition in conditions:
        if walked.get(condition.name) == sum(key.startswith(f"{condition.name}/") for key in finished):
            evaluated += walked[condition.name]
            continue
        counted = _Counted(evaluations(samples(), condition, protocol))
        jobs = _jobs(counted, protocol, model, finished)
        started, done, right, failed = time.perf_counter(), 0, 0, 0
        for trace in run(jobs, model.backend, concurrency):
            evaluation = trace.tag
            assert isinstance(evaluation, Evaluation)  # as _jobs tagged it
            verdict = _is_right(evaluation, trace, protocol)
            if not verdict:
                saved_examples.keep(evaluation, trace)
            folder.write(_row(evaluation, trace))
            done, right, failed = done + 1, right + verdict, failed + (trace.error is not None)
            yield Progress(condition.name, done, failed, time.perf_counter() - started, right=right)
        seconds = time.perf_counter() - started
        folder.note(
            {
                "condition": condition.name,
                "evaluated": counted.count,
                "answers": done,
                "seconds": seconds,
                "concurrency": concurrency,
            }
        )
        evaluated += counted.count
    (folder.path / "complete.json").write_text(json.dumps({"answers": evaluated}) + "\n")


def _jobs(
    evaluated: Iterable[tuple[Evaluation, Sample]], protocol: Protocol, model: Model, finished: set[str]
) -> Iterator[Job]:
    for evaluation, sample in evaluated:
        if evaluation.key not in finished:
            yield evaluation, _flow_maker(evaluation, sample, protocol, model)


def _flow_maker(evaluation: Evaluation, sample: Sample, protocol: Protocol, model: Model) -> Callable[[], Flow]:
    def make() -> Flow:
        picture = model.shown(open_picture(sample.image))
        region = Box(*evaluation.region) if evaluation.region else None
        if region and region.clamped(picture.size) != region:
            raise PictureError(
                f"the true region {region} of sample {sample.id} is not inside {picture.size}", "bad_region"
            )
        if protocol.mask and region:
            picture = masked(picture, region)
        put, question = protocol.posed(model, evaluation, sample)
        config = put.look_config(evaluation.condition.tokens, sampling_of(protocol, evaluation.seed))
        if protocol.released_pixels and evaluation.condition.flow == "coarse_to_fine":
            return released_coarse_to_fine(picture, question, config)
        return start_flow(evaluation.condition.flow, picture, question, config, region)

    return make


def _is_right(evaluation: Evaluation, trace: Trace, protocol: Protocol) -> bool:
    if trace.answer is None:
        return False
    return grade(protocol.preset, trace.turns[-1].text, trace.answer.text, Truth.of(evaluation)).right


def _row(evaluation: Evaluation, trace: Trace) -> dict[str, Any]:
    """The verdict is not stored: reports read the reply again, so a better reading needs no new run."""
    return {"key": evaluation.key, "evaluation": evaluation.to_row(), **trace_to_dict(trace)}


class _Counted:
    """Evaluations going by; `count` of them so far, those already answered included."""

    def __init__(self, evaluated: Iterable[tuple[Evaluation, Sample]]) -> None:
        self._evaluated = evaluated
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Evaluation, Sample]]:
        for one in self._evaluated:
            self.count += 1
            yield one
