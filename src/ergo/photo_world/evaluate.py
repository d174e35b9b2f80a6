"""How a checkpoint does on the world of photographs: two looks, one look at the same total, the true region alone.

    python -m ergo.photo_world.evaluate CHECKPOINT --split test --count 200 [--close 72]
    python -m ergo.photo_world.evaluate CHECKPOINT --words 200

Every number comes from the product's own flows over the product's own backend, on pictures at full size. --words
reads single words in crops instead, with fonts, words and photographs of the split.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.flows import LookConfig, Question, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Sampling
from ergo.core.runner import FlowMaker, Job, Trace
from ergo.evals.statistics import wilson
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.photo_world.assets import SPLITS, Assets, assets_of
from ergo.photo_world.dataset import make_samples
from ergo.photo_world.lessons import CLOSE, COARSE, SIDE, WORD_SHAPES
from ergo.photo_world.model import CANNOT_TELL
from ergo.photo_world.pages import make_word
from ergo.photo_world.questions import MARGIN
from ergo.photo_world.scene import grown
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample
from ergo.traces.run import run

log = logging.getLogger(__name__)


def total(close: TokenBudget = CLOSE) -> TokenBudget:
    """What both looks may cost together: the budget of the one look that they are compared with."""
    return TokenBudget(COARSE.max_tokens + close.max_tokens, 4, SIDE)


def error_rate(answered: str, truth: str) -> float:
    """Edits that turn `answered` into `truth`, per character of the truth; at most 1.

    >>> error_rate("AB-12", "AB-17")
    0.2
    """
    row = list(range(len(truth) + 1))
    for i, letter in enumerate(answered, 1):
        previous, row[0] = row[0], i
        for j, other in enumerate(truth, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (letter != other))
    return min(row[-1] / len(truth), 1.0)


def jobs(samples: Iterable[Sample], backend: TransformersBackend, close: TokenBudget = CLOSE) -> Iterator[Job]:
    """Every sample under every condition; the true region only where there is one. close: budget of the second look."""
    looks = LookConfig(backend.family, COARSE, close, Sampling(max_tokens=48))
    once = replace(looks, coarse=total(close))
    for sample in samples:
        question = Question(sample.question, sample.choices)
        yield (sample, "two_looks"), _maker(sample, question, looks)
        yield (sample, "one_look"), _maker(sample, question, once, "one_look")
        if sample.region:
            yield (sample, "true_region"), _maker(sample, question, looks, "true_region")


def _maker(sample: Sample, question: Question, config: LookConfig, how: str = "two_looks") -> FlowMaker:
    def start():  # type: ignore[no-untyped-def]
        picture = load_image(sample.image)
        if how == "two_looks":
            return coarse_to_fine(picture, question, config)
        if how == "one_look":
            return one_look(picture, question, config)
        assert sample.region
        unit = (picture.size.area) ** 0.5 / 1000
        region = grown(sample.region, MARGIN * unit).clamped(picture.size) or sample.region
        return crop_only(picture, question, config, region)

    return start


def measure(traces: Iterable[Trace]) -> Iterator[tuple[str, dict[str, float], Sample, str]]:
    """Condition, what was measured, the sample, and what was answered, of every trace."""
    for trace in traces:
        sample, condition = cast(tuple[Sample, str], trace.tag)
        answered = (trace.answer.text if trace.answer else "").strip()
        truth = sample.answer
        found = {
            "exact": float(answered.upper() == truth.upper()),
            "error_rate": error_rate(answered.upper(), truth.upper()),
            "refused": float(answered == CANNOT_TELL),
            "tokens": float(trace.vision_tokens),
        }
        if condition == "two_looks" and sample.region:
            region: Box | None = trace.answer.region if trace.answer else None
            found["holds"] = float(region is not None and region.coverage_of(sample.region) >= 0.99)
            if region:
                found["area"] = region.area / trace.turns[0].views[0].picture.size.area
        yield condition, found, sample, answered


def report(rows: Iterable[tuple[str, dict[str, float], Sample, str]], out: Path | None) -> None:
    """Log a table of each condition over all and by category; with `out`, every reply as a line of JSON."""
    kept: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    lines = []
    for condition, found, sample, answered in rows:
        for group in ("all", sample.category):
            kept[condition, group].append(found)
        row = {"id": sample.id, "condition": condition, "category": sample.category, "question": sample.question}
        lines.append(
            row | {"truth": sample.answer, "answer": answered, **{name: round(v, 4) for name, v in found.items()}}
        )
    for (condition, group), founds in sorted(kept.items()):
        right = int(sum(found["exact"] for found in founds))
        low, high = wilson(right, len(founds))
        means = {
            name: np.mean([found[name] for found in founds if name in found]).round(3)
            for name in ("error_rate", "refused", "holds", "area", "tokens")
            if any(name in found for found in founds)
        }
        interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
        heading = f"{condition:12}{group:10}{len(founds):5} exact {100 * right / len(founds):5.1f} % {interval:14}"
        log.info("%s %s", heading, " ".join(f"{name} {value}" for name, value in means.items()))
    if out:
        out.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def word_samples(assets: Assets, count: int) -> Iterator[Sample]:
    """Single words in crops, each shown at its own size."""
    for number in range(count):
        rng = np.random.default_rng([7, number])
        crop = make_word(rng, assets, WORD_SHAPES[number % len(WORD_SHAPES)], 0.6)
        picture = load_image(_png(crop.pixels))
        yield Sample(f"word-{number}", picture, "What is written on the sign of the house?", crop.text, category="word")


def _png(pixels: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def word_jobs(samples: Iterable[Sample], backend: TransformersBackend) -> Iterator[Job]:
    """One look at each crop."""
    config = LookConfig(backend.family, COARSE, CLOSE, Sampling(max_tokens=24))
    for sample in samples:
        assert isinstance(sample.image, Picture)
        yield (sample, "one_look"), _maker(sample, Question(sample.question), config, "one_look")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--close", type=int, default=CLOSE.max_tokens, help="vision tokens of the second look")
    parser.add_argument("--samples", type=Path, help="a JSONL that photo_world.dataset wrote (default: drawn anew)")
    parser.add_argument("--out", type=Path, help="a JSONL of every reply")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    backend = TransformersBackend.open(args.checkpoint, LocalSettings(batch_size=16))
    assets, close = assets_of(args.split), replace(CLOSE, max_tokens=args.close)
    if args.words:
        report(measure(run(word_jobs(word_samples(assets, args.words), backend), backend, 16)), args.out)
        return
    if args.samples:
        kept = islice(read_samples(args.samples), args.count)
        report(measure(run(jobs(kept, backend, close), backend, 16)), args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        samples = make_samples(assets, args.count, Path(folder))
        absolute = (replace(sample, image=Path(folder).parent / str(sample.image)) for sample in samples)
        report(measure(run(jobs(absolute, backend, close), backend, 16)), args.out)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
