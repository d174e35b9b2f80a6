"""Everything a GPU does here, proved by one command that ends in time: `make gpu`, or `make gpu ARGS=--dry-run`.

Parts run in the order of their worth. Each says beforehand how long it may take, is left out where the time left is
less, writes what it found as soon as it is done, and costs no other part anything if it fails:

    OUT/results.jsonl   one line a part: what was found, seconds, peak memory
    OUT/summary.md      the same for people
    OUT/errors.txt      tracebacks
    OUT/tests.txt       what pytest printed

--dry-run runs every part at toy size on the CPU, so that what is sent to a GPU is known to work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "helpers"), str(ROOT / "tests" / "gpu")]

import torch  # noqa: E402
from seven_billion import build, save  # noqa: E402
from tiny_models import make_processor  # noqa: E402

from ergo.backends import Model, open_backend  # noqa: E402
from ergo.backends.transformers.backend import TransformersBackend  # noqa: E402
from ergo.bench.measure import Plan, bench  # noqa: E402
from ergo.bench.roofline import ModelShape, measured_rates  # noqa: E402
from ergo.cli.train import train  # noqa: E402
from ergo.core.geometry import FULL  # noqa: E402
from ergo.evals import benchmarks  # noqa: E402
from ergo.evals.conditions import Condition, Protocol  # noqa: E402
from ergo.evals.files import write_report  # noqa: E402
from ergo.evals.run import evaluate  # noqa: E402
from ergo.families import FAMILIES  # noqa: E402
from ergo.recipes import find  # noqa: E402
from ergo.traces.folder import RunFolder  # noqa: E402
from ergo.traces.provenance import environment  # noqa: E402

Found = dict[str, Any]


@dataclass
class Proof:
    """One run of the script. seconds: in all. toy: everything small, on the CPU."""

    out: Path
    seconds: float
    toy: bool
    started: float = field(default_factory=time.perf_counter)
    scratch: Path = field(default_factory=lambda: Path(mkdtemp(prefix="ergo-gpu-")))

    @property
    def device(self) -> str:
        return "cpu" if self.toy else "cuda"

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.started)

    def note(self, part: str, found: Found) -> None:
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"part": part} | found, default=str) + "\n")
        text = json.dumps(found, indent=2, default=str)
        with (self.out / "summary.md").open("a", encoding="utf-8") as summary:
            summary.write(f"## {part}\n\n```json\n{text}\n```\n\n")
        print(f"{part}: {text}", flush=True)


def machine(proof: Proof) -> Found:
    """Card, versions, and the matrix and copy rates that rooflines are computed from."""
    found: Found = environment() | {"torch": torch.__version__, "host": platform.platform()}
    for dtype in ("float32", "bfloat16"):
        rates = measured_rates(proof.device, dtype)
        found[f"{dtype} TFLOP/s, GB/s"] = (round(rates.flops / 1e12, 2), round(rates.bandwidth / 1e9, 1))
    if proof.toy:
        return found
    card = torch.cuda.get_device_properties(0)
    pinned = torch.empty(256 << 20, dtype=torch.uint8, pin_memory=True)
    began = _now()
    for _ in range(8):
        pinned.to("cuda", non_blocking=True)
    copied = 8 * pinned.numel() / (_now() - began)
    return found | {"card": card.name, "GiB": round(card.total_memory / 2**30, 1), "to the card, GB/s": copied / 1e9}


def tests(proof: Proof) -> Found:
    """The tests marked `gpu`, and those of the trainer, which takes a GPU where there is one."""
    env = os.environ | {"ERGO_TEST_DEVICE": proof.device, "PYTHONPATH": str(ROOT / "src")}
    chosen = {"device": ["-m", "gpu", "tests/gpu"]}
    if not proof.toy:  # on a CPU `make test` has run them
        chosen["package"] = ["-m", "not slow and not engines", "tests/rl", "tests/tiny", "tests/backends"]
    found: Found = {}
    with (proof.out / "tests.txt").open("wb") as log:
        for name, tests_of in chosen.items():
            report = proof.scratch / f"{name}.xml"
            pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests_of]
            limit = max(30.0, proof.left - 20)
            subprocess.run(pytest, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, timeout=limit, check=False)
            suite = ElementTree.parse(report).getroot()[0]
            found[name] = {count: int(suite.attrib[count]) for count in ("tests", "failures", "errors", "skipped")}
            found[f"{name} failed"] = [case.attrib["name"] for case in suite if len(case) and case[0].tag != "skipped"]
    return found


def looks(proof: Proof) -> Found:
    """7B shapes: a direct look at full size against two looks at 1,280 and at 640 tokens, and the kept cache."""
    model = build(proof.device, torch.float32 if proof.toy else torch.bfloat16, proof.toy)
    shape = ModelShape.of(model.config.to_dict(), model.dtype.itemsize)
    rates = measured_rates(proof.device, str(model.dtype).removeprefix("torch."))
    direct, budgets, output, megapixels = (256, (64, 32), 4, 0.4) if proof.toy else (FULL, (1280, 640), 100, 13.0)
    rounds, at_once = (1, 2) if proof.toy else (5, 8)

    def opened(reuse: bool) -> Model:
        backend = TransformersBackend(model, make_processor("qwen2_5_vl"), FAMILIES["qwen2_5_vl"], at_once, reuse)
        return Model(backend, FAMILIES["qwen2_5_vl"], backend.processor.patch, "7B shapes, random weights")

    found: Found = {"parameters": sum(weight.numel() for weight in model.parameters()), "output tokens": output}
    for budget in budgets:
        plans = (
            Plan(Condition("one_look", direct), (output,)),
            Plan(Condition("coarse_to_fine", budget), (output // 2, output // 2)),
        )
        result = bench(opened(True), plans, megapixels, rounds, at_once, shape, rates)
        found[f"coarse_to_fine@{budget} over one_look@{direct}"] = {
            "latency ratio": result.latency_ratio,
            "throughput ratio": result.throughput_ratio,
            "direct": _parts(result.first),
            "two looks": _parts(result.second),
        }
    plan = Plan(Condition("coarse_to_fine", budgets[0]), (output // 2, output // 2))
    kept, again = (bench(opened(reuse), (plan, plan), megapixels, rounds, at_once) for reuse in (True, False))
    found["kept cache: seconds of two looks, kept and computed again"] = (kept.second.median, again.second.median)
    return found


def step_7b(proof: Proof) -> Found:
    """One GRPO step of the 7B shapes with LoRA: seconds by part, and peak memory beside the plan's."""
    ram = Path("/dev/shm")
    where = Path(mkdtemp(prefix="ergo-7b-", dir=ram if ram.is_dir() and not proof.toy else proof.scratch))
    try:
        save(build(proof.device, torch.float32 if proof.toy else torch.bfloat16, proof.toy), where)
        if not proof.toy:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        sizes = (
            ["budget=32", "max_completion_length=8", "trl.num_generations=2", "trl.gradient_accumulation_steps=2"]
            if proof.toy
            else ["budget=640", "max_completion_length=256", "trl.gradient_accumulation_steps=8"]
        )
        changes = [
            f"start='{where}'", "verifier='ergo-tiny'", "data='world'", "samples=8", "trl.max_steps=2",
            "trl.report_to='none'", "trl.save_strategy='no'", "patience=99", "reward=[{name='alternating:every_other'}]", *(["trl.bf16=false"] if proof.toy else []), *sizes,
        ]  # fmt: skip
        out = proof.scratch / "step-7b"
        train(find("ergo-7b-lora-1gpu"), out, changes)
        rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        return {"steps": [{name: row[name] for name in row if "seconds" in name or name in ("step", "grad_norm", "step_time")}
                          for row in rows]}  # fmt: skip
    finally:
        shutil.rmtree(where, ignore_errors=True)


