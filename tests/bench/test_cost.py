"""What the harness itself costs: its rate against an endpoint that answers in 50 ms, and its memory at 48 megapixels.

Run with `-s` to see the figures; docs/results.md keeps them.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ergo.backends import open_backend
from ergo.core.geometry import TokenBudget
from ergo.core.view import View
from ergo.evals.conditions import Condition, Protocol
from ergo.evals.run import evaluate
from ergo.images.decode import load_image
from ergo.images.encode import data_uri
from ergo.samples.sample import Sample
from ergo.traces.folder import RunFolder, read_rows

pytestmark = pytest.mark.slow
SAMPLES = int(os.environ.get("ERGO_EVAL_SAMPLES", "2000"))
AT_ONCE = 64
DELAY = 0.05  # seconds the endpoint takes
IDEAL = AT_ONCE / DELAY  # one look each

SERVER = """
import asyncio, json, sys
reply = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "<answer>A</answer>"}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5}}).encode()
models = json.dumps({"data": [{"id": "tiny", "owned_by": "vllm"}]}).encode()

async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = next((int(line[15:]) for line in head.split(b"\\r\\n") if line.lower().startswith(b"content-length:")), 0)
            await reader.readexactly(length)
            body = models if head.startswith(b"GET") else reply
            if body is reply:
                await asyncio.sleep(float(sys.argv[1]))
            writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: %d\\r\\n\\r\\n%s" % (len(body), body))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@contextmanager
def endpoint(delay: float) -> Iterator[str]:
    """An endpoint in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(delay)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield f"openai:http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def jpeg(width: int, height: int, seed: int = 0) -> bytes:
    """Photograph-like: smooth with some grain."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = Image.effect_noise((width, height), 12).convert("RGB")
    out = io.BytesIO()
    Image.blend(small, grain, 0.2).save(out, "JPEG", quality=88)
    return out.getvalue()


def rate(tmp_path: Path, encoded: bytes, count: int) -> float:
    """Samples a second of `ergo eval` over one direct look each."""

    def samples() -> Iterator[Sample]:
        for number in range(count):
            yield Sample(str(number), encoded, "Which?", "a", ("a", "b"))

    with endpoint(DELAY) as model, RunFolder(tmp_path / f"run-{len(encoded)}", {"count": count}) as folder:
        model = open_backend(model)
        started = time.perf_counter()
        done = list(evaluate(samples, [Condition("one_look", 640)], Protocol(), model, folder, AT_ONCE))
        seconds = time.perf_counter() - started
    assert len(done) == len(read_rows(folder.path / "traces.jsonl")) == count
    assert done[-1].right == count
    return count / seconds


def cpu_ms(act: Callable[[], object], times: int = 12) -> float:
    act()
    started = time.process_time()
    for _ in range(times):
        act()
    return 1000 * (time.process_time() - started) / times


def test_the_rate_against_an_endpoint_that_answers_in_50_ms(tmp_path: Path) -> None:
    tiny, large = jpeg(64, 48), jpeg(2400, 1680)
    picture = load_image(large)
    budget = TokenBudget(640)
    seen = View.of(picture, budget)
    seen.pixels  # noqa: B018
    stages = {
        "decode": cpu_ms(lambda: load_image(large).pixels.load()),
        "resize": cpu_ms(lambda: View.of(picture, budget).pixels),
        "encode bmp": cpu_ms(lambda: data_uri(View(seen.picture, seen.box, seen.size, seen.budget), "bmp")),
        "encode png": cpu_ms(lambda: data_uri(View(seen.picture, seen.box, seen.size, seen.budget), "png")),
    }
    stages["encode bmp"] -= stages["resize"]
    stages["encode png"] -= stages["resize"]
    small = rate(tmp_path, tiny, SAMPLES)
    whole = rate(tmp_path, large, max(200, SAMPLES // 5))
    print(
        f"\n64 at once, 50 ms: ideal {IDEAL:.0f}/s; tiny pictures {small:.0f}/s ({small / IDEAL:.0%}); 4 MP JPEG {whole:.0f}/s ({whole / IDEAL:.1%})"
    )
    print("  CPU ms a sample, 4 MP: " + ", ".join(f"{name} {ms:.1f}" for name, ms in stages.items()))
    assert small > 0.1 * IDEAL
    assert whole > 8


MEMORY = """
import resource, sys
from pathlib import Path
from ergo.backends import open_backend
from ergo.evals.conditions import Condition, Protocol
from ergo.evals.run import evaluate
from ergo.images.memory import give_freed_memory_back
from ergo.images.decode import load_image
from ergo.samples.sample import Sample
from ergo.traces.folder import RunFolder
give_freed_memory_back()  # as the command line does
picture, out, count, window = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
if window:
    samples = lambda: (Sample(str(n), picture, "Which?", "a", ("a", "b")) for n in range(count))
    with RunFolder(out, {}) as folder:
        done = list(evaluate(samples, [Condition("coarse_to_fine", 640)], Protocol(), open_backend("scripted:<zoom>[28, 28, 280, 280]</zoom><answer>A</answer>"), folder, window))
    assert len(done) == count
else:
    held = [load_image(picture).pixels.copy() for _ in range(count)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(picture: Path, out: Path, count: int, concurrency: int) -> float:
    """MiB at most resident in a process that evaluates (window > 0), or only decodes everything at once (0)."""
    command = [sys.executable, "-c", MEMORY, str(picture), str(out), str(count), str(concurrency)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def test_memory_is_that_of_the_window_not_of_the_data_set(tmp_path: Path) -> None:
    picture = tmp_path / "48mp.jpg"
    picture.write_bytes(jpeg(8000, 6000))
    count = max(32, SAMPLES // 10)
    windowed = peak(picture, tmp_path / "run", count, 16)
    few = peak(picture, tmp_path / "few", 32, 16)
    at_once = peak(picture, tmp_path / "none", 40, 0)
    print(f"\n48 MP: window of 16 over {count} pictures {windowed:.0f} MiB, over 32 {few:.0f} MiB; 40 decoded at once {at_once:.0f} MiB"
          f" ({at_once / 40:.0f} each: 200 would be {at_once * 5 / 1024:.0f} GiB)")  # fmt: skip
    assert windowed < 1.15 * few
    assert windowed < 17 * at_once / 40 + 400
