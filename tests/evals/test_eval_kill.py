"""`kill -9` at any moment, resumed each time: the end equals a run that nobody disturbed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ergo.traces.folder import read_rows

WORKER = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
from evaluating import COLOURS, knowing, model, number_of, run_folder, samples, ONE_LOOK, TWO_LOOKS
from ergo.core.errors import BackendError

def script(request):
    time.sleep(0.004)
    return BackendError("no", "refused") if number_of(request) % 10 == 9 else knowing(request)

run_folder(Path(sys.argv[1]), lambda: samples(int(sys.argv[2])), model(script), [ONE_LOOK, TWO_LOOKS])
"""


def start(folder: Path, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), str(count)], stderr=subprocess.PIPE)


def finished(folder: Path, count: int) -> dict[str, Any]:
    """Run to the end; the rows, without what differs from run to run."""
    worker = start(folder, count)
    _, errors = worker.communicate(timeout=120)
    assert worker.returncode == 0, errors.decode()
    return {key: timeless(row) for key, row in read_rows(folder / "traces.jsonl").items()}


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key != "seconds"}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def kill_somewhere(folder: Path, count: int, rng: random.Random) -> bool:
    """Start, wait until some more rows are there, kill. Whether it was still running."""
    rows = folder / "traces.jsonl"
    size = rows.stat().st_size if rows.exists() else 0
    goal = size + rng.randrange(1, 100 * count)
    worker = start(folder, count)
    deadline = time.monotonic() + 60
    while worker.poll() is None and time.monotonic() < deadline:
        if rows.exists() and rows.stat().st_size >= goal:
            break
        time.sleep(0.001)
    running = worker.poll() is None
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    return running


def check(tmp_path: Path, kills: int, count: int) -> None:
    rng = random.Random(kills)
    killed = sum(kill_somewhere(tmp_path / "disturbed", count, rng) for _ in range(kills))
    assert killed >= kills * 0.6
    disturbed = finished(tmp_path / "disturbed", count)
    undisturbed = finished(tmp_path / "undisturbed", count)
    assert disturbed == undisturbed
    assert len(disturbed) == 2 * count
    assert sum(row["error"] is not None for row in disturbed.values()) == 2 * (count // 10)


def test_killed_at_five_random_moments_and_resumed(tmp_path: Path) -> None:
    check(tmp_path, kills=5, count=60)


@pytest.mark.slow
def test_killed_at_fifty_random_moments_and_resumed(tmp_path: Path) -> None:
    check(tmp_path, kills=50, count=500)