def bundled(proof: Proof) -> Found:
    """The bundled model by reinforcement learning on the device, with its accuracy before and after."""
    limit, steps = (4, 1) if proof.toy else (500, 60)
    out = proof.scratch / "bundled"
    changes = [f"trl.max_steps={steps}", "validate_every=0", "show_every=0", "trl.report_to='none'"]
    if proof.toy:
        changes += ["samples=16", "trl.num_generations=4", "trl.per_device_train_batch_size=8",
                    "trl.gradient_accumulation_steps=1"]  # fmt: skip
    before = _accuracy(proof, "ergo-tiny", limit, "before")
    began = _now()
    checkpoint = train(find("tiny-grpo"), out, changes)
    seconds = _now() - began
    return {
        "steps": steps,
        "seconds": seconds,
        "before": before,
        "after": _accuracy(proof, f"hf:{checkpoint}", limit, "after"),
    }


def _accuracy(proof: Proof, name: str, limit: int, label: str) -> Found:
    model = open_backend(name, device=proof.device)
    data = benchmarks.find("world", split="test", limit=limit)
    where = proof.scratch / label
    settings = {
        "benchmark": "world",
        "split": "test",
        "model": name,
        "preset": "ours",
        "option_order": "as-is",
        "mask": False,
    }
    condition = Condition("coarse_to_fine", 100)
    with RunFolder(where, settings | {"conditions": [condition.name]}) as folder:
        for _ in evaluate(data.samples, [condition], Protocol(), model, folder, 16):
            pass
    [figures] = write_report(where).figures
    return {"accuracy": figures.accuracy, "interval": figures.accuracy_interval, "samples": figures.samples}


