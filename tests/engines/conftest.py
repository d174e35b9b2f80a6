"""Real servers, each in an environment of its own (setup.sh), started once for all tests that look through them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ergo.families import FAMILIES
from ergo.families.base import ModelFamily

FAMILY_NAMES = ("qwen2_5_vl", "qwen3_vl")
HERE = Path(__file__).parent
HOME = Path(os.environ.get("ERGO_ENGINES", HERE.parent.parent / ".engines"))


@dataclass(frozen=True)
class Engine:
    """A server at `url`, of the checkpoint in a folder, which is of a family."""

    name: str
    url: str
    family: ModelFamily
    checkpoint: Path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny checkpoint of each family, under the family's name."""
    pytest.importorskip("torch", reason="the tiny checkpoint is made with torch and transformers")
    pytest.importorskip("transformers", reason="the tiny checkpoint is made with torch and transformers")
    folder = tmp_path_factory.mktemp("engines")
    for family in FAMILY_NAMES:
        subprocess.run([sys.executable, str(HERE / "tiny_vlm.py"), str(folder / family), family], check=True)
    return folder


@pytest.fixture(
    scope="session",
    params=[(name, family) for name in ("llamacpp", "vllm") for family in FAMILY_NAMES],
    ids=lambda pair: "-".join(pair),
)
def engine(request: pytest.FixtureRequest, checkpoints: Path) -> Iterator[Engine]:
    name, family = request.param
    with served(name, checkpoints / family) as url:
        yield Engine(name, url, FAMILIES[family], checkpoints / family)


@contextmanager
def served(name: str, checkpoint: Path, *settings: str) -> Iterator[str]:
    """The address of an engine that serves this checkpoint. settings: further words of its command line."""
    if not (HOME / name / "ready").exists():
        pytest.skip(f"{HOME / name} is not set up: tests/engines/setup.sh {name}")
    log = checkpoint.parent / f"{name}-{checkpoint.name}.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*command(name, checkpoint, port), *settings],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(url, server, log)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def command(name: str, checkpoint: Path, port: int) -> list[str]:
    """How each engine serves the checkpoint."""
    python = str(HOME / name / "bin" / "python")
    if name == "llamacpp":
        files = checkpoint.parent / f"{checkpoint.name}-gguf"
        subprocess.run([python, str(HERE / "to_gguf.py"), str(checkpoint), str(files)], check=True)
        return [python, str(HERE / "serve_llamacpp.py"), str(files), str(port)]
    options = {
        "--model": str(checkpoint),
        "--served-model-name": "tiny",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--dtype": "float32",
        "--max-model-len": "8192",
        "--max-num-seqs": "8",
        "--limit-mm-per-prompt": '{"image": 2, "video": 0}',
    }
    flags = ["--enforce-eager", "--enable-prompt-tokens-details"]
    # not `vllm serve`: it asks for the version of a package called vllm, and this one is called vllm-cpu
    return [
        python,
        "-m",
        "vllm.entrypoints.openai.api_server",
        *flags,
        *(word for pair in options.items() for word in pair),
    ]


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 300) -> None:
    """Until the server lists its model."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            if httpx.get(f"{url}/v1/models", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the engine did not start:\n{log.read_text(errors='replace')[-3000:]}")
