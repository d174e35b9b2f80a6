"""Docs that cannot lie: generated parts are fresh, commands parse, the README's run in an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import ergo
from ergo.cli.main import parser
from ergo.recipes import find
from ergo.rl.recipe import GrpoRecipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/*.md"), *ROOT.glob("weights/**/*.md"))
)  # fmt: skip
BUNDLED = Path(ergo.__file__).parent / "demo" / "plate.jpg"
WIDEST = 100

GONE = (
    "dice", "askings", "rooms", "keepsakes?", "PAYS_FROM", "tiny-loose", "tiny-quarters", "tiny-placed", "undecided",
    "scored alike", "told apart", "looks badly", "under way", "in[- ]flight", "--window", "--dialect", "--written", "[Dd]ialects?",
    "pipeline[.]py", "ergo[./]train[./]", "soften", "catch at the height", "a smaller window",
)  # fmt: skip
"""Words of the first build that say nothing to anybody else (the table is in CHANGELOG.md)."""


def fences(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.S | re.M)


def test_what_is_generated_is_fresh() -> None:
    done = subprocess.run([sys.executable, "tools/commands.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_sites_navigation() -> None:
    named = re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(
        [path.name for path in ROOT.glob("docs/*.md")] + ["index.md", "changelog.md", "contributing.md"]
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_narrow(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        prose = re.sub(r"\(?https?://\S+", "", line)
        assert line.startswith("|") or len(prose) <= WIDEST, f"{path.name}:{number} has {len(prose)} characters"


@pytest.mark.parametrize("word", GONE)
def test_words_of_the_first_build_are_gone(word: str) -> None:
    sources = [path for kind in ("py", "toml", "yaml", "html") for path in ROOT.glob(f"src/**/*.{kind}")]
    for path in [*PAGES, *sources, *ROOT.glob("tools/*.*"), ROOT / "Makefile"]:
        if path.name != "CHANGELOG.md":
            found = re.search(rf"(?<![\w-]){word}(?![\w-])", path.read_text(encoding="utf-8"))
            assert not found, f"{path.name}: {found[0] if found else ''}"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `ergo` command of every page, continued lines joined."""
    for path in PAGES:
        for block in fences(path, "sh"):
            text = re.sub(r"<<'(\w+)'.*?^\1$", "", block, flags=re.S | re.M).replace("\\\n", " ")
            for line in re.split(r"\n|;| \| | > ", text):
                begun = re.match(r"\s*(?:do |[A-Z_]+=\S+ )*ergo (?=\S)", line)
                if begun:
                    yield path.name, shlex.split(line[begun.end() :], comments=True)


def test_every_command_of_the_docs_is_one() -> None:
    seen = 0
    for page, words in commands():
        filled = [re.sub(r"\$\{?\w+(:[^}]*)?\}?", "x", word) for word in words]
        try:
            args = parser(filled[0]).parse_args(filled)
        except SystemExit:
            pytest.fail(f"{page}: ergo {shlex.join(words)}")
        if filled[0] == "train" and args.recipe != "mine.toml":
            assert find(args.recipe)
        seen += 1
    assert seen >= 25


def test_every_recipe_in_the_table_ships() -> None:
    table = (ROOT / "docs" / "train.md").read_text(encoding="utf-8").split("## Recipes that ship")[1].split("\n\n")[1]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert len(named) >= 10
    for name in named:
        assert name == "verl-ergo-7b" or find(name)


def test_every_key_of_a_recipe_is_explained() -> None:
    page = (ROOT / "docs" / "train.md").read_text(encoding="utf-8")
    keys = {field.alias or name for name, field in GrpoRecipe.model_fields.items()}
    assert [key for key in sorted(keys) if not re.search(rf"`[^`]*\b{key}\b[^`]*`", page)] == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty folder but for the picture that the README supposes."""
    shutil.copy(BUNDLED, tmp_path / "photo.jpg")
    return tmp_path


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_the_readmes_commands_run_as_they_are_written(home: Path) -> None:
    """The server on port 8000 is the README's own `ergo serve`; ERGO-7B, which nobody can fetch here, is ergo-photo."""
    port = free_port()
    bin_folder = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    blocks = [block for block in fences(ROOT / "README.md", "sh") if not re.search(r"^(pip|make) ", block, re.M)]
    assert len(blocks) == 4
    script = "\n".join(block for block in blocks if not block.startswith("ergo serve"))
    script = re.sub(r"(localhost|127\.0\.0\.1):8000", rf"\1:{port}", script)
    script = script.replace("hf:nota-ai/ERGO-7B", "hf:ergo-photo").replace(
        "--model openai:", "--family ergo_photo --model openai:"
    )
    with subprocess.Popen(["ergo", "serve", "--port", str(port)], cwd=home, env=env) as server:
        try:
            wait_for(port)
            shell = ["sh", "-euc", script]
            done = subprocess.run(shell, cwd=home, env=env, capture_output=True, text=True, timeout=240)
            snippet = fences(ROOT / "README.md", "python")[0].replace(":8000", f":{port}")
            snippet = snippet.replace("model=server", "model=ergo.open_backend(server, 'ergo_photo')")
            again = subprocess.run([sys.executable, "-c", snippet], cwd=home, env=env, capture_output=True, text=True)
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    assert "answer    FMU-3619" in done.stdout
    assert '"chat.completion"' in done.stdout
    assert (home / "look.html").is_file()
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip()


def wait_for(port: int) -> None:
    for _ in range(480):
        try:
            httpx.get(f"http://127.0.0.1:{port}/health").raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.25)
    pytest.fail("the server did not come up")


def test_the_readmes_python_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text("\n".join(fences(ROOT / "README.md", "python")))
    config = ROOT / "pyproject.toml"
    check = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), str(file)]
    done = subprocess.run(
        check, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"MYPYPATH": str(ROOT / "src")}
    )
    assert done.returncode == 0, done.stdout
