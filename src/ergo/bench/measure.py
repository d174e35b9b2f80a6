"""What two looks cost against one: both on the same model and machine, alternated, at stated lengths.

Latency and throughput are two experiments, and there is no number here called just "speed-up":

    latency      one request at a time, A B A B ...: a machine that warms up or slows down does so for both
    throughput   `concurrency` at a time, a block of A, a block of B, ...

Every evaluation has a picture of its own, or a server's cache would answer the second round. Generated
lengths are set per look and what was really generated is reported beside them: a model that stops
early makes every figure smaller, and only a backend set to ignore its end token keeps to them.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from statistics import fmean, median
from typing import Any

from ergo.backends import Model
from ergo.bench.roofline import LookCost, ModelShape, Rates, Roofline, latency_roofline, throughput_roofline
from ergo.core.errors import BackendError, UsageError
from ergo.core.flows import Flow, Question
from ergo.core.runner import Job, Trace, drive
from ergo.evals.conditions import Condition
from ergo.evals.statistics import ratio_interval
from ergo.images.decode import load_image
from ergo.traces.flows import start_flow
from ergo.traces.run import run
from ergo.world.scene import compose, draw

QUESTION = Question("What is written on the smallest sign?")


@dataclass(frozen=True)
class Plan:
    """What is measured. output_tokens: tokens each look is to generate, one number per look of the flow."""

    condition: Condition
    output_tokens: tuple[int, ...]


@dataclass(frozen=True)
class Timing:
    """One sample's seconds, wall clock, by part; parts the backend cannot tell are None.

    open: from the file's bytes to views of the right size; image, vision, prefill, decode: as the
    backend tells; rest: what no part claims (waiting, network).
    """

    total: float
    open: float
    image: float | None
    vision: float | None
    prefill: float | None
    decode: float | None
    rest: float

    @classmethod
    def of(cls, trace: Trace, wall: float) -> Timing:
        parts = {name: _summed(trace, name) for name in ("image", "vision", "prefill", "decode")}
        model = max(0.0, wall - trace.seconds)
        rest = trace.seconds - sum(part for part in parts.values() if part is not None)
        return cls(total=wall, open=model, rest=max(0.0, rest), **parts)


def _summed(trace: Trace, name: str) -> float | None:
    seconds = [getattr(turn.seconds, name) for turn in trace.turns]
    return None if not seconds or None in seconds else sum(seconds)


@dataclass(frozen=True)
class Measured:
    """One plan. Means per sample; latency: seconds by part, median and every round's total.

    throughput: samples per second, of each block. vision_tokens, prompt_tokens, cached_tokens: per
    sample. output_tokens: generated tokens of each look, requested and measured. failed: evaluations without an answer;
    they are in no figure. roofline: least seconds, where model and machine are known.
    """

    condition: str
    latency: dict[str, float | None]
    median: float
    rounds: tuple[float, ...]
    throughput: tuple[float, ...]
    vision_tokens: float
    prompt_tokens: float | None
    cached_tokens: float | None
    requested_output_tokens: tuple[int, ...]
    measured_output_tokens: tuple[float, ...]
    failed: int
    latency_roofline: Roofline | None
    throughput_roofline: Roofline | None


@dataclass(frozen=True)
class Bench:
    """Two plans, measured alternated. Ratios are of second over first, with a paired bootstrap interval."""

    first: Measured
    second: Measured
    megapixels: float
    concurrency: int
    latency_ratio: tuple[float, float, float]
    throughput_ratio: float
    rates: Rates | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    model: Model,
    plans: tuple[Plan, Plan],
    megapixels: float = 4.0,
    rounds: int = 5,
    concurrency: int = 8,
    shape: ModelShape | None = None,
    rates: Rates | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Measure both plans. say: is given every step; a long measurement should not look dead."""
    if rounds < 1 or concurrency < 1 or not 0.1 <= megapixels <= 64:
        raise UsageError("a bench wants at least one round, a concurrency of at least one, and 0.1 to 64 megapixels")
    pictures = _pictures(megapixels)
    for plan in plans:
        _one(model, plan, next(pictures))
        say(f"warm: {plan.condition.name}")
    singles = _latency(model, plans, pictures, rounds, say)
    blocks = _throughput(model, plans, pictures, concurrency, say)
    first, second = (
        _measured(plan, single, block, concurrency, shape, rates)
        for plan, single, block in zip(plans, singles, blocks, strict=True)
    )
    return Bench(
        first,
        second,
        megapixels,
        concurrency,
        _latency_ratio(*singles),
        fmean(second.throughput) / fmean(first.throughput),
        rates,
    )


def _latency_ratio(
    first: Sequence[tuple[Trace, float]], second: Sequence[tuple[Trace, float]]
) -> tuple[float, float, float]:
    """Over the rounds in which both answered."""
    pairs = [(a, b) for (one, a), (other, b) in zip(first, second, strict=True) if one.answer and other.answer]
    return ratio_interval([b for _, b in pairs], [a for a, _ in pairs], range(len(pairs)))


