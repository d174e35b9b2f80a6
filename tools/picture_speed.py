"""CPU time of two looks at a picture, file to request body: this package, an older commit of it, and the alternatives.

python tools/picture_speed.py looks --before b2aaff0 --kinds jpg --megapixels 4,12,48,108
python tools/picture_speed.py files --keep PICTURES   # before; then looks --keep PICTURES
python tools/picture_speed.py eval --before b2aaff0 --count 400

The ways take turns, each in processes of its own; a figure is the least of all, for others use the machine too. Likeness is to Pillow's decoder and bicubic
filter: dB, or "equal" to the bit. For the alternatives: pip install opencv-python-headless imagecodecs pyvips[binary].
"""

from __future__ import annotations

import argparse
import base64
import http.server
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SAVING: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 90},
    "png": {"compress_level": 3},
    "webp": {"quality": 90, "method": 2},
    "tif": {},
}
BUDGET = 640
Looks = tuple[Any, Any]
Way = Callable[[str], tuple[Looks, Callable[[], list[bytes]]]]
"""A file -> the two looks as arrays, and what makes files of them."""


def photograph(seed: int, megapixels: float) -> Image.Image:
    """Coarse and fine structure of random colours, 4:3."""
    rng = np.random.default_rng(seed)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    size = (height * 4 // 3, height)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 256, (size[1] // 3, size[0] // 3, 3), np.uint8)).resize(size)
    return Image.blend(coarse, fine, 0.15)


def places(width: int, height: int) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """Size of the coarse look; corners and size of the close one, at a fifth of either side."""
    from ergo.core.geometry import Size, TokenBudget

    budget = TokenBudget(BUDGET, 4, 28)
    box = (width // 2, height // 2, width * 7 // 10, height * 7 // 10)
    coarse, close = budget.fit(Size(width, height)), budget.fit(Size(box[2] - box[0], box[3] - box[1]))
    return (coarse.width, coarse.height), box, (close.width, close.height)


# ── the ways ───────────────────────────────────────────────────────────────────────────────────


def pillow(path: str) -> tuple[Looks, Callable[[], list[bytes]]]:
    """Everything decoded, the exact filter: the measure of likeness."""
    image = Image.open(path)
    image.load()
    coarse, box, close = places(*image.size)
    looks = image.resize(coarse, Image.Resampling.BICUBIC), image.crop(box).resize(close, Image.Resampling.BICUBIC)

    def encode() -> list[bytes]:
        files = []
        for look in looks:
            look.save(file := io.BytesIO(), "png", compress_level=1)
            files.append(file.getvalue())
        return files

    return looks, encode


def pyvips(path: str) -> tuple[Looks, Callable[[], list[bytes]]]:
    """Shrink on load for the coarse look, a second read of the file for the close one."""
    import pyvips as vips

    header = vips.Image.new_from_file(path)
    coarse, box, close = places(header.width, header.height)
    small = vips.Image.thumbnail(path, coarse[0], height=coarse[1], size="force").copy_memory()
    part = vips.Image.new_from_file(path, access="sequential").crop(box[0], box[1], box[2] - box[0], box[3] - box[1])
    large = part.resize(close[0] / part.width, vscale=close[1] / part.height, kernel="cubic").copy_memory()
    return (small.numpy(), large.numpy()), lambda: [look.pngsave_buffer(compression=1) for look in (small, large)]


def cv2(path: str) -> tuple[Looks, Callable[[], list[bytes]]]:
    """Its filter for shrinking, which is not bicubic."""
    import cv2

    cv2.setNumThreads(1)
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    coarse, box, close = places(image.shape[1], image.shape[0])
    part = image[box[1] : box[3], box[0] : box[2]]
    looks = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one, size in ((image, coarse), (part, close))]
    return (looks[0][..., ::-1], looks[1][..., ::-1]), lambda: [cv2.imencode(".png", one)[1].tobytes() for one in looks]


def imagecodecs(path: str) -> tuple[Looks, Callable[[], list[bytes]]]:
    """Its decoders and its PNG; it has no filter, so Pillow's."""
    import imagecodecs as codecs

    array = codecs.imread(path)
    coarse, box, close = places(array.shape[1], array.shape[0])
    image, part = Image.fromarray(array), Image.fromarray(array[box[1] : box[3], box[0] : box[2]])
    looks = image.resize(coarse, Image.Resampling.BICUBIC), part.resize(close, Image.Resampling.BICUBIC)
    return looks, lambda: [codecs.png_encode(np.asarray(look), level=1, strategy=3) for look in looks]


def ours(fast: bool | None) -> Callable[[str], tuple[list[Any], Callable[[str], bytes]]]:
    """fast: None for a commit that does not know it."""

    def way(path: str) -> tuple[list[Any], Callable[[str], bytes]]:
        from ergo.backends.openai import wire
        from ergo.backends.openai.parameters import Wording
        from ergo.core.geometry import Box, TokenBudget
        from ergo.core.messages import Message, Request
        from ergo.core.view import View
        from ergo.images.decode import load_image

        picture, budget = load_image(path), TokenBudget(BUDGET, 4, 28)
        _, box, _ = places(picture.size.width, picture.size.height)
        more = {} if fast is None else {"fast": fast}
        views = [View.of(picture, budget, None, **more), View.of(picture, budget, Box(*box), **more)]
        looks = [view.pixels for view in views]

        def body(format: str) -> bytes:
            request = Request((Message("user", (*views, "What does the sign say?")),))
            content = wire.request_body(request, "m", format, Wording(), stream=False, upload=True)  # type: ignore[arg-type]
            return json.dumps(content).encode("ascii") if fast is None else wire.to_json(content)

        return looks, body

    return way


ALTERNATIVES = {"Pillow": pillow, "pyvips": pyvips, "cv2": cv2, "imagecodecs": imagecodecs}
OURS: dict[str, tuple[bool | None, str]] = {
    "before": (None, "png"),
    "exact": (False, "png"),
    "fast": (True, "png"),
    "fast, stored": (True, "stored-png"),
}


def measured(way: str, path: str, keep: str, repeats: str) -> dict[str, float]:
    """Milliseconds of CPU: of the looks, and to the end of the body. The looks go to `keep`."""
    found = defaultdict(list)
    for repeat in range(int(repeats) + 1):
        start = time.process_time()
        if way in OURS:
            looks, body = ours(OURS[way][0])(path)
            looked = time.process_time()
            body(OURS[way][1])
        else:
            looks, encode = ALTERNATIVES[way](path)  # type: ignore[assignment]
            looked = time.process_time()
            uris = ["data:image/png;base64," + base64.b64encode(file).decode("ascii") for file in encode()]
            json.dumps({"messages": [{"role": "user", "content": uris}]}).encode("ascii")
        if repeat:  # the first one imports
            found["looks"].append(1000 * (looked - start))
            found["body"].append(1000 * (time.process_time() - start))
        elif keep != "-":
            np.savez(keep, *(np.asarray(look) for look in looks))
    return {part: min(values) for part, values in found.items()}


def likeness(one: Path, other: Path, name: str) -> str:
    """Of one look by two ways: "equal", or dB."""
    a, b = (np.load(path)[name].astype(float)[..., :3] for path in (one, other))
    error = float(np.square(a - b).mean())
    return "equal" if error == 0 else f"{10 * math.log10(255**2 / error):.0f} dB"


def compare_looks(args: argparse.Namespace, folder: Path) -> None:
    """The table of `looks`."""
    environment = {"before": source_of(args.before, folder / "before")} if args.what == "looks" else {}
    for kind in args.kinds.split(","):
        for megapixels in map(float, args.megapixels.split(",")):
            path = (args.keep or folder) / f"{megapixels:g}.{kind}"
            if not path.is_file():
                photograph(7, megapixels).save(path, **SAVING[kind])
            if args.what == "files":
                continue
            found: dict[str, list[dict[str, float]]] = defaultdict(list)
            for number in range(args.rounds):
                for way in (*OURS, *ALTERNATIVES):
                    keep = str(folder / f"{way}.npz") if not number else "-"
                    command = [sys.executable, __file__, "measure", way, str(path), keep, str(args.repeats)]
                    done = subprocess.run(command, capture_output=True, text=True, env=environment.get(way))
                    if done.returncode == 0:
                        found[way].append(json.loads(done.stdout))
            for way, runs in found.items():
                looks, body = (min(run[part] for run in runs) for part in ("looks", "body"))
                alike = [likeness(folder / "Pillow.npz", folder / f"{way}.npz", name) for name in ("arr_0", "arr_1")]
                print(f"| {kind} {megapixels:g} MP | {way} | {looks:.0f} | {body:.0f} | {1000 / body:.1f} | "
                      f"{alike[0]} | {alike[1]} |", flush=True)  # fmt: skip


def source_of(commit: str, folder: Path) -> dict[str, str]:
    """An environment in which `ergo` is that commit's."""
    folder.mkdir()
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit, "src"], check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return {**os.environ, "PYTHONPATH": str(folder / "src")}