def _parts(measured: Any) -> Found:
    return {
        "median seconds": measured.median,
        "by part": measured.latency,
        "samples/s": measured.throughput,
        "roofline seconds": measured.latency_roofline.total if measured.latency_roofline else None,
        "vision tokens": measured.vision_tokens,
    }


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class Part:
    """seconds: how long it may take on an H100, and at toy size on two cores."""

    run: Callable[[Proof], Found]
    seconds: float
    toy_seconds: float


PARTS = {
    "machine": Part(machine, 20, 5),
    "tests": Part(tests, 100, 40),
    "looks of a 7B": Part(looks, 120, 15),
    "a step of a 7B": Part(step_7b, 120, 15),
    "the bundled model": Part(bundled, 110, 15),
}


def main() -> int:
    """Run the parts that fit; 0 if none failed and, on a GPU, none was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results (default: runs/gpu)")
    parser.add_argument("--minutes", type=float, default=8.0, help="when to be done (default: 8)")
    parser.add_argument("--dry-run", action="store_true", help="everything at toy size, on the CPU")
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART", help="these parts"
    )
    args = parser.parse_args()
    if not args.dry_run and not torch.cuda.is_available():
        print("no GPU is seen by torch here: --dry-run runs everything at toy size on the CPU", file=sys.stderr)
        return 2
    if args.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    args.out.mkdir(parents=True, exist_ok=True)
    proof = Proof(args.out, args.minutes * 60, args.dry_run)
    chosen = {name: PARTS[name] for name in args.only}
    for name, part in chosen.items():
        print(f"planned: {name}, at most about {part.toy_seconds if proof.toy else part.seconds:.0f} s", flush=True)
    failed = 0
    for name, part in chosen.items():
        needed = part.toy_seconds if proof.toy else part.seconds
        if proof.left < needed:
            proof.note(name, {"left out": f"{proof.left:.0f} s left of {needed:.0f} needed"})
            failed += 1
            continue
        began = _now()
        try:
            found = part.run(proof)
        except Exception as error:  # the one boundary: a part that fails costs no other part anything
            failed += 1
            with (proof.out / "errors.txt").open("a", encoding="utf-8") as errors:
                errors.write(f"{name}\n{traceback.format_exc()}\n")
            found = {"failed": " ".join(str(error).split())[:500]}
        peak = {} if proof.toy else {"peak GiB": round(torch.cuda.max_memory_allocated() / 2**30, 2)}
        failed += any(found[name] for name in found if name.endswith(" failed"))
        proof.note(name, found | {"took": round(_now() - began, 1)} | peak)
    shutil.rmtree(proof.scratch, ignore_errors=True)
    print(f"{len(chosen) - failed} of {len(chosen)} parts are proved; {args.out}/summary.md", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
