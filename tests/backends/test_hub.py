"""A checkpoint by its name on the Hub, through the real client and its own HF_ENDPOINT, from a hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub import Hub
from tiny_models import save

ROOT = Path(__file__).resolve().parents[2]
OPEN = """
from ergo.backends import open_backend
model = open_backend('hf:org/tiny')
print(model.name, model.patch, model.family.name)
"""
FIND = """
import sys
from ergo.backends.transformers.hub import local_folder
from ergo.core.errors import UsageError
for name in sys.argv[1:]:
    try: print(local_folder(name))
    except UsageError as error: print(error)
"""


def run(code: str, cache: Path, endpoint: str, *names: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its settings when it is imported."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code, *names], env=kept | settings | environment, capture_output=True, text=True)  # fmt: skip


def found(cache: Path, endpoint: str, *names: str, **environment: str) -> list[str]:
    """For each name its folder, or the one line that says why there is none."""
    done = run(FIND, cache, endpoint, *names, **environment)
    lines = done.stdout.splitlines()
    assert len(lines) == len(names), done.stderr
    return lines


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save(tmp_path_factory.mktemp("checkpoint"), "qwen2_5_vl")
    (folder / "pytorch_model.bin").write_bytes(b"the same weights in another format")
    return folder


def test_a_model_is_downloaded_once_with_progress_and_then_found_without_a_network(
    checkpoint: Path, tmp_path: Path
) -> None:
    with Hub({"org/tiny": checkpoint}).serving() as hub:
        first = run(OPEN, tmp_path, hub.url)
        assert first.stdout == "org/tiny 28 qwen2_5_vl\n", first.stderr
        fetched = [path for path in hub.asked if path.startswith("GET") and "/resolve/" in path]
        hub.asked.clear()
        [again] = found(tmp_path, hub.url, "org/tiny")
        assert not [path for path in hub.asked if path.startswith("GET") and "/resolve/" in path]
    assert "%|" in first.stderr  # the client's own progress bars
    assert {path.rpartition("/")[2] for path in fetched} == {
        file.name for file in checkpoint.iterdir() if file.suffix != ".bin"
    }
    assert (Path(again) / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    assert found(tmp_path, hub.url, "org/tiny") == [again]  # nobody answers there any more
    assert found(tmp_path, hub.url, "org/tiny", HF_HUB_OFFLINE="1") == [again]


def test_what_cannot_be_had_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    with Hub({"org/tiny": checkpoint}, frozenset({"org/gated"})).serving() as hub:
        gated, unknown, odd = found(tmp_path, hub.url, "org/gated", "org/nothing", "what is this")
        hub.broken = True
        [broken] = found(tmp_path, hub.url, "org/tiny")
    [gone] = found(tmp_path, hub.url, "org/other")
    [offline] = found(tmp_path, hub.url, "org/other", HF_HUB_OFFLINE="1")
    assert f"org/gated is gated: accept its terms at {hub.url}/org/gated, then log in" in gated
    assert f"{hub.url} has no model org/nothing, or shows it to its owners alone" in unknown
    assert "'what is this' is neither a folder nor a name on the Hub" in odd
    for name, line, reason in (
        ("org/tiny", broken, "Bad request"),
        ("org/other", gone, "Connection refused"),
        ("org/other", offline, "HF_HUB_OFFLINE is set"),
    ):
        assert f"{name} is not (wholly) on this machine, and {hub.url} did not send it (" in line
        assert reason in line
