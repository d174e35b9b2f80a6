"""What the tests of the evaluation share: small data sets, models that answer by rule, runs in one call."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend, ScriptedReply
from ergo.core.geometry import Box
from ergo.core.messages import Request
from ergo.evals.conditions import Condition, Protocol
from ergo.evals.report import Report
from ergo.evals.run import evaluate
from ergo.families import QWEN2_5_VL
from ergo.samples.sample import Sample
from ergo.traces.folder import RunFolder
from ergo.traces.progress import Progress

COLOURS = ("red", "blue", "green", "black")
TWO_LOOKS = Condition("coarse_to_fine", 64)
ONE_LOOK = Condition("one_look", 64)
OURS = Protocol()


def picture(width: int = 112, height: int = 84) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "white").save(out, "png")
    return out.getvalue()


PIXELS = picture()


def samples(count: int, image: bytes = PIXELS) -> Iterator[Sample]:
    """Question n asks for colour n; its region is the left upper quarter of the picture."""
    for number in range(count):
        yield Sample(
            id=str(number),
            image=image,
            question=f"colour {number}?",
            answer=COLOURS[number % 4],
            choices=COLOURS,
            region=Box(0, 0, 56, 42),
            category="even" if number % 2 == 0 else "odd",
            info={"cluster": number},  # they share one picture, and stand for questions about several
        )


def number_of(request: Request) -> int:
    """Which sample a request is about."""
    text = next(message.text for message in request.chat if message.role == "user")
    return int(text.split("colour ")[1].split("?")[0])


def knowing(request: Request) -> str:
    """Looks at the left upper quarter, and always knows."""
    if request.expect == "region":
        return "<think>there</think><zoom>[0, 0, 56, 42]</zoom>"
    shown = request.chat[-1].text
    right = COLOURS[number_of(request) % 4]
    return f"<answer>{next(line[1] for line in shown.splitlines() if line.endswith(f') {right}'))}</answer>"


def model(script: Callable[[Request], ScriptedReply] = knowing, seconds: float = 0.0) -> Model:
    return Model(ScriptedBackend(script, seconds), QWEN2_5_VL, 28, "scripted")


def config(conditions: Sequence[Condition], protocol: Protocol) -> dict[str, object]:
    return {
        "benchmark": "colours",
        "split": "test",
        "model": "scripted",
        "conditions": [condition.name for condition in conditions],
        "preset": protocol.preset,
        "option_order": protocol.order,
        "seeds": protocol.seeds,
        "mask": protocol.mask,
    }


def run_folder(
    path: Path,
    evaluated: Callable[[], Iterable[Sample]],
    opened: Model,
    conditions: Sequence[Condition] = (TWO_LOOKS,),
    protocol: Protocol = OURS,
    concurrency: int = 4,
) -> list[Progress]:
    with RunFolder(path, config(conditions, protocol)) as folder:
        return list(evaluate(evaluated, conditions, protocol, opened, folder, concurrency))


def reported(path: Path, *args: object, **kwargs: object) -> Report:
    run_folder(path, *args, **kwargs)  # type: ignore[arg-type]
    return Report.of(path)