# ── through `ergo eval` ────────────────────────────────────────────────────────────────────────


class Answering(http.server.BaseHTTPRequestHandler):
    """A server that names a region, and then an answer."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        second = sent.count(b'"role": "assistant"')
        text = "<answer>A</answer>" if second else "<zoom>[400, 300, 560, 420]</zoom>"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        reply = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: object) -> None:
        pass


def compare_evals(args: argparse.Namespace, folder: Path) -> None:
    """CPU seconds of `ergo eval`, Python's start included, against a server in another process."""
    for number in range(20):
        photograph(number, 4).save(folder / f"{number}.jpg", quality=90)
    rows = ({"id": str(n), "image": f"{n % 20}.jpg", "question": "Which?", "options": ["a", "b"], "answer": "A"}
            for n in range(args.count))  # fmt: skip
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    serving = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    port = int(serving.stdout.readline())
    ways = {"before": ["--image-format", "png"], "exact": ["--image-format", "png", "--resize", "exact"],
            "fast": ["--image-format", "png"], "fast, stored": []}  # fmt: skip
    before = source_of(args.before, folder / "before")
    try:
        for way, flags in ways.items():
            command = [sys.executable, "-m", "ergo", "eval", str(folder / "samples.jsonl"), "--out", str(folder / way),
                       "--model", f"openai:http://127.0.0.1:{port}", "--served-name", "m", "--family", "qwen2_5_vl",
                       "--budget", str(BUDGET), "--concurrency", "2", *flags]  # fmt: skip
            wall = time.perf_counter()
            process = subprocess.Popen(
                command, env=before if way == "before" else None, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            errors = process.stderr.read().decode() if process.stderr else ""
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(errors)
            cpu = used.ru_utime + used.ru_stime
            print(f"| {way} | {cpu:.1f} | {1000 * cpu / args.count:.0f} | {args.count / cpu:.1f} | "
                  f"{time.perf_counter() - wall:.1f} | {used.ru_maxrss / 1024:.0f} |", flush=True)  # fmt: skip
    finally:
        serving.terminate()


def serve() -> None:
    """In a process of its own; its port is its first line."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever).run()


def main() -> None:
    """The command line, and the processes that it starts."""
    if sys.argv[1:2] == ["measure"]:
        print(json.dumps(measured(*sys.argv[2:6])))
        return
    if sys.argv[1:2] == ["serve"]:
        serve()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("looks", "eval", "files"))
    parser.add_argument("--before", default="b2aaff0", metavar="COMMIT")
    parser.add_argument("--kinds", default="jpg,png,webp,tif")
    parser.add_argument("--megapixels", default="4,12,48")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the pictures are kept; `files` makes them")
    parser.add_argument("--count", type=int, default=400)
    args = parser.parse_args()
    Image.MAX_IMAGE_PIXELS = None
    with tempfile.TemporaryDirectory() as name:
        if args.what == "files":
            compare_looks(args, Path(name))
        elif args.what == "looks":
            print("| picture | way | looks, ms | with body, ms | a second and core | coarse | close |\n|" + "---|" * 7)
            compare_looks(args, Path(name))
        else:
            print("| way | CPU s | ms a picture | a second and core | wall s | peak MiB |\n|" + "---|" * 6)
            compare_evals(args, Path(name))


if __name__ == "__main__":
    main()
