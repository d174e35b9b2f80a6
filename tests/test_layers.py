"""The house: a file imports only from floors below its own (docs/how-it-works.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src" / "ergo"
FLOORS: dict[str, float] = {
    "errors": 0, "geometry": 0,
    "image": 1, "chat": 1.5,
    "dialect": 2, "sample": 2, "grading": 2, "tables": 2,
    "pipeline": 3, "store": 3.5, "draw": 3.5,
    # The world stands under floor 5, where folders never import each other: it feeds eval, train and the tests.
    "backends": 4, "world": 4,
    "asking": 4.5,  # what cli, evals, serve and batch share
    "evals": 5, "data": 5, "train": 5, "serve": 5, "batch": 5,
    "cli": 6, "demo": 7, "__init__": 8,
}  # fmt: skip
FILES = sorted(SRC.rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that this test and grep see them"
            if node.module == "ergo":
                found |= {alias.name if alias.name in FLOORS else "__init__" for alias in node.names}
            elif node.module and node.module.startswith("ergo."):
                found.add(room(node.module))
        if isinstance(node, ast.Import):
            found |= {room(name.name) for name in node.names if name.name.split(".")[0] == "ergo"}
    return found


def test_every_room_has_a_floor() -> None:
    assert {path.relative_to(SRC).parts[0].removesuffix(".py") for path in FILES} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_file_imports_only_from_floors_below(path: Path) -> None:
    here = path.relative_to(SRC).parts[0].removesuffix(".py")
    for other in imports(path) - {here}:
        assert FLOORS[other] < FLOORS[here], f"{path.name} ({here}) imports {other}"


def test_only_the_command_line_prints() -> None:
    printing = {
        path.relative_to(SRC).parts[0]
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing <= {"cli.py", "demo"}


def test_the_core_needs_no_torch() -> None:
    """Asking a server, and every --help, on an installation without extras."""
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'peft', 'pyvips', 'safetensors', 'tokenizers'): sys.modules[name] = None\n"
        "import ergo, ergo.cli\n"
        "ergo.cli._parser().format_help()\n"
        "assert ergo.cli.main(['ask', 'data:image/gif;base64,R0lGODlhAQABAAAAACw=', 'q', '--model', 'scripted:x']) in (0, 2)\n"
        "try: ergo.open_backend('hf:x')\n"
        "except ergo.ErgoError as error: assert \"pip install 'ergo-vlm[local]'\" in str(error), error\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
