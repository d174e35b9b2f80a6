"""The verl plug-in against the TRL path, on the same rollouts: ids, masks, log-probabilities and rewards.

    tests/engines/setup_verl.sh && pytest -m engines tests/engines/test_verl.py

Rollouts are sampled and rewarded here, by the code of `ergo train`, and written down; verl_loop.py then
runs in verl's environment, where a fake server gives the same ids for the same prompts. No GPU, so no
real server: what a rollout engine does with prompts and pictures is not tested.

Both paths ask one verifier, behind HTTP as on a cluster. It is no model: what it answers is a hash of
what it was sent, so that one other pixel or word changes a quarter of the verdicts. (ergo-tiny itself
cannot be loaded there: verl 0.9.1 wants transformers below 5.11, which does not know its positions.)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ergo.backends import TINY, open_backend
from ergo.backends.transformers.backend import TransformersBackend
from ergo.core.flows import Question, coarse_to_fine
from ergo.core.messages import Sampling
from ergo.images.decode import load_image
from ergo.recipes import read_recipe
from ergo.rl.episode import episode_of
from ergo.rl.evidence import Rollout, Verifier, gather
from ergo.rl.recipe import grpo_recipe
from ergo.rl.rewards import Evidence
from ergo.samples.sample import sample_to_json
from ergo.traces.run import run
from ergo.world.questions import generate

pytestmark = pytest.mark.engines

HERE = Path(__file__).parent
PYTHON = Path(os.environ.get("ERGO_ENGINES", HERE.parent.parent / ".engines")) / "verl" / "bin" / "python"

RECIPE = """
kind = "grpo"
start = "ergo-tiny"
verifier = "VERIFIER"
seed = 1
data = "world"
samples = 0
budget = 40
max_completion_length = 24
reward = [{ name = "region" }, { name = "box", weight = 0.5, options = { gamma = 0.6 } }, { name = "accuracy" },
          { name = "format" }, { name = "coverage", weight = 0.25 }, { name = "tokens", weight = 0.1 }]
trl = {}
"""


class Verdicts(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that picks an option by the hash of all that it is sent."""

    def do_GET(self) -> None:
        self._send({"object": "list", "data": [{"id": "verifier", "object": "model"}]})

    def do_POST(self) -> None:
        messages = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"]
        sent = json.dumps(messages, sort_keys=True)
        letters = re.findall(r"\(([A-Z])\) ", sent)
        chosen = letters[int(hashlib.sha256(sent.encode()).hexdigest(), 16) % len(letters)]
        message = {"role": "assistant", "content": f"<answer>{chosen}</answer>"}
        self._send({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {}})

    def _send(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def verifier() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Verdicts)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"openai:http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, verifier: str) -> Path:
    """A folder with the recipe, the samples, and what the TRL path made of six rollouts of each."""
    folder = tmp_path_factory.mktemp("rollouts")
    (folder / "recipe.toml").write_text(RECIPE.replace("VERIFIER", verifier))
    recipe = grpo_recipe(read_recipe(folder / "recipe.toml"))
    policy = open_backend("ergo-tiny")
    assert isinstance(policy.backend, TransformersBackend)
    samples = []
    for number, sample in enumerate(generate("train", 4, megapixels=(0.3, 0.5))):
        load_image(sample.image).pixels.save(folder / f"{number}.png")
        samples.append(replace(sample, id=str(number), image=f"{number}.png"))
    (folder / "samples.jsonl").write_text("".join(sample_to_json(sample) + "\n" for sample in samples))
    rollouts = []
    for sample in samples:
        picture = load_image(folder / str(sample.image))
        for seed in range(6):
            looking = policy.look_config(
                recipe.budget, Sampling(recipe.max_completion_length, recipe.temperature, seed=seed)
            )
            job = (None, partial(coarse_to_fine, picture, Question(sample.question, sample.choices), looking))
            [trace] = run([job], policy.backend)
            rollouts.append(Rollout(sample, picture, trace, recipe.budget))
    evidence = gather(rollouts, Verifier(open_backend(verifier), recipe.budget))
    known = [one for one in evidence if isinstance(one, Evidence)]
    assert len(known) == len(rollouts)
    rewards = {reward.name: [reward.scorer()(one) for one in known] for reward in recipe.rewards}
    rows = [
        {
            "sample": one.sample.id,
            "said": [list(completion.token_ids or ()) for completion in one.trace.completions],
            "logprobs": [list(completion.logprobs or ()) for completion in one.trace.completions],
            "episode": {k: v for k, v in asdict(replace(episode, views=())).items() if k != "views"},
            "grids": [[1, view.size.height // 28, view.size.width // 28] for view in episode.views],
            "rewards": {name: values[place] for name, values in rewards.items()},
            "score": sum(reward.weight * (rewards[reward.name][place] or 0.0) for reward in recipe.rewards),
        }
        for place, one in enumerate(rollouts)
        for episode in [episode_of(policy.backend.processor, one.trace)]
    ]
    (folder / "rollouts.json").write_text(json.dumps(rows))
    for name in ("region", "accuracy", "coverage"):  # rewards that are all alike would prove nothing
        assert len({row["rewards"][name] for row in rows}) > 1, name
    return folder


@pytest.mark.skipif(not PYTHON.exists(), reason="no environment for verl: tests/engines/setup_verl.sh")
def test_verl_s_rollouts_and_rewards_are_those_of_the_trl_path(written: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "-q", "-rs", str(HERE / "verl_loop.py")],
        env=os.environ | {"ERGO_ROLLOUTS": str(written), "ERGO_TINY": str(TINY)},
        capture_output=True,
        text=True,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
