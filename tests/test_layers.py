"""The house: a file imports only from floors below its own (docs/how-it-works.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src" / "ergo"
# The world feeds eval, train and the demo, so it stands under them; asking is what all verbs share.
FLOORS = {
    "errors": 0, "geometry": 0,
    "image": 1, "chat": 1.5,
    "dialect": 2, "sample": 2, "grading": 2,
    "pipeline": 3, "store": 3.5, "draw": 3.5,
    "backends": 4, "world": 4.5, "asking": 4.5,
    "evals": 5, "train": 5, "serve": 5, "batch": 5,
    "cli": 6, "demo": 7, "__init__": 8,
}  # fmt: skip
FILES = sorted(SRC.rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ergo":
            found.add(room(node.module))
        if isinstance(node, ast.Import):
            found |= {room(name.name) for name in node.names if name.name.split(".")[0] == "ergo"}
    return found


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
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "import ergo, ergo.cli; ergo.cli._parser().format_help()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
