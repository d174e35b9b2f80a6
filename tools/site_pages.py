"""A hook of mkdocs: the README is the site's first page, and pages beside it come in, so that each is written once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie beside docs/."""
    for name, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links to where their pages stand in the site; a file of the repository is named instead."""
    moved = re.sub(r"\]\((?:\.\./)?(README|CHANGELOG|CONTRIBUTING)\.md", lambda m: f"]({PAGES[m[1] + '.md']}", markdown)
    inside = moved.replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?:\.\./[^)]+|CITATION\.cff)\)", lambda m: f"`{m[1]}`", inside)
