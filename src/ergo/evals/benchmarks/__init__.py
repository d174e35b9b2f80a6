"""The benchmarks: one short file each, one line each in the dict below. docs/benchmarks.md adds one.

A reader is a generator of Samples: it yields what is on disk (paths, or the encoded bytes of one
picture), never decoded pixels, so that a benchmark of 8K pictures costs what `concurrency` samples cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ergo.core.errors import DataError, UsageError
from ergo.evals.benchmarks import hrbench, mme_realworld, treebench, visual_probe, vstar, world
from ergo.samples.reader import read_samples
from ergo.samples.sample import Sample
from ergo.samples.tables import ENDINGS, ending_of

Reader = Callable[[Path, str], Iterator[Sample]]
"""(folder or file, split) -> samples."""


@dataclass(frozen=True)
class Benchmark:
    """One data set.

    read: what yields its samples. folder: where it lies under the data folder; "" if it needs none.
    fetch: the command that puts it there. splits: its parts; the first is the default. limit: how many
    samples are taken where nobody says, for a data set without an end.
    """

    name: str
    read: Reader
    folder: str = ""
    fetch: str = ""
    splits: tuple[str, ...] = ("test",)
    limit: int | None = None


def _hub(dataset: str, folder: str, file: str = "") -> str:
    return f"hf download {dataset} {file} --repo-type dataset --local-dir {{data}}/{folder}".replace("  ", " ")


LITE = "yifanzhang114/MME-RealWorld-lite-lmms-eval"
WHOLE = "yifanzhang114/MME-RealWorld-Lmms-eval"

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark("vstar", vstar.read, "vstar_bench", _hub("craigwu/vstar_bench", "vstar_bench")),
        Benchmark("hrbench_4k", hrbench.read_4k, "HR-Bench", _hub("DreamMr/HR-Bench", "HR-Bench", "hr_bench_4k.parquet")),
        Benchmark("hrbench_8k", hrbench.read_8k, "HR-Bench", _hub("DreamMr/HR-Bench", "HR-Bench", "hr_bench_8k.parquet")),
        Benchmark("mme_realworld", mme_realworld.read, "MME-RealWorld", _hub(WHOLE, "MME-RealWorld")),
        Benchmark("mme_realworld_lite", mme_realworld.read, "MME-RealWorld-Lite", _hub(LITE, "MME-RealWorld-Lite")),
        Benchmark("treebench", treebench.read, "TreeBench", _hub("HaochenWang/TreeBench", "TreeBench")),
        *(
            Benchmark(f"visualprobe_{name.lower()}", visual_probe.read, f"VisualProbe_{name}", _hub(f"Mini-o3/VisualProbe_{name}", f"VisualProbe_{name}"))
            for name in ("Easy", "Medium", "Hard")
        ),
        Benchmark("world", world.read, splits=("test", "validation", "train"), limit=500),
    )
}  # fmt: skip


def _own(table: str) -> Reader:
    """A file of one's own, or a table at an address, which a Path would spoil."""
    return lambda place, split: read_samples(table)


@dataclass(frozen=True)
class DataSet:
    """What is to be asked: a benchmark by name, or a file of one's own.

    Each call of `samples` reads from the beginning. limit: how many of the first are taken.
    """

    name: str
    reader: Reader
    place: Path
    split: str
    limit: int | None = None

    def samples(self) -> Iterator[Sample]:
        return islice(self.reader(self.place, self.split), self.limit)


def _table_in(folder: Path) -> Path:
    """The one table of a folder; Hugging Face's metadata.* counts before others."""
    tables = sorted(path for path in folder.rglob("*") if path.is_file() and ending_of(path.name))
    tables = [path for path in tables if path.name.startswith("metadata.")] or tables
    if len(tables) != 1:
        names = ", ".join(str(path) for path in tables[:5]) or "none"
        raise UsageError(f"{folder} is a folder with {len(tables)} tables ({names}): name the one to be asked")
    return tables[0]


def find(name: str, data: Path = Path("data"), split: str | None = None, limit: int | None = None) -> DataSet:
    """The data set of this name. data: the folder that benchmarks are fetched into."""
    if ending_of(name):
        if "://" not in name and not Path(name).is_file():
            raise UsageError(f"there is no file {name}")
        return DataSet(name, _own(name), Path(name), split or "", limit)
    if Path(name).is_dir() and name not in BENCHMARKS:
        return find(str(_table_in(Path(name))), data, split, limit)
    if name not in BENCHMARKS:
        kinds = ", ".join(f"*{ending}" for ending in ENDINGS)
        if Path(name).is_file():
            raise UsageError(f"{name} is no table: their names end in {', '.join(ENDINGS)}; save a sheet as CSV")
        raise UsageError(f"no benchmark is called {name!r}; there are {', '.join(BENCHMARKS)}, or your own {kinds}")
    benchmark = BENCHMARKS[name]
    if split is not None and split not in benchmark.splits:
        raise UsageError(f"{name} has no split {split!r}; it has {', '.join(benchmark.splits)}")
    place = data / benchmark.folder
    if benchmark.folder and not place.is_dir():
        raise DataError(f"{name} is not in {place}. Fetch it:\n  {benchmark.fetch.format(data=data)}")
    return DataSet(
        name, benchmark.read, place, split or benchmark.splits[0], benchmark.limit if limit is None else limit
    )
