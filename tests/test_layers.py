"""The layers: a module imports only from layers below its own (docs/how-it-works.md)."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src" / "ergo"
LAYERS: dict[str, float] = {
    "core": 1,
    "images": 2, "families": 2,
    "samples": 3, "grading": 3, "traces": 3,
    "backends": 4, "viz": 4, "world": 4,  # the world feeds evals, rl, tiny and bench
    "api": 4.5, "recipes": 4.5,
    "evals": 5, "rl": 5, "tiny": 5, "serve": 5, "batch": 5, "data": 5,
    "bench": 5.5, "contrib": 5.5, "photo_world": 5.5,  # bench compares conditions of evals; contrib adapts rl and evals to other engines
    "__init__": 6, "cli": 7, "__main__": 8,
}  # fmt: skip
FILES = sorted(SRC.rglob("*.py"))
CORE = ("errors", "geometry", "messages", "view", "reading", "flows", "runner")
MAX_CORE_LINES, MAX_FILE_LINES = 700, 400


def package(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that this test and grep see them"
            if node.module == "ergo":
                found |= {alias.name if alias.name in LAYERS else "__init__" for alias in node.names}
            elif node.module and node.module.startswith("ergo."):
                found.add(package(node.module))
        if isinstance(node, ast.Import):
            found |= {package(name.name) for name in node.names if name.name.split(".")[0] == "ergo"}
    return found


def test_every_package_has_a_layer() -> None:
    assert {path.relative_to(SRC).parts[0].removesuffix(".py") for path in FILES} <= set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_file_imports_only_from_layers_below(path: Path) -> None:
    here = path.relative_to(SRC).parts[0].removesuffix(".py")
    for other in imports(path) - {here}:
        assert LAYERS[other] < LAYERS[here], f"{path.name} ({here}) imports {other}"


def test_core_is_read_in_half_an_hour() -> None:
    assert {path.stem for path in (SRC / "core").glob("*.py")} - {"__init__"} == set(CORE)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (SRC / "core").glob("*.py"))
    assert lines <= MAX_CORE_LINES


def test_only_the_command_line_prints() -> None:
    printing = {
        path.relative_to(SRC).parts[0]
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing <= {"cli"}


def test_the_core_needs_no_extras() -> None:
    """Asking a server, and every --help, on an installation without extras, and on a system that is not POSIX."""
    code = """
import sys
extras = "torch transformers peft pyvips safetensors tokenizers pyarrow imagehash fsspec ray fastapi uvicorn trl simplejpeg cykooz_resizer isal pybase64 tifffile imagecodecs openslide aiohttp"
posix = "fcntl termios tty pty pwd grp resource syslog"
for name in (extras + " " + posix).split(): sys.modules[name] = None
import ergo, ergo.cli.main
ergo.cli.main.parser(*ergo.cli.main.VERBS).format_help()
picture = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="
assert ergo.cli.main.main(["ask", picture, "q", "--model", "scripted:x"]) == 0
for verb, words in {"serve": [], "batch": ["a", "b"]}.items():
    assert ergo.cli.main.main([verb, *words]) == 2
try: ergo.open_backend("hf:x")
except ergo.ErgoError as error: assert "pip install '.[local]'" in str(error), error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install '.[") == 2
