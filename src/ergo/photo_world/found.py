"""Beyond the world: real photographs with real text that nobody here drew, and questions about anything at all.

    python -m ergo.photo_world.found CHECKPOINT --out FOLDER

`found_text.jsonl` holds 50 questions about what stands in 31 photographs, with the box of the text; `foreign.jsonl`
40 questions about 25 pictures of anything. The pictures come from the sources of Debian packages, fetched by name
into the cache (`apt-get source`; 130 MB, once), and are never trained on and never part of the package.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from ergo.api import ask
from ergo.backends import SHIPPED, Model
from ergo.backends.settings import LocalSettings
from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.flows import LookConfig, Question, coarse_to_fine
from ergo.core.geometry import Box
from ergo.core.messages import Sampling
from ergo.core.runner import Job
from ergo.families.caution import CANNOT_TELL
from ergo.images.decode import load_image
from ergo.photo_world.assets import cache_folder
from ergo.photo_world.evaluate import jobs, measure, report
from ergo.photo_world.lessons import CLOSE, COARSE
from ergo.samples.sample import Sample
from ergo.traces.run import run

log = logging.getLogger(__name__)

TEXT, FOREIGN = (Path(__file__).with_name(name) for name in ("found_text.jsonl", "foreign.jsonl"))
DEBIAN = "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main"


def fetch(folder: Path) -> Path:
    """Every picture that either list names, under `folder`; what is there is not fetched again."""
    rows = [json.loads(line) for file in (TEXT, FOREIGN) for line in file.read_text("utf-8").splitlines()]
    wanted = {row["image"] for row in rows}
    pictures = folder / "pictures"
    if all((pictures / name).is_file() for name in wanted):
        return pictures
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(DEBIAN + "\n", "utf-8")
    options = [f"Dir::Etc::sourcelist={folder / 'sources.list'}", "Dir::Etc::sourceparts=-"]
    options += [f"Dir::State::lists={folder / 'lists'}", f"Dir::Cache={folder}", "APT::Sandbox::User=root"]
    apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    subprocess.run([*apt, "update"], cwd=folder, check=True)
    for package in sorted({row["package"] for row in rows}):
        log.info("fetching the source of %s", package)
        subprocess.run([*apt, "source", "--download-only", package], cwd=folder, check=True)
    for archive in folder.glob("*.orig*.tar.*"):
        with tarfile.open(archive) as source:
            members = [member for member in source if member.name in wanted]
            source.extractall(pictures, members, filter="data")
        archive.unlink()
    return pictures


def read_samples(file: Path, pictures: Path) -> list[Sample]:
    """The questions of one of the lists."""
    found = []
    for number, line in enumerate(file.read_text("utf-8").splitlines()):
        row = json.loads(line)
        box = Box(*row["region"]) if row["region"] else None
        image = pictures / row["image"]
        found.append(
            Sample(f"{file.stem}-{number}", image, row["question"], row["answer"], region=box, category="found")
        )
    return found


def foreign_jobs(samples: list[Sample], backend: TransformersBackend) -> Iterator[Job]:
    """Two looks, held to what the family knows, as `ergo ask` asks."""
    looks = LookConfig(backend.family, COARSE, CLOSE, Sampling(max_tokens=48))
    for sample in samples:
        question = Question(sample.question)
        yield (
            sample,
            lambda sample=sample, question=question: backend.family.careful(  # type: ignore[misc]
                coarse_to_fine(load_image(sample.image), question, looks)
            ),
        )


def judge_foreign(samples: list[Sample], backend: TransformersBackend) -> None:
    """Log every reply to a foreign question, and how many are honest, right, and confidently wrong."""
    counts: Counter[str] = Counter()
    for trace in run(foreign_jobs(samples, backend), backend, 16):
        sample, answer = trace.tag, trace.answer.text if trace.answer else ""
        assert isinstance(sample, Sample)
        right = answer.strip().lower() == sample.answer.strip().lower()
        refused = answer.lower().endswith(CANNOT_TELL.removeprefix("I ").lower())
        counts["right" if right else "refused" if refused else "wrong"] += 1
        counts["tags"] += "<" in answer
        log.info("%s %s -> %s", Path(str(sample.image)).name, sample.question, answer)
    log.info("of %d foreign questions: %s", len(samples), dict(counts))


def save_cards(rows: Path, samples: list[Sample], backend: TransformersBackend, folder: Path) -> None:
    """Cards of the five best and the five worst answers of two looks. rows: what `report` wrote."""
    lines = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    asked = sorted(
        (line for line in lines if line["condition"].startswith("two_looks")), key=lambda line: line["error_rate"]
    )
    by_id = {sample.id: sample for sample in samples}
    model = Model.of(backend, backend.family)
    for name, line in [
        (f"{place}-{n}", line)
        for place, some in (("best", asked[:5]), ("worst", asked[-5:]))
        for n, line in enumerate(some)
    ]:
        sample = by_id[line["id"]]
        ask(sample.image, sample.question, model=model).save(folder / f"{name}.png")
        log.info(
            "%s: %s %s -> %s (truth %s)",
            name,
            Path(str(sample.image)).name,
            sample.question,
            line["answer"],
            sample.answer,
        )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.jsonl and ten cards")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    pictures = fetch(cache_folder().parent / "found-photographs")
    backend = TransformersBackend.open(SHIPPED.get(chosen.checkpoint, chosen.checkpoint), LocalSettings(batch_size=16))
    texts = [replace(sample, choices=()) for sample in read_samples(TEXT, pictures)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    report(measure(run(jobs(texts, backend), backend, 16)), chosen.out / "rows.jsonl")
    save_cards(chosen.out / "rows.jsonl", texts, backend, chosen.out)
    judge_foreign(read_samples(FOREIGN, pictures), backend)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
