"""The same job by actors on Ray: the same rows, also when drivers, actors and nodes are killed under it."""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from test_at_scale import photograph
from test_batch import opened, rows_in, timeless

from ergo.api import BUNDLED as DEMO
from ergo.batch.pictures import Decoder, Opened
from ergo.batch.worker import BatchConfig
from ergo.core.errors import PictureError
from ergo.core.geometry import Box, Size
from ergo.core.view import View
from ergo.images.address import open_picture

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


@pytest.mark.parametrize("decoders", [0, 2])
def test_actors_write_the_rows_that_one_process_would(tmp_path: Path, decoders: int) -> None:
    picture = tmp_path / "a.jpg"
    photograph(7, 1.0).save(picture)
    source = many(tmp_path / "in", picture, 12)
    (source / "broken.jpg").write_bytes(b"no picture")
    here = subprocess.run(command(source, tmp_path / "here", "local", 5), capture_output=True, text=True, env=QUIET)
    on_ray = [*command(source, tmp_path / "ray", "ray", 5), "--decoders", str(decoders)]
    done = subprocess.run(on_ray, capture_output=True, text=True, env=QUIET)
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
    source = many(tmp_path / "in", _copy(DEMO / "plate.jpg", tmp_path), 160)
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


def test_a_decoder_that_forgot_a_picture_shows_the_same_of_it(tmp_path: Path) -> None:
    """Also views, so that a model sees to the bit what it would have seen without a decoder."""
    photograph(1, 0.5).save(tmp_path / "a.jpg")
    photograph(2, 0.5).save(tmp_path / "b.png")
    config = BatchConfig(budget=64).look_config(opened())
    decoder = Decoder(config.coarse, config.fast, as_stored=False, capacity=1)
    for name in ("a.jpg", "b.png", "a.jpg"):
        address = str(tmp_path / name)
        told = decoder.open(address)
        assert isinstance(told, Opened)
        view = View.of(open_picture(address), config.coarse, fast=config.fast)
        assert (told.size, told.name) == (view.picture.size, view.picture.name)
        assert np.array_equal(told.first, np.asarray(view.pixels))
        box = Box(10, 20, 300, 200)
        other = decoder.part(str(tmp_path / "b.png"), box, Size(140, 84), False)
        assert np.array_equal(other, np.asarray(open_picture(tmp_path / "b.png").part(box, Size(140, 84))))
    gone = decoder.open(str(tmp_path / "gone.jpg"))
    assert isinstance(gone, PictureError)
    assert gone.kind == "missing"
    assert pickle.loads(pickle.dumps(gone)).kind == "missing"  # as Ray carries it


STAGES = """
import json, sys, time
from functools import partial
sys.path[:0] = [{here!r}, {here!r} + "/../helpers"]
from ergo.backends import Model
from ergo.backends.scripted import ScriptedBackend
from ergo.batch.rows import read_rows
from ergo.batch.run import Fleet, run_on_ray
from ergo.batch.shards import Shards
from ergo.batch.worker import BatchConfig
from ergo.families import QWEN2_5_VL

def opened():
    reply = lambda request: "<zoom>[28, 28, 280, 280]</zoom>" if request.expect == "region" else "<answer>A</answer>"
    return Model(ScriptedBackend(reply, seconds=0.2, parallel=False, record=False), QWEN2_5_VL, 28, "scripted")

shards = Shards(sys.argv[2])
shards.begin(dict(job=1))
times = []
fleet = Fleet(None, 1, 4, **json.loads(sys.argv[3]))
for progress in run_on_ray(list(read_rows(sys.argv[1], "x")), shards, opened, BatchConfig(budget=640), fleet, 8):
    times.append((time.perf_counter(), progress.done))
(began, first), (ended, last) = times[0], times[-1]
print((last - first) / (ended - began))
"""


@pytest.mark.slow
def test_decoders_feed_a_model_at_least_as_fast_as_its_own_process(tmp_path: Path) -> None:
    """Pictures of 48 megapixels and a model that takes no cores, as on a GPU. The first block, with all starts, is not counted."""
    photograph(5, 48).save(tmp_path / "a.jpg", quality=90)
    source = many(tmp_path / "in", tmp_path / "a.jpg", 24)
    rates: dict[int, list[float]] = {0: [], 2: []}
    for turn in range(3):
        for decoders, found in rates.items():
            code = STAGES.format(here=str(Path(__file__).parent))
            out = tmp_path / f"out-{turn}-{decoders}"
            job = [sys.executable, "-c", code, str(source), str(out), json.dumps({"decoders": decoders})]
            found.append(float(subprocess.run(job, check=True, capture_output=True, text=True, env=QUIET).stdout))
            print(f"turn {turn}, {decoders} decoders: {found[-1]:.2f} rows/s", flush=True)
    assert statistics.median(rates[2]) >= 0.9 * statistics.median(rates[0])


def _copy(picture: Path, folder: Path) -> Path:
    copied = folder / picture.name
    copied.write_bytes(picture.read_bytes())
    return copied
