"""Sample: one question about one picture, for benchmarks, training and the world; and its JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ergo.core.errors import DataError
from ergo.core.geometry import Box
from ergo.images.decode import PictureSource
from ergo.images.picture import Picture


@dataclass(frozen=True)
class Sample:
    """One question with its truth.

    image: anything `load_image` takes; in JSONL a path, relative to the file, or a data URI.
    choices: option texts in the order shown; empty for free answers.
    answer: the right text; with choices, one of them. also_right: other texts that are right as well.
    right_choice: place of the right option, where two have one text; None where its text says which.
    region: the smallest true region, SOURCE pixels; None where unknown.
    info: whatever else the source says of it (target size, ambiguity, ...), kept as is.
    """

    id: str
    image: PictureSource
    question: str
    answer: str
    choices: tuple[str, ...] = ()
    region: Box | None = None
    category: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    also_right: tuple[str, ...] = ()
    right_choice: int | None = None


def sample_to_json(sample: Sample) -> str:
    """One JSONL line; the picture must be a path or data URI by now."""
    if isinstance(sample.image, (Picture, bytes)):
        raise DataError(f"sample {sample.id} holds pixels: save its picture to a file first")
    row: dict[str, Any] = {
        "id": sample.id,
        "image": str(sample.image),
        "question": sample.question,
        "choices": list(sample.choices),
        "answer": [sample.answer, *sample.also_right] if sample.also_right else sample.answer,
        "region": list(sample.region.corners) if sample.region else None,
        "category": sample.category,
        "info": sample.info,
    }
    if sample.right_choice is not None:
        row["right_choice"] = sample.right_choice
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def sample_from_json(line: str | bytes, folder: Path, where: str) -> Sample:
    """Inverse of `sample_to_json`, for lines that it wrote; files of people are read by `ergo.samples.reader`."""
    try:
        row = json.loads(line)
        image = row["image"]
        if not image.startswith("data:") and "://" not in image:
            image = folder / image
        if not isinstance(row.get("choices") or [], list):
            raise TypeError(f"choices are a list, not {row['choices']!r}")
        answers = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
        return Sample(
            id=str(row["id"]),
            image=image,
            question=row["question"],
            answer=str(answers[0]),
            choices=tuple(str(choice) for choice in row.get("choices") or ()),
            region=Box(*row["region"]) if row.get("region") else None,
            category=row.get("category") or "",
            info=row.get("info") or {},
            also_right=tuple(str(answer) for answer in answers[1:]),
            right_choice=row.get("right_choice"),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{where}: not a sample ({error!r}); see docs/benchmarks.md") from error


def write_samples(path: Path, samples: Iterable[Sample]) -> int:
    """Write a JSONL file; returns the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for sample in samples:
            out.write(sample_to_json(sample) + "\n")
            count += 1
    return count
