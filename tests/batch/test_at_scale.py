"""Thousands of real-sized pictures: how much `ergo batch` adds to the bare flow, and what it holds in memory.

`pytest -m slow -s tests/batch/test_at_scale.py` prints the figures of docs/results.md.
"""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_batch import kind, opened, rows_in, typed

from ergo.backends import Model, open_backend
from ergo.batch.rows import BatchRow, read_rows
from ergo.batch.run import run_here
from ergo.batch.shards import Shards
from ergo.batch.worker import BatchConfig, Worker
from ergo.cli.batch import batch
from ergo.core.flows import Question, coarse_to_fine
from ergo.images.address import open_picture
from ergo.traces.run import run
from ergo.world.questions import generate

ROWS, STINTS, POISONED = 5_000, 10, 100  # one row in POISONED is poison
FILES = 40
CONCURRENCY = 8
CONFIG = BatchConfig(budget=640, max_tokens=64)
POISON = {
    "cut off": (lambda whole: whole[: len(whole) // 2], "truncated"),
    "empty": (lambda whole: b"", "empty"),
    "no picture": (lambda whole: b"<html>404</html>", "not_a_picture"),
}


def photograph(seed: int, megapixels: float) -> Image.Image:
    """Coarse and fine structure of random colours, 4:3."""
    rng = np.random.default_rng(seed)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (height * 4 // 3, height)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1] // 3, size[0] // 3, 3), np.uint8)).resize(size)
    return Image.blend(coarse, fine, 0.15)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A JSONL of ROWS rows over FILES pictures of 4 to 12 megapixels, and the error that each poison row must get."""
    folder = tmp_path_factory.mktemp("scale")
    for number in range(FILES):
        photograph(number, 4 + 8 * number / (FILES - 1)).save(folder / f"{number}.jpg", quality=90)
    whole = (folder / "0.jpg").read_bytes()
    for name, (spoil, _) in POISON.items():
        (folder / f"{name}.jpg").write_bytes(spoil(whole))
    expected, lines = {}, []
    for number in range(ROWS):
        picture = folder / f"{number % FILES}.jpg"
        if number % POISONED == POISONED // 2:
            name, (_, kind) = list(POISON.items())[number // POISONED % len(POISON)]
            picture, expected[str(number)] = folder / f"{name}.jpg", kind
        lines.append(json.dumps({"id": str(number), "image": str(picture), "question": "What is it?"}))
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "rows.jsonl", expected


def bare(rows: list[BatchRow], model: Model) -> None:
    """The flow and nothing else, on the same pictures."""
    config = model.look_config(CONFIG.budget)
    jobs = ((row, partial(_look, row, config)) for row in rows)
    assert sum(trace.error is None for trace in run(jobs, model.backend, CONCURRENCY)) == len(rows)


def _look(row: BatchRow, config):  # type: ignore[no-untyped-def]
    return coarse_to_fine(open_picture(row.address), Question(row.question), config)


def peak() -> float:
    """MiB at most since the count began."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_five_thousand_pictures(job: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    """Batch and bare flow in turn, on the same cores; each stint of the batch is a restart."""
    source, expected = job
    model, shards = opened(), Shards(str(tmp_path / "out"))
    shards.begin({})
    sound = [row for row in read_rows(str(source), None) if row.id not in expected]
    shares, memory = [], []

    def rows(until: int) -> Iterator[BatchRow]:
        return islice(read_rows(str(source), None), until)

    for stint in range(STINTS):
        Path("/proc/self/clear_refs").write_text("5")  # from here on the peak is counted anew
        began = time.perf_counter()
        done = sum(
            1
            for _ in run_here(rows((stint + 1) * ROWS // STINTS), shards, Worker(model, CONFIG, CONCURRENCY), 100, None)
        )
        batched = done / (time.perf_counter() - began)
        memory.append(peak())
        part = sound[stint * FILES * 2 : (stint + 1) * FILES * 2]
        began = time.perf_counter()
        bare(part, model)
        shares.append(batched / (len(part) / (time.perf_counter() - began)))
        print(
            f"stint {stint}: {batched:.1f} rows/s, {100 * shares[-1]:.0f} % of the bare flow, {memory[-1]:.0f} MiB",
            flush=True,
        )
    answered = rows_in(tmp_path / "out")
    print(
        f"rate: median {100 * statistics.median(shares):.1f} % of the bare flow ({100 * min(shares):.1f} to {100 * max(shares):.1f})"
    )
    assert sorted(Counter(row["id"] for row in answered).items()) == sorted((str(number), 1) for number in range(ROWS))
    assert {row["id"]: kind(row) for row in answered if row["error"]} == expected
    assert statistics.median(shares) >= 0.9
    early, late = statistics.mean(memory[: STINTS // 2]), statistics.mean(memory[STINTS // 2 :])
    print(
        f"peak memory of a stint: {min(memory):.0f} to {max(memory):.0f} MiB, first half {early:.0f}, second half {late:.0f}"
    )
    assert late < 1.1 * early


@pytest.mark.slow
def test_two_hundred_pictures_with_the_embedded_model(tmp_path: Path) -> None:
    """The world's questions, as many as it answers rightly alone."""
    lines = []
    for number, sample in enumerate(generate("test", 200)):
        picture = tmp_path / f"{number}.png"
        sample.image.pixels.save(picture)  # type: ignore[union-attr]
        options = list(sample.choices or ())
        lines.append(
            json.dumps({"id": sample.id, "image": str(picture), "question": sample.question, "options": options})
        )
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    flags = ("--budget", "100", "--max-tokens", "64", "--concurrency", "20")
    batch(typed(tmp_path / "rows.jsonl", tmp_path / "out", *flags), lambda: open_backend("ergo-tiny"))
    answered = {str(row["id"]): row for row in rows_in(tmp_path / "out")}
    right = sum(answered[sample.id]["answer"] == sample.answer for sample in generate("test", 200))
    print(f"{right} of 200 right")
    assert len(answered) == 200
    assert not any(row["error"] for row in answered.values())
    assert right >= 160
