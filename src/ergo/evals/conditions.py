"""What is varied (flow and budget), what is fixed (the protocol), and what one evaluation is.

Condition   coarse_to_fine@640: how a question is looked at
Protocol    as published or ours; option order; seeds; mask: how it is put and scored
Evaluation      one question, put once: a sample under a condition, a seed and a turn of its options
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ergo.backends import Model
from ergo.core.errors import DataError, UsageError
from ergo.core.flows import Question
from ergo.core.geometry import FULL
from ergo.core.messages import Sampling
from ergo.evals.released import Released
from ergo.families.prompts import PUBLISHED
from ergo.grading import MATCHINGS, Matching
from ergo.samples.sample import Sample
from ergo.samples.tables import fingerprint
from ergo.traces.flows import FLOWS
from ergo.traces.rows import read_box

Order = Literal["as-is", "shuffled", "circular"]
ORDERS: tuple[Order, ...] = ("as-is", "shuffled", "circular")

POSTFIX = "Answer with the option's letter from the given choices directly."
"""What the published protocol says after the options (V*'s own last line)."""

PUBLISHED_SEED = 42


@dataclass(frozen=True)
class Condition:
    """One way of looking. budget: most vision tokens of each look; None for as many as Qwen allows."""

    flow: str
    budget: int | None

    @property
    def name(self) -> str:
        return f"{self.flow}@{'full' if self.budget is None else self.budget}"

    @property
    def tokens(self) -> int:
        return FULL if self.budget is None else self.budget


def conditions(flows: str, budgets: str) -> tuple[Condition, ...]:
    """Every flow with every budget, from `coarse_to_fine,one_look` and `640,1280,full`; no one twice."""
    named = [flow.strip() for flow in flows.split(",")]
    for flow in named:
        if flow not in FLOWS:
            raise UsageError(f"no flow is called {flow!r}; there are {', '.join(FLOWS)}")
    counted = [_budget(budget.strip()) for budget in budgets.split(",")]
    return tuple(dict.fromkeys(Condition(flow, budget) for flow in named for budget in counted))


def conditions_listed(specs: Sequence[str]) -> tuple[Condition, ...]:
    """Each flow with budgets of its own, from `one_look@200,full coarse_to_fine@100`; no one twice."""
    found: dict[Condition, None] = {}
    for spec in specs:
        flow, separator, budgets = spec.partition("@")
        if not separator:
            raise UsageError(f"--conditions wants FLOW@BUDGET,BUDGET, as one_look@200,full, not {spec!r}")
        if "@" in budgets:
            raise UsageError(
                f"--conditions are separated by spaces, as one_look@200,full coarse_to_fine@100, not {spec!r}"
            )
        found |= dict.fromkeys(conditions(flow, budgets))
    return tuple(found)


def _budget(text: str) -> int | None:
    if text == "full":
        return None
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise UsageError(f"--budget counts vision tokens (640,1280,full), not {text!r}")
    return int(text)


@dataclass(frozen=True)
class Protocol:
    """How questions are put and replies scored.

    preset: `published` puts them in the released prompts with seed 42 and scores by the released
        match; `ours` and `strict` use the family's own prompts and those matches (docs/grading.md).
    order: of options. circular asks once for each position the right option can take.
    seeds: how often everything is asked, each time with another seed (and, shuffled, another order).
    mask: the true region is painted black before the first look (paper Figure 5).
    released_pixels: views are sized, cut and scaled as in the released code (released.py), past the budget for about half.
    sampling: both presets decode greedily, 1,024 new tokens, unless set otherwise.
    """

    preset: Matching = "ours"
    order: Order = "as-is"
    seeds: int = 1
    mask: bool = False
    released_pixels: bool = False
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        if self.preset not in MATCHINGS or self.order not in ORDERS:
            raise UsageError(f"presets are {', '.join(MATCHINGS)}; orders of options are {', '.join(ORDERS)}")
        if self.released_pixels and self.preset != "published":
            raise UsageError("--released-pixels belongs to --preset published")
        if self.seeds < 1:
            raise UsageError(f"--seeds counts how often everything is asked, at least once, not {self.seeds}")

    def posed(self, model: Model, evaluation: Evaluation, sample: Sample) -> tuple[Model, Question]:
        """The model and the question, put as the preset says.

        As published, the options stand in the prompt as the benchmark's own rows have them, to the byte
        (`info["published"]` of its reader); turned or shuffled, in the same form; elsewhere in that of V*.
        """
        if self.preset != "published":
            return model, Question(evaluation.question, evaluation.choices)
        worded = sample.info.get("published", {})
        question = worded.get("question", evaluation.question)
        lines = worded.get("options", ())
        if not lines or evaluation.choices != sample.choices:
            form = worded.get("form", "({letter}) {text}")
            lines = [form.format(letter=chr(65 + place), text=text) for place, text in enumerate(evaluation.choices)]
        behind = "".join(f"\n{line}" for line in [*lines, worded.get("postfix", POSTFIX)]) if lines else ""
        behind = "{question}" + behind.replace("{", "{{").replace("}", "}}")
        answer, direct = (prompt.replace("{question}", behind, 1) for prompt in (PUBLISHED.answer, PUBLISHED.direct))
        prompts = replace(PUBLISHED, answer=answer, direct=direct)
        sizing = Released if self.released_pixels else model.family.sizing
        return replace(model, family=replace(model.family, prompts=prompts, sizing=sizing)), Question(question)


@dataclass(frozen=True)
class Evaluation:
    """One question, put once. Everything a score needs, so that a run can be judged without its data set.

    turned: by how many places the options were turned (circular). cluster: evaluations that share it are
    not independent. choices, answer: as shown. region: the true one, SOURCE pixels. picture: its name.
    """

    sample: str
    condition: Condition
    seed: int
    turned: int
    cluster: str
    category: str
    question: str
    choices: tuple[str, ...]
    answer: str
    region: tuple[int, int, int, int] | None
    picture: str
    also_right: tuple[str, ...] = ()
    right_choice: int | None = None

    @property
    def key(self) -> str:
        return f"{self.condition.name}/{self.variant}"

    @property
    def variant(self) -> str:
        """What it shares with the same evaluation under another condition."""
        return f"{self.seed}/{self.turned}/{self.sample}"

    def to_row(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return row | {"condition": [self.condition.flow, self.condition.budget]}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Evaluation:
        flow, budget = row["condition"]
        region = read_box(row["region"])
        return cls(
            **row
            | {
                "condition": Condition(flow, budget),
                "choices": tuple(row["choices"]),
                "also_right": tuple(row.get("also_right", ())),
                "region": region.corners if region else None,
            }
        )


def evaluations(
    samples: Iterable[Sample], condition: Condition, protocol: Protocol
) -> Iterator[tuple[Evaluation, Sample]]:
    """Every sample under one condition, as often as the protocol wants; streams.

    A data set that uses one id twice is refused: its second sample would silently replace the first.
    """
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"two samples have the id {sample.id!r}")
        seen.add(sample.id)
        if sample.region is None and (condition.flow == "crop_only" or protocol.mask):
            what = "--mask covers" if protocol.mask else "crop_only looks at"
            raise UsageError(f"{what} the true region, and sample {sample.id} has none")
        for seed in range(protocol.seeds):
            for turned, places in _orders(sample, seed, protocol.order):
                yield _evaluation(sample, condition, seed, turned, places), sample


def _evaluation(sample: Sample, condition: Condition, seed: int, turned: int, places: Sequence[int]) -> Evaluation:
    named = sample.image if isinstance(sample.image, str) and not sample.image.startswith("data:") else ""
    return Evaluation(
        sample=sample.id,
        condition=condition,
        seed=seed,
        turned=turned,
        cluster=_cluster(sample),
        category=sample.category,
        question=sample.question,
        choices=tuple(sample.choices[place] for place in places),
        answer=sample.answer,
        region=sample.region.corners if sample.region else None,
        picture=named or getattr(sample.image, "name", "inside the data set"),
        also_right=sample.also_right,
        right_choice=None if sample.right_choice is None else list(places).index(sample.right_choice),
    )


def _cluster(sample: Sample) -> str:
    """What its source says, else its picture: questions about one picture are not independent."""
    if "cluster" in sample.info:
        return str(sample.info["cluster"])
    image = sample.image
    if isinstance(image, bytes):
        return fingerprint(image)
    return fingerprint(str(image)) if isinstance(image, str | Path) else sample.id  # pixels: drawn for this question


def _orders(sample: Sample, seed: int, order: Order) -> Iterator[tuple[int, Sequence[int]]]:
    """(by how many places they are turned, the places of the options in the order shown)."""
    places = range(len(sample.choices))
    if order == "circular" and places:
        yield from ((turned, [*places[turned:], *places[:turned]]) for turned in places)
    elif order == "shuffled" and places:
        seeds = hashlib.sha256(f"{seed}:{sample.id}".encode("utf-8", "surrogatepass")).digest()[:8]
        yield 0, np.random.default_rng(int.from_bytes(seeds)).permutation(len(places)).tolist()
    else:
        yield 0, places


def sampling_of(protocol: Protocol, seed: int) -> Sampling:
    """Decoding of one evaluation; published decoding has seed 42."""
    first = PUBLISHED_SEED if protocol.preset == "published" else 0
    return replace(protocol.sampling, seed=first + seed)
