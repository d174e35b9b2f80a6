"""as_needed against coarse_to_fine on the bundled model's world, under a scripted policy.

    python tools/as_needed.py OUT [--samples 1000] [--budget 100]

ergo-tiny was trained to look twice, and never asked whether once is enough. So that decision is scripted here, and
everything else is the model's: at the first look it answers directly, and where its confidence in that answer reaches
a threshold, this is its reply; otherwise it is asked for a region, as it was trained to be, and looks again. The
threshold is the lowest at which, on the validation split, answering early costs no accuracy; the test split is
evaluated once. In OUT: a run folder of each split (`ergo report OUT/test`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ergo import Model, open_backend
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Message, Request
from ergo.core.runner import Backend
from ergo.evals.compare import Comparison, compare
from ergo.evals.conditions import Protocol, conditions
from ergo.evals.rows import ResultRow, read_run
from ergo.evals.run import evaluate
from ergo.evals.statistics import share_interval
from ergo.samples.sample import Sample
from ergo.traces.answers import probability_of
from ergo.traces.folder import RunFolder
from ergo.world.questions import generate
from ergo.world.scene import Split

SUFFIX = " Where?"
"""What ergo-tiny's prompt adds to a question to ask for a region; the options stand before it in as_needed alone."""
OPTIONS = "\n(A) "
NEVER = 2.0
"""A threshold that no confidence reaches."""


class Scripted:
    """The policy around a model. threshold: confidence of a direct answer from which it is given at once."""

    parallel = False

    def __init__(self, model: Model, threshold: float) -> None:
        self._inner: Backend = model.backend
        self._family = model.family
        self.threshold = threshold

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """Requests of other flows go through as they are."""
        return [self._asked_first(one) or self._asked_again(one) or self._one(one) for one in requests]

    def _one(self, request: Request) -> Completion | BackendError:
        return self._inner.complete([request])[0]

    def _asked_first(self, request: Request) -> Completion | BackendError | None:
        opening = request.chat[0]
        if len(request.chat) != 1 or OPTIONS not in opening.text or not opening.text.endswith(SUFFIX):
            return None
        [view] = opening.views
        asked = opening.text.removesuffix(SUFFIX)
        direct = self._one(replace(request, chat=(Message("user", (view, asked)),)))
        if isinstance(direct, BackendError) or (self._sure(direct) or 0.0) >= self.threshold:
            return direct
        located = self._one(replace(request, chat=(self._where(opening),), expect="region"))
        if isinstance(located, BackendError):
            return located
        tokens = (direct.usage.generated_tokens or 0) + (located.usage.generated_tokens or 0)
        return replace(located, usage=replace(located.usage, generated_tokens=tokens))

    def _asked_again(self, request: Request) -> Completion | BackendError | None:
        opening, last = request.chat[0], request.chat[-1]
        if len(request.chat) == 1 or OPTIONS not in opening.text or not opening.text.endswith(SUFFIX):
            return None
        closer = Message("user", (*last.views, opening.text.removesuffix(SUFFIX)))
        return self._one(replace(request, chat=(self._where(opening), *request.chat[1:-1], closer)))

    def _sure(self, reply: Completion) -> float | None:
        return probability_of(self._family.read_answer(reply.text)[0], reply)

    def _where(self, opening: Message) -> Message:
        """The region prompt as the model was trained on it: without options."""
        return Message("user", (*opening.views, opening.text.split(OPTIONS)[0] + SUFFIX))


def main() -> None:
    """Both splits, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--budget", default="100")
    args = parser.parse_args()
    model = open_backend("ergo-tiny", batch_size=16)
    flows = "one_look,coarse_to_fine"
    validation = rows_of(args.out / "validation", "validation", args.samples, flows, args.budget, model)
    threshold = lowest_free(*(validation[f"{flow}@{args.budget}"] for flow in flows.split(",")))
    print(f"threshold, from {args.samples} samples of the validation split: {threshold:.4f}")
    policy = replace(model, backend=Scripted(model, threshold))
    test = rows_of(args.out / "test", "test", args.samples, "coarse_to_fine,as_needed", args.budget, policy)
    for name, rows in test.items():
        print(line(name, rows))
    two, needed = (test[f"{flow}@{args.budget}"] for flow in ("coarse_to_fine", "as_needed"))
    print(difference("as_needed against coarse_to_fine", compare(two, needed, ("two", "as needed"), "ours")))
    early = {row.evaluation.variant for row in needed if len(row.record["turns"]) == 1}
    for what, chosen in (("answered early", early), ("looked again", {r.evaluation.variant for r in needed} - early)):
        pairs = [[row for row in rows if row.evaluation.variant in chosen] for rows in (two, needed)]
        if chosen:
            print(difference(f"{what} ({len(chosen)})", compare(*pairs, ("two", "as needed"), "ours")))


def rows_of(
    folder: Path, split: Split, samples: int, flows: str, budget: str, model: Model
) -> dict[str, list[ResultRow]]:
    """One run, by condition; a second call goes on where the first stopped."""
    asked = conditions(flows, budget)

    def read() -> Iterator[Sample]:
        return generate(split, samples)

    backend = model.backend
    config = {"benchmark": "world", "split": split, "limit": samples, "model": model.name, "preset": "ours",
              "conditions": [one.name for one in asked], "mask": False,
              "threshold": backend.threshold if isinstance(backend, Scripted) else None}  # fmt: skip
    with RunFolder(folder, config) as run:
        for _ in evaluate(read, asked, Protocol(), model, run, concurrency=16):
            pass
    done = read_run(folder)
    return {one.name: done.under(one.name) for one in asked}


def lowest_free(direct: Sequence[ResultRow], two: Sequence[ResultRow]) -> float:
    """The lowest threshold at which those answered early are, all together, as often right as after two looks."""
    after = {row.evaluation.variant: row.verdict("ours").right for row in two}
    known = [
        (float(row.record["confidence"]), row.verdict("ours").right - after[row.evaluation.variant])
        for row in direct
        if row.record["confidence"] is not None
    ]
    known.sort(reverse=True)
    lowest, gained = NEVER, 0
    for sure, gain in known:
        gained += gain
        if gained >= 0:
            lowest = sure
    return lowest


def line(name: str, rows: Sequence[ResultRow]) -> str:
    """Accuracy with its interval, looks and vision tokens, in the mean."""
    right = [float(row.verdict("ours").right) for row in rows]
    interval = share_interval(right, [row.evaluation.cluster for row in rows])
    looks, tokens = (sum(values) / len(rows) for values in (
        [len(row.record["turns"]) for row in rows], [row.record["vision_tokens"] for row in rows]))  # fmt: skip
    share = sum(right) / len(right)
    return f"{name:20} {share:.1%} [{interval.low:.1%}, {interval.high:.1%}]  {looks:.2f} looks  {tokens:.1f} vision tokens"


def difference(name: str, one: Comparison) -> str:
    """Of paired samples."""
    low, high = one.interval
    ratio = "" if one.token_ratio is None else "  vision tokens x {:.3f} [{:.3f}, {:.3f}]".format(*one.token_ratio)
    return f"{name}: {100 * one.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]{ratio}"


if __name__ == "__main__":
    main()
