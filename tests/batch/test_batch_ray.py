"""The same job by actors on Ray: the same rows, also when drivers, actors and nodes are killed under it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from test_batch import rows_in, timeless

from ergo.api import BUNDLED as DEMO

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ergo-vlm[batch]'")
MODEL = "scripted:<zoom>[28, 28, 280, 280]</zoom><answer>A</answer>"
QUIET = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_DEDUP_LOGS": "0"}


def command(source: Path, out: Path, where: str, shard: int) -> list[str]:
    return [sys.executable, "-m", "ergo", "batch", str(source), str(out), "--model", MODEL, "--question", "Is it?",
            "--budget", "64", "--shard", str(shard), "--concurrency", "4", "--where", where]  # fmt: skip


def many(folder: Path, picture: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        os.link(picture, folder / f"{number:04}.jpg")
    return folder


def test_actors_write_the_rows_that_one_process_would(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    Image.new("RGB", (300, 200)).save(picture)
    source = many(tmp_path / "in", picture, 12)
    (source / "broken.jpg").write_bytes(b"no picture")
    here = subprocess.run(command(source, tmp_path / "here", "local", 5), capture_output=True, text=True, env=QUIET)
    done = subprocess.run(command(source, tmp_path / "ray", "ray", 5), capture_output=True, text=True, env=QUIET)
    assert (here.returncode, done.returncode) == (1, 1), done.stderr  # one row failed
    assert "13 of 13 done" in done.stderr
    assert "1 failed" in done.stderr
    assert timeless(rows_in(tmp_path / "ray")) == timeless(rows_in(tmp_path / "here"))
    assert len(list((tmp_path / "ray").glob("*.parquet"))) == 3


@contextmanager
def cluster() -> Iterator[Any]:
    """Two nodes on this machine, one CPU each."""
    from ray.cluster_utils import Cluster

    os.environ.update({name: QUIET[name] for name in ("RAY_AUTH_MODE", "RAY_ENABLE_UV_RUN_RUNTIME_ENV")})
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200_000_000})
    try:
        yield nodes
    finally:
        nodes.shutdown()


def actors() -> list[psutil.Process]:
    return [one for one in psutil.process_iter(["cmdline"]) if "MapWorker" in " ".join(one.info["cmdline"] or [])]


@pytest.mark.slow
def test_whatever_is_killed_each_row_is_there_once(tmp_path: Path) -> None:
    kills, generator = 20, random.Random(3)
    source = many(tmp_path / "in", _copy(DEMO / "vague.jpg", tmp_path), 160)
    out, killed = tmp_path / "out", []
    with cluster() as nodes:
        second = nodes.add_node(num_cpus=1, object_store_memory=200_000_000)
        job = [*command(source, out, nodes.address, 2), "--num-actors", "2"]
        driver = subprocess.Popen(job, env=QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(killed) < kills:
            time.sleep(generator.uniform(1, 4))
            if driver.poll() is not None:
                if len(rows_in(out)) == 160:
                    break
                driver = subprocess.Popen(job, env=QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                continue
            victim = generator.choice(["driver", "actor", "actor", "node"])
            if victim == "driver":
                driver.send_signal(signal.SIGKILL)
                driver.wait()
            elif victim == "actor" and actors():
                generator.choice(actors()).kill()
            elif victim == "node":
                nodes.remove_node(second, allow_graceful=False)
                second = nodes.add_node(num_cpus=1, object_store_memory=200_000_000)
            else:
                continue
            killed.append(victim)
        for _ in range(5):  # a driver whose cluster lost too much ends with an error; the same command goes on
            if driver.poll() is None:
                driver.wait(timeout=300)
            if len(rows_in(out)) == 160:
                break
            driver = subprocess.Popen(job, env=QUIET)
    subprocess.run(command(source, tmp_path / "here", "local", 50), check=True, capture_output=True)
    print(f"\nkilled: {', '.join(killed)}")
    assert timeless(rows_in(out)) == timeless(rows_in(tmp_path / "here"))


def _copy(picture: Path, folder: Path) -> Path:
    copied = folder / picture.name
    copied.write_bytes(picture.read_bytes())
    return copied
