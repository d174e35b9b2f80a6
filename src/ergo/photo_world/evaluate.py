"""How a checkpoint does on the world of photographs: two looks, one look at the same total, the true region alone.

    python -m ergo.photo_world.evaluate CHECKPOINT --split test --count 200 [--close 72 120 --full 40 --painted]
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from ergo.backends import SHIPPED
from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.flows import Flow, LookConfig, Question, coarse_to_fine, crop_only, one_look
from ergo.core.geometry import Box, TokenBudget
from ergo.core.messages import Sampling
from ergo.core.runner import FlowMaker, Job, Trace
from ergo.evals.masking import masked
from ergo.evals.statistics import mean_interval, wilson
from ergo.images.decode import load_image
from ergo.images.picture import Picture
from ergo.photo_world.assets import SPLITS, Assets, assets_of
from ergo.photo_world.dataset import make_samples
from ergo.photo_world.lessons import CLOSE, COARSE, SIDE, WORD_SHAPES
from ergo.photo_world.pages import make_word
from ergo.photo_world.questions import MARGIN
from ergo.photo_world.scene import grown
from ergo.photo_world.texts import CANNOT_TELL
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample
from ergo.traces.run import run

log = logging.getLogger(__name__)

WHOLE = 8000  # vision tokens of the look at full size: the model's context holds 8,192


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


def jobs(
    samples: Iterable[Sample],
    backend: TransformersBackend,
    closes: Sequence[int] = (CLOSE.max_tokens,),
    full: int = 0,
    painted: bool = False,
) -> Iterator[Job]:
    """Every sample under every condition, which is named with the vision tokens that it may cost.

    closes: budgets of the second look; one look is allowed what both looks are, the true region the last of them.
    full: of the first so many samples one look at full size, too. painted: two looks with the true region covered.
    """
    looks = [LookConfig(backend.family, COARSE, replace(CLOSE, max_tokens=n), Sampling(max_tokens=48)) for n in closes]
    for number, sample in enumerate(samples):
        question, region = Question(sample.question, sample.choices), sample.region
        for config in looks:
            spent = COARSE.max_tokens + config.close.max_tokens
            once = replace(config, coarse=TokenBudget(spent, 4, SIDE))
            yield (
                (sample, f"two_looks@{spent}"),
                _maker(sample, partial(coarse_to_fine, question=question, config=config)),
            )
            yield (sample, f"one_look@{spent}"), _maker(sample, partial(one_look, question=question, config=once))
        if region:
            alone = partial(_true_region, question=question, config=looks[-1], region=region)
            yield (sample, f"true_region@{closes[-1]}"), _maker(sample, alone)
        if region and painted:
            covered = partial(_covered, question=question, config=looks[-1], region=region)
            yield (sample, "two_looks@painted"), _maker(sample, covered)
        if number < full:
            whole = replace(looks[0], coarse=TokenBudget(WHOLE, 4, SIDE))
            yield (sample, "one_look@full"), _maker(sample, partial(one_look, question=question, config=whole))


def _maker(sample: Sample, flow: Callable[[Picture], Flow]) -> FlowMaker:
    return lambda: flow(load_image(sample.image))


def _true_region(picture: Picture, question: Question, config: LookConfig, region: Box) -> Flow:
    """The region that a good first look names: the truth with its margin."""
    good = grown(region, MARGIN * picture.size.area**0.5 / 1000).clamped(picture.size)
    return crop_only(picture, question, config, good or region)


def _covered(picture: Picture, question: Question, config: LookConfig, region: Box) -> Flow:
    return coarse_to_fine(masked(picture, region), question, config)


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
            "of_full": trace.vision_tokens / max(trace.direct_vision_tokens, 1),
        }
        if condition.startswith("two_looks") and sample.region:
            region: Box | None = trace.answer.region if trace.answer else None
            found["holds"] = float(region is not None and region.coverage_of(sample.region) >= 0.99)
            if region:
                found["area"] = region.area / trace.turns[0].views[0].picture.size.area
        yield condition, found, sample, answered


def report(rows: Iterable[tuple[str, dict[str, float], Sample, str]], out: Path | None) -> None:
    """Log a table of each condition over all, by category and by ambiguity, and how much better two looks are than one
    of the same tokens; with `out`, every reply as a line of JSON."""
    kept: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(dict)
    lines = []
    for condition, found, sample, answered in rows:
        for group in ("all", sample.category, f"ambiguity {sample.info.get('ambiguity', '-')}"):
            kept[condition, group][sample.id] = found
        row = {"id": sample.id, "condition": condition, "category": sample.category, "question": sample.question}
        lines.append(
            row | {"truth": sample.answer, "answer": answered, **{name: round(v, 4) for name, v in found.items()}}
        )
    for (condition, group), by_sample in sorted(kept.items()):
        founds = list(by_sample.values())
        right = int(sum(found["exact"] for found in founds))
        low, high = wilson(right, len(founds))
        means = {
            name: np.mean([found[name] for found in founds if name in found]).round(3)
            for name in ("error_rate", "refused", "holds", "area", "tokens", "of_full")
            if any(name in found for found in founds)
        }
        interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
        heading = f"{condition:17}{group:12}{len(founds):5} exact {100 * right / len(founds):5.1f} % {interval:14}"
        log.info("%s %s", heading, " ".join(f"{name} {value}" for name, value in means.items()))
    for condition, group in sorted(kept):
        once = kept.get((condition.replace("two_looks", "one_look"), group), {})
        if condition.startswith("two_looks") and group == "all" and once:
            both = [name for name in kept[condition, group] if name in once]
            better = [100 * (kept[condition, group][name]["exact"] - once[name]["exact"]) for name in both]
            low, high = mean_interval(better, both)
            log.info("%s better than one look by %.1f points [%.1f, %.1f]", condition, np.mean(better), low, high)
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
        yield (sample, "one_look"), _maker(sample, partial(one_look, question=Question(sample.question), config=config))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--words", type=int, default=0)
    parser.add_argument("--close", type=int, nargs="+", default=[CLOSE.max_tokens], help="tokens of the second look")
    parser.add_argument("--full", type=int, default=0, help="of how many samples one look at full size is taken, too")
    parser.add_argument("--painted", action="store_true", help="two looks with the true region covered, too")
    parser.add_argument("--only", default="", help="conditions that begin so, as two_looks (default: all)")
    parser.add_argument("--samples", type=Path, help="a JSONL that `ergo world` wrote (default: drawn anew)")
    parser.add_argument("--out", type=Path, help="a JSONL of every reply")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    backend = TransformersBackend.open(SHIPPED.get(args.checkpoint, args.checkpoint), LocalSettings(batch_size=16))
    assets = assets_of(args.split)
    if args.words:
        report(measure(run(word_jobs(word_samples(assets, args.words), backend), backend, 16)), args.out)
        return
    if args.samples:
        kept = islice(read_samples(args.samples), args.count)
        every = jobs(kept, backend, args.close, args.full, args.painted)
        chosen = (job for job in every if cast(tuple[Sample, str], job[0])[1].startswith(args.only))
        report(measure(run(chosen, backend, 16)), args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        samples = make_samples(assets, args.count, Path(folder))
        absolute = (replace(sample, image=Path(folder).parent / str(sample.image)) for sample in samples)
        report(measure(run(jobs(absolute, backend, args.close), backend, 16)), args.out)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
