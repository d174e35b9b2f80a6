"""Would the tests notice? Small changes of the code (mutmut), a seeded sample of each package, survivors by name.

    make mutation                                    every package below, 150 mutants of each
    make mutation ARGS="core rl --sample 1000"       these, and more of them

Works in a copy under the system's temporary folder; results go to mutation.json and to the terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    "core": (["src/ergo/core/*"], ["tests/core"]),
    "families": (["src/ergo/families/*"], ["tests/families"]),
    "grading": (["src/ergo/grading/*"], ["tests/grading"]),
    "rl": (
        [f"src/ergo/rl/{name}.py" for name in ("rewards", "evidence", "advantages", "episode", "source", "recipe")],
        ["tests/rl/test_rewards.py", "tests/rl/test_evidence.py", "tests/rl/test_advantages.py", "tests/rl/test_episode.py",
         "tests/rl/test_recipe.py"],
    ),
    "serve": (["src/ergo/serve/*"], ["tests/serve"]),
    "openai": (
        ["src/ergo/backends/openai/*", "src/ergo/backends/settings.py"],
        [f"tests/backends/test_{name}.py" for name in ("endpoints", "openai", "openai_async", "open", "proxies")],
    ),
    "transformers": (
        [f"src/ergo/backends/transformers/{name}.py" for name in ("backend", "bridge", "sampling", "loading", "constrain", "processor")],
        [f"tests/backends/test_{name}.py" for name in ("transformers", "constrain", "processor", "open")],
    ),
}  # fmt: skip
"""Package -> files that are changed, tests that should notice."""


def mutmut(folder: Path, *words: str, seconds: float) -> str:
    """Its output; the copy's own sources come first."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    env.pop("PYTHONPATH", None)
    command = [sys.executable, "-m", "mutmut", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired as late:
        return f"stopped after {seconds:.0f} s: {(late.stdout or b'')[-200:]!r}"
    return done.stdout + done.stderr


def run(name: str, sample: int, seed: int, minutes: float) -> dict[str, object]:
    """Mutate one package in a copy of the checkout."""
    only, tests = TARGETS[name]
    tests = [test for test in tests if (ROOT / test).exists()]
    with tempfile.TemporaryDirectory(prefix="ergo-mutation-") as scratch:
        folder = Path(scratch) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "weights", "runs", "mutants", "site", ".*_cache")
        shutil.copytree(ROOT, folder, ignore=ignored)
        settings = {
            "source_paths": ["src"], "only_mutate": only, "pytest_add_cli_args_test_selection": tests,
            "pytest_add_cli_args": ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not engines and not gpu"],
            "also_copy": ["tests", "pyproject.toml", "docs", "README.md"], "mutate_only_covered_lines": False,
            "use_git_change_detection": False,
        }  # fmt: skip
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        with (folder / "pyproject.toml").open("a", encoding="utf-8") as config:
            config.write("\n[tool.mutmut]\n" + "\n".join(lines) + "\n")
        made = mutmut(folder, "run", "--max-children", "1", "no.such.mutant", seconds=minutes * 60)
        found = [path for path in (folder / "mutants").rglob("*.meta")]
        names = sorted(key for path in found for key in json.loads(path.read_text())["exit_code_by_key"])
        if not names:
            raise SystemExit(f"{name}: no mutants were made\n{made[-2000:]}")
        chosen = random.Random(seed).sample(names, min(sample, len(names)))
        output = mutmut(folder, "run", "--max-children", "1", *chosen, seconds=minutes * 60)
        codes = {
            key: code
            for path in found
            for key, code in json.loads(path.read_text())["exit_code_by_key"].items()
            if key in set(chosen) and code is not None
        }
        survived = sorted(key for key, code in codes.items() if code == 0)
        untested = sorted(key for key, code in codes.items() if code == 33)
        if not codes:
            raise SystemExit(f"{name}: nothing was run\n{output[-3000:]}")
        shown = {key: _difference(mutmut(folder, "show", key, seconds=60)) for key in survived + untested}
        return {
            "package": name, "possible": len(names), "tried": len(codes), "caught": len(codes) - len(survived) - len(untested),
            "survived": survived, "without a test": untested, "differences": shown,
        }  # fmt: skip


def _difference(shown: str) -> list[str]:
    return [line for line in shown.splitlines() if re.match(r"[-+](?![-+])", line)]


def main() -> None:
    """Print a line a package, then every survivor with its change."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--sample", type=int, default=150, help="mutants of each package (default: 150)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=30, help="for each package")
    args = parser.parse_args()
    unknown = set(args.packages) - set(TARGETS)
    if unknown:
        parser.error(f"no package is called {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    results = []
    for name in args.packages or TARGETS:
        found = run(name, args.sample, args.seed, args.minutes)
        results.append(found)
        print(f"{name}: {found['tried']} tried of {found['possible']}, {found['caught']} caught", flush=True)
        for key, change in found["differences"].items():  # type: ignore[attr-defined]
            print(f"  {key}", *(f"    {line}" for line in change), sep="\n", flush=True)
        Path("mutation.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
