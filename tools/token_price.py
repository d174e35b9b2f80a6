"""When is a second look worth its tokens? Policies that learnt it at several prices, on unseen questions.

    ergo train tiny-as-needed-start
    for price in 0 1.0 1.2 1.6; do
      ergo train tiny-as-needed --out runs/price-$price \
        --set "reward=[{name='accuracy'}, {name='tokens', weight=$price}]"
    done
    python tools/token_price.py measure OUT start=runs/tiny-as-needed-start/checkpoint 0=runs/price-0/checkpoint ...
    python tools/token_price.py table OUT --figure docs/token-price.svg

Three ways of looking by the same weights, greedy, 100 tokens a look: as the policy itself
chooses; held to two looks (it cannot say <answer> at the first); held to one (it cannot say <zoom>).
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ergo.backends import Model, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.errors import BackendError
from ergo.core.messages import Completion, Request, Sampling
from ergo.core.runner import Backend
from ergo.evals.statistics import mean_interval, share_interval
from ergo.rl.evidence import answered_right
from ergo.rl.source import Source, source_of
from ergo.rl.step import roll_out
from ergo.viz.palette import LIGHT

BUDGET = 100
AT_ONCE = 32
WAYS = ("own choice", "two looks", "one look")
FORBIDDEN = {"own choice": None, "two looks": "<answer>", "one look": "<zoom>"}  # to the first reply
HEAD = "| price of a token, 1/1000 | looks | accuracy % | vision tokens | second looks % | against two looks, paired |"


@dataclass(frozen=True)
class Row:
    """One question. early: answered at the first look."""

    category: str
    right: bool
    tokens: int
    early: bool


# ── measuring ──────────────────────────────────────────────────────────────────────────────────


class Held:
    """A policy that cannot open its first reply with `word`."""

    parallel = False

    def __init__(self, inner: Backend, word: str) -> None:
        assert isinstance(inner, TransformersBackend)
        self._inner = inner
        self._never = inner.processor.tokenizer.convert_tokens_to_ids(word)

    def complete(self, requests: Sequence[Request]) -> list[Completion | BackendError]:
        """First looks together, then the others: what may not be said is the same for a whole call."""
        answers: dict[int, Completion | BackendError] = {}
        for first in (True, False):
            places = [place for place, one in enumerate(requests) if (len(one.chat) == 1) == first]
            never = self._inner.processor.unsayable
            self._inner.processor.unsayable = [*never, self._never] if first else never
            try:
                answers |= zip(places, self._inner.complete([requests[place] for place in places]), strict=True)
            finally:
                self._inner.processor.unsayable = never
        return [answers[place] for place in range(len(requests))]


def measure(checkpoint: str, samples: int) -> dict[str, list[Row]]:
    """The same unseen questions, each way."""
    source = source_of("world:test", samples)
    model = open_backend(f"hf:{checkpoint}", batch_size=AT_ONCE)
    found: dict[str, list[Row]] = {}
    for way, word in FORBIDDEN.items():
        policy = replace(model, backend=Held(model.backend, word)) if word else model
        found[way] = [row for first in range(0, samples, AT_ONCE) for row in _rows(policy, source, first, samples)]
    return found


def _rows(policy: Model, source: Source, first: int, samples: int) -> list[Row]:
    part = [source[number] for number in range(first, min(first + AT_ONCE, samples))]
    rollouts = roll_out(policy, part, [BUDGET] * len(part), [Sampling(64)] * len(part), "as_needed", 2)
    return [
        Row(
            one.sample.category or "",
            answered_right(one.sample, one.trace),
            one.trace.vision_tokens,
            len(one.trace.turns) == 1,
        )
        for one in rollouts
    ]


# ── reading ────────────────────────────────────────────────────────────────────────────────────


def read(out: Path) -> dict[str, dict[str, list[Row]]]:
    """What is measured: price -> way -> rows; `start` first, then by price."""
    paths = sorted(out.glob("*.json"), key=lambda path: (path.stem != "start", path.stem))
    return {
        path.stem: {way: [Row(*row) for row in rows] for way, rows in json.loads(path.read_text()).items()}
        for path in paths
    }


def share(rows: Sequence[Row]) -> str:
    """Percent right, with its interval."""
    right = [float(row.right) for row in rows]
    interval = share_interval(right, range(len(right)))
    return f"{100 * statistics.mean(right):.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


def table(found: dict[str, dict[str, list[Row]]]) -> list[str]:
    """A line for each policy and way of looking."""
    lines = [HEAD, "|---" * 6 + "|"]
    for price, ways in found.items():
        for way in WAYS:
            rows, two = ways[way], ways["two looks"]
            gained = [float(a.right) - float(b.right) for a, b in zip(rows, two, strict=True)]
            low, high = mean_interval(gained, range(len(gained)))
            difference = f"{100 * statistics.mean(gained):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            tokens = statistics.mean(row.tokens for row in rows)
            again = 100 * statistics.mean(not row.early for row in rows)
            lines.append(
                f"| {_per_thousand(price)} | {way} | {share(rows)} | {tokens:.0f} | {again:.0f} | "
                f"{'' if way == 'two looks' else difference} |"
            )
    return lines


def by_category(found: dict[str, dict[str, list[Row]]]) -> list[str]:
    """Of how many questions of each kind a policy looks again; and how often it is right held to one look and to two."""
    kinds = list(dict.fromkeys(row.category for row in next(iter(found.values()))["own choice"]))
    lines = ["| price | " + " | ".join(kinds) + " |", "|---" * (len(kinds) + 1) + "|"]
    for price, ways in found.items():
        cells = []
        for kind in kinds:
            own, two, one = ([row for row in ways[way] if row.category == kind] for way in WAYS)
            again = 100 * statistics.mean(not row.early for row in own)
            cells.append(f"{again:.0f} ({100 * _mean_right(one):.0f}, {100 * _mean_right(two):.0f})")
        lines.append(f"| {_per_thousand(price)} | " + " | ".join(cells) + " |")
    return lines


def _mean_right(rows: Sequence[Row]) -> float:
    return statistics.mean(row.right for row in rows)


def _per_thousand(price: str) -> str:
    """The weight of `tokens` as what a single one of the allowed tokens costs."""
    return "start" if price == "start" else f"{1000 * float(price) / (2 * BUDGET):g}"


def figure(found: dict[str, dict[str, list[Row]]]) -> str:
    """Accuracy over mean vision tokens, a mark for each policy, its fixed ways beside it: SVG.

    Dashed: what a toss of a coin between one look and two of the first policy would give.
    """
    width, height, left, bottom = 640, 360, 60, 50
    marks = [
        (price, way, statistics.mean(row.tokens for row in rows), [float(row.right) for row in rows])
        for price, ways in found.items()
        for way, rows in ways.items()
    ]

    def x(tokens: float) -> float:
        return left + (width - left - 20) * (tokens - 80) / 110

    def y(accuracy: float) -> float:
        return height - bottom - (height - bottom - 20) * accuracy

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{LIGHT.ink}">'
    ]
    for percent in range(0, 101, 20):
        parts.append(
            f'<line x1="{left}" x2="{width - 20}" y1="{y(percent / 100):.0f}" y2="{y(percent / 100):.0f}" stroke="{LIGHT.line}"/>'
            f'<text x="{left - 8}" y="{y(percent / 100) + 4:.0f}" text-anchor="end">{percent} %</text>'
        )
    for tick in range(80, 191, 20):
        parts.append(f'<text x="{x(tick):.0f}" y="{height - 28}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{(left + width) / 2:.0f}" y="{height - 8}" text-anchor="middle">vision tokens, mean</text>')
    if len(marks) >= len(WAYS):
        _, two, one = [(x(tokens), y(statistics.mean(right))) for _, _, tokens, right in marks[: len(WAYS)]]
        parts.append(
            f'<line x1="{one[0]:.1f}" y1="{one[1]:.1f}" x2="{two[0]:.1f}" y2="{two[1]:.1f}" stroke="{LIGHT.quiet}" '
            'stroke-dasharray="4 4"/>'
        )
    for price, way, tokens, right in marks:
        interval = share_interval(right, range(len(right)))
        middle, own = y(statistics.mean(right)), way == "own choice"
        colour = LIGHT.accent if own else LIGHT.quiet
        parts.append(
            f'<line x1="{x(tokens):.1f}" x2="{x(tokens):.1f}" y1="{y(interval.low):.1f}" y2="{y(interval.high):.1f}" stroke="{colour}"/>'
            f'<circle cx="{x(tokens):.1f}" cy="{middle:.1f}" r="{5 if own else 3}" fill="{colour}"/>'
        )
        if own:
            name = "before: a coin" if price == "start" else f"price {_per_thousand(price)}"
            below = 16 if price != "start" else -10
            parts.append(f'<text x="{x(tokens) + 9:.1f}" y="{middle + below:.1f}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["measure", "table"])
    parser.add_argument("out", type=Path)
    parser.add_argument("policies", nargs="*", metavar="NAME=CHECKPOINT", help="start, or the weight of `tokens`")
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--figure", type=Path, help="SVG file, with `table`")
    args = parser.parse_args()
    if args.verb == "measure":
        args.out.mkdir(parents=True, exist_ok=True)
        for name, checkpoint in (policy.split("=", 1) for policy in args.policies):
            rows = {
                way: [(one.category, one.right, one.tokens, one.early) for one in found]
                for way, found in measure(checkpoint, args.samples).items()
            }
            (args.out / f"{name}.json").write_text(json.dumps(rows) + "\n")
    found = read(args.out)
    print("\n".join([*table(found), "", *by_category(found)]))
    if args.figure:
        args.figure.write_text(figure(found))


if __name__ == "__main__":
    main()