def _latency(
    model: Model, plans: tuple[Plan, Plan], pictures: Iterator[bytes], rounds: int, say: Callable[[str], None]
) -> list[list[tuple[Trace, float]]]:
    """A B A B ..., one at a time; a round's two evaluations are about the same picture."""
    singles: list[list[tuple[Trace, float]]] = [[], []]
    for number in range(rounds):
        picture = next(pictures)
        for plan, taken in zip(plans, singles, strict=True):
            taken.append(_one(model, plan, picture))
            say(f"latency, round {number + 1}, {plan.condition.name}: {taken[-1][1]:.3f} s")
    return singles


def _throughput(
    model: Model, plans: tuple[Plan, Plan], pictures: Iterator[bytes], concurrency: int, say: Callable[[str], None]
) -> list[list[float]]:
    """Two blocks of each, of twice the concurrency: A B A B. Samples per second."""
    blocks: list[list[float]] = [[], []]
    for _ in range(2):
        shown = [next(pictures) for _ in range(2 * concurrency)]
        for plan, taken in zip(plans, blocks, strict=True):
            jobs = [_job(model, plan, picture) for picture in shown]
            started = time.perf_counter()
            answered = sum(trace.answer is not None for trace in run(jobs, model.backend, concurrency))
            taken.append(answered / (time.perf_counter() - started))
            say(f"throughput, {concurrency} at once, {plan.condition.name}: {taken[-1]:.2f} samples/s")
    return blocks


def _pictures(megapixels: float) -> Iterator[bytes]:
    """JPEG files of scenes, each another; encoded before anything is timed."""
    for seed in count():
        out = io.BytesIO()
        draw(compose(seed, "test", (megapixels, megapixels))).pixels.save(out, "jpeg", quality=90)
        yield out.getvalue()


def _one(model: Model, plan: Plan, picture: bytes) -> tuple[Trace, float]:
    started = time.perf_counter()
    trace = drive(_job(model, plan, picture), model.backend)
    return trace, time.perf_counter() - started


def _job(model: Model, plan: Plan, picture: bytes) -> Job:
    def make() -> Flow:
        config = model.look_config(plan.condition.tokens)
        return of_length(
            start_flow(plan.condition.flow, load_image(picture), QUESTION, config, None), plan.output_tokens
        )

    return plan.condition.name, make


def of_length(flow: Flow, output_tokens: Sequence[int]) -> Flow:
    """The same flow, each reply limited to its number of tokens."""
    request = next(flow)
    for turn in count():
        limit = output_tokens[min(turn, len(output_tokens) - 1)]
        completion = yield replace(request, sampling=replace(request.sampling, max_tokens=limit))
        try:
            request = flow.send(completion)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
    raise AssertionError("count() does not end")


def _measured(
    plan: Plan,
    single: Sequence[tuple[Trace, float]],
    throughput: Sequence[float],
    concurrency: int,
    shape: ModelShape | None,
    rates: Rates | None,
) -> Measured:
    answered = [(trace, wall) for trace, wall in single if trace.answer is not None]
    if not answered:
        error = single[0][0].error
        raise BackendError(f"{plan.condition.name} was never answered ({error})", "never_answered")
    timings = [Timing.of(trace, wall) for trace, wall in answered]
    looks = [_cost(trace) for trace, _ in answered]
    return Measured(
        condition=plan.condition.name,
        latency={name: _mean([getattr(timing, name) for timing in timings]) for name in Timing.__dataclass_fields__},
        median=median(timing.total for timing in timings),
        rounds=tuple(wall for _, wall in answered),
        throughput=tuple(throughput),
        vision_tokens=fmean(trace.vision_tokens for trace, _ in answered),
        prompt_tokens=_mean([_used(trace, "prompt_tokens") for trace, _ in answered]),
        cached_tokens=_mean([_used(trace, "cached_tokens") for trace, _ in answered]),
        requested_output_tokens=plan.output_tokens,
        measured_output_tokens=tuple(
            fmean(trace.turns[turn].usage.generated_tokens or 0 for trace, _ in answered)
            for turn in range(len(answered[0][0].turns))
        ),
        failed=len(single) - len(answered),
        latency_roofline=_mean_roofline([latency_roofline(shape, rates, look) for look in looks])
        if shape and rates
        else None,
        throughput_roofline=_mean_roofline([throughput_roofline(shape, rates, look, concurrency) for look in looks])
        if shape and rates
        else None,
    )


def _cost(trace: Trace) -> list[LookCost]:
    """What the looks cost at least: everything of an earlier turn is in the cache."""
    looks, past = [], 0
    for turn in trace.turns:
        vision = tuple(view.tokens for view in turn.views)
        prompt = turn.usage.prompt_tokens if turn.usage.prompt_tokens is not None else past + sum(vision)
        output_tokens = turn.usage.generated_tokens or 0
        looks.append(LookCost(vision, max(0, prompt - past), past, output_tokens))
        past = prompt + output_tokens
    return looks


def _used(trace: Trace, name: str) -> float | None:
    figures = [getattr(turn.usage, name) for turn in trace.turns]
    return None if None in figures else float(sum(figures))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _mean_roofline(rooflines: Sequence[Roofline]) -> Roofline:
    return Roofline(
        *(fmean(getattr(roofline, name) for roofline in rooflines) for name in ("vision", "prefill", "decode"))
    )
