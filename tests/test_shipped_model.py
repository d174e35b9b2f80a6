"""What is shipped works: the bundled model, asked the bundled questions."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ergo
from ergo.backends import SHIPPED
from ergo.samples.reader import read_samples

DEMO = Path(ergo.__file__).parent / "demo" / "samples.jsonl"


def test_it_looks_at_the_right_place_in_every_demo_picture_and_reads_it() -> None:
    opened = ergo.open_backend("ergo-photo")
    for sample in read_samples(DEMO):
        picture = ergo.load_image(sample.image)
        assert picture.size.area >= 8_000_000
        trace = ergo.ask(picture, sample.question, sample.choices, model=opened)
        assert trace.answer is not None
        assert trace.answer.region_reading == "exact"
        assert trace.answer.region is not None
        assert sample.region is not None
        assert trace.answer.region.coverage_of(sample.region) > 0.9
        assert trace.turns[1].usage.cached_tokens  # the first look is not computed again
        assert trace.vision_tokens <= 2 * opened.family.budget
        assert trace.answer.text.strip() == sample.answer


def test_its_names_need_no_network() -> None:
    for name in SHIPPED:
        assert ergo.open_backend(f"hf:{name}").name == ergo.open_backend(name).name


@pytest.mark.slow
def test_the_demo_runs(tmp_path: Path) -> None:
    demo = [sys.executable, "-m", "ergo", "demo", str(tmp_path)]
    printed = subprocess.run(demo, check=True, capture_output=True, text=True).stdout
    assert len(list(tmp_path.glob("look-*.png"))) == 3
    assert [printed.count(f"\n{line}  ") for line in ("answer", "one look", "truth")] == [3, 3, 3]
    *_, right, took = printed.splitlines()
    assert re.fullmatch(r"two looks [23] of 3 right, one look [0-3] of 3 right", right)
    assert re.fullmatch(r"took      [\d.]+ s(, at most \d+ MiB of memory)?", took)
