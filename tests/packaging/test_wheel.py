"""What is published: a small wheel with everything that the README's commands need, run outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import ergo
from ergo.samples.reader import read_samples

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `pip wheel .` does, its by-products outside the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    settings = out / "build.cfg"
    settings.write_text(f"[build]\nbuild_base = {out / 'build'}\n[egg_info]\negg_base = {out}\n")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out), "."]
    subprocess.run(build, cwd=ROOT, check=True, env=os.environ | {"DIST_EXTRA_CONFIG": str(settings)})
    [made] = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody else's git repository with the wheel installed inside it."""
    folder = tmp_path_factory.mktemp("elsewhere")
    git = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder / "site")]
    subprocess.run([*install, str(wheel)], check=True)
    return folder


def run(folder: Path, *command: str) -> str:
    """Python in `folder`, with the installed wheel in front of everything else."""
    env = os.environ | {"PYTHONPATH": str(folder / "site")}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_small_and_holds_what_the_commands_need(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST_BYTES
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "ergo/py.typed",
        "ergo/models/ergo-photo/model.safetensors",
        "ergo/models/ergo-photo/README.md",
        "ergo/photo_world/bundled/LICENCES.json",
        "ergo/serve/page/index.html",
        "ergo/viz/templates/style.css",
        "ergo/demo/plate.jpg",
        "ergo/demo/samples.jsonl",
        "ergo/recipes/tiny-grpo.toml",
        "ergo/recipes/verl-ergo-7b.yaml",
    ):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "cold" in name and name.endswith((".safetensors", ".jsonl"))]
    assert {name.split("/")[0] for name in names} == {"ergo", wheel.name.rsplit("-", 3)[0] + ".dist-info"}


def test_every_file_of_the_package_is_in_it(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "src/ergo"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\0")
    wanted = {name.removeprefix("src/") for name in tracked if name}
    assert wanted <= set(zipfile.ZipFile(wheel).namelist())


def test_its_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith("METADATA")]
    said = Parser().parsestr(archive.read(name).decode())
    assert (said["Name"], said["Version"], said["License-Expression"]) == ("ergo-vlm", ergo.__version__, "Apache-2.0")
    assert "independent" in said["Author"]
    needs = said.get_all("Requires-Dist") or []
    always = {re.split("[<>=]", one)[0] for one in needs if "extra ==" not in one}
    assert always <= {"pillow", "httpx", "numpy", "jinja2", "filelock", "shtab"}
    assert not [one for one in needs if one.startswith("ray") and "extra == 'batch'" in one.replace('"', "'")]


def test_it_names_its_own_commit_inside_somebodys_repository(elsewhere: Path) -> None:
    ours = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    if not (ROOT / ".git").exists():
        ours = "None"
    said = run(elsewhere, "-c", "import ergo.traces.provenance as p; print(p.__file__, p.commit())").split()
    assert said[0].startswith(str(elsewhere))
    assert said[1].removesuffix("+") == ours


def test_it_answers_about_a_bundled_picture(elsewhere: Path) -> None:
    sample = next(read_samples(elsewhere / "site" / "ergo" / "demo" / "samples.jsonl"))
    shown = run(elsewhere, "-m", "ergo", "ask", str(sample.image), sample.question)
    assert f"answer    {sample.answer}\n" in shown


@pytest.mark.slow
def test_it_trains_outside_the_checkout(elsewhere: Path) -> None:
    run(elsewhere, "-m", "ergo", "train", "photo-grpo", "--set", "trl.max_steps=1", "validation_samples=4")
    made = elsewhere / "runs" / "photo-grpo"
    assert (made / "checkpoint" / "model.safetensors").is_file()
    assert '"step": 1' in (made / "log.jsonl").read_text()
    shutil.rmtree(made)


def test_a_recipe_that_needs_the_cold_start_says_where_it_is(elsewhere: Path) -> None:
    env = os.environ | {"PYTHONPATH": str(elsewhere / "site")}
    for recipe in ("tiny-poor-localisation", "tiny-grpo-poor-localisation"):
        command = [sys.executable, "-m", "ergo", "train", recipe, "--out", str(elsewhere / recipe)]
        done = subprocess.run(command, cwd=elsewhere, env=env, capture_output=True, text=True)
        assert done.returncode == 2
        assert "ergo train tiny-p" in done.stderr
        # other packages may say something as they are imported (bitsandbytes does)
        assert [line.startswith("ergo: ") for line in done.stderr.strip().splitlines()].count(True) == 1
        assert "Traceback" not in done.stderr
