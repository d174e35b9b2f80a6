"""What the README shows of the Python API is typed, and runs where a reader would run it: in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from faulty import FaultyServer, reply

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "api_snippets.py"


def test_the_snippets_are_typed_strictly() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"MYPYPATH": "src"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_shows_only_what_is_tested() -> None:
    """Each piece of code of docs/python.md stands in the script, line for line."""
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.S | re.M)
    assert len(shown) > 5
    script = SCRIPT.read_text(encoding="utf-8")
    for piece in shown:
        assert piece in script


def test_the_snippets_run(tmp_path: Path) -> None:
    served = {"data": [{"id": "Qwen/Qwen2.5-VL-7B-Instruct", "owned_by": "vllm"}]}
    said = reply("<zoom>[0, 0, 99, 99]</zoom><answer>dark</answer>")
    with FaultyServer(answer=lambda payload: said, models=served) as server:
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", str(SCRIPT), server.url],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        )
        assert done.returncode == 0, done.stderr
        assert any(payload.get("top_k") == 1 for payload in server.payloads)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("B RECLINING [")
    assert str(["dark"] * 8) in lines
    assert "failed: there is no file missing.png" in lines
    assert "missing there is no file missing.png" in lines
    assert {path.name for path in tmp_path.iterdir()} == {"look.png", "look.html", "black.png"}
