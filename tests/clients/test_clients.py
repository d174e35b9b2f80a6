"""Other people's clients against the server, each in its own ways: what works, and with which words the rest is refused.

    tests/clients/setup.sh && pytest -m clients -s          # -s shows the table of docs/serve.md

The server answers the number that stands after # in the question, so no made-up answer passes for its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import data_uri, scripted, serving

pytestmark = pytest.mark.clients
HERE = Path(__file__).parent
HOME = Path(os.environ.get("ERGO_CLIENTS", HERE.parent.parent / ".clients"))

TOOLS, FORM = "not honoured here; response_format (json_schema) gives", "cannot be held to that schema"
REFUSED = {
    "tools": TOOLS, "bind_tools": TOOLS, "native tools": TOOLS, "TOOLS (its default)": TOOLS, "Responses API, tools": TOOLS,
    "with_structured_output, function_calling": TOOLS,
    "parse, a form of its own": FORM, "--schema, a form of its own": FORM, "generateObject, a form of its own": FORM,
    "audio": "'input_audio'", "a file": "'file'", "n": "n is not honoured here", "logprobs": "logprobs is not honoured here",
    "another model": "no model is called 'gpt-9'", "responses, earlier one": "previous_response_id is not honoured here",
    "reasoning effort": "reasoning_effort is not honoured here",
    # its schema stands in the system prompt, which a question about a picture does not have: its own check says so
    "JSON": "validation error", "MD_JSON": "validation error",
}  # fmt: skip
"""Ways that are refused, and the words; in all others the client gets the answer to its question."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if not (HOME / "ready").exists():
        pytest.skip(f"{HOME} is not set up: tests/clients/setup.sh")
    with serving(scripted()) as address:
        yield address


@pytest.mark.parametrize("kind", ["python", "node"])
def test_every_way_of_every_client_is_answered_or_refused_in_words(address: str, kind: str) -> None:
    if kind == "node" and not (HOME / "node" / "node_modules").exists():
        pytest.skip("npm was not there when the clients were set up")
    if kind == "node":
        script = shutil.copy(HERE / "node_clients.mjs", HOME / "node")  # modules are looked for beside it
        command = ["node", str(script)]
    else:
        command = [str(HOME / "python" / "bin" / "python"), str(HERE / "python_clients.py")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*command, address, data_uri()], capture_output=True, text=True, timeout=280, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for one in found:
        print(f"{one['client']:14} {one['way']:42} {one.get('said') or one['error'][:150]}")
    assert len(found) >= 17
    for one in found:
        words = REFUSED.get(one["way"])
        assert words in one.get("error", "") if words else one.get("said") == "7", one


def test_what_the_openapi_description_says_is_so(address: str, tmp_path: Path) -> None:
    """Thousands of requests made from the description: no failure of the server, no status or body it does not name.

    Left out is the check that every request of the right types is taken: no schema says that a question must not be empty.
    """
    runs = HOME / "schemathesis" / "bin" / "st"
    if not runs.exists():
        pytest.skip(f"{runs} is not there: set the clients up anew")
    command = [str(runs), "run", f"{address}/openapi.json", "--exclude-checks", "positive_data_acceptance",
               "--max-examples", "50", "--seed", "1", "--continue-on-failure"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path)
    print(done.stdout[-900:])
    assert done.returncode == 0, done.stdout[-6000:]
