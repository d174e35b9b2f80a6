"""What a figure depends on: versions, machine, the commit of this package, the hash of a model."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

BUILT_FROM = "built_from.txt"
"""Beside this file in a wheel: the commit it was built from (setup.py)."""


def environment() -> dict[str, Any]:
    """Versions, machine and commit that a figure depends on."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: _version(name) for name in ("ergo-vlm", "torch", "transformers", "pillow", "numpy")},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of this package, `+` where files were changed since; None where it is not known.

    Never that of a repository which an installed package happens to lie in: a checkout is one of ours only if its
    pyproject.toml says so.
    """
    here = Path(__file__).resolve()
    built_from = here.with_name(BUILT_FROM)
    if built_from.is_file():
        return built_from.read_text(encoding="ascii").strip()
    checkout = here.parents[3]
    project = checkout / "pyproject.toml"
    if not project.is_file() or 'name = "ergo-vlm"' not in project.read_text(encoding="utf-8"):
        return None
    head, changes = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain", "-uno")
    return None if head is None else head + ("+" if changes else "")


def _git(checkout: Path, *command: str) -> str | None:
    """What git says of a checkout itself: no repository above it, and none that the environment names, is meant."""
    if not (checkout / ".git").exists():
        return None
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(["git", "-C", checkout, *command], capture_output=True, text=True, check=True, env=own)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def folder_hash(folder: Path) -> str:
    """SHA-256 over a model folder's file names and contents, for the configuration of a run."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode("utf-8", "surrogatepass"))
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
