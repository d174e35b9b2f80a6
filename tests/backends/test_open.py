"""`open_backend`: which settings a model takes, and what is refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from ergo.backends import open_backend
from ergo.backends.loopback import LOOPBACK
from ergo.core.errors import UsageError
from ergo.core.messages import Sampling
from ergo.serve.app import Settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("spec", "settings", "words"),
    [
        ("openai:http://localhost:1", {"adapter": "x"}, "adapter is a setting of a model in this process (hf:)"),
        ("openai:http://localhost:1", {"reuse": False}, "reuse is a setting of a model in this process"),
        ("hf:x/y", {"api_key": "k"}, "api_key is a setting of an endpoint (openai:), not of a model in this process"),
        ("ergo-tiny", {"timeout": 3}, "timeout is a setting of an endpoint"),
        ("ergo-tiny", {"reuse": True, "nonsense": 1}, "no setting is called 'nonsense'"),
        ("ergo-tiny", {"batsh": 3}, "no setting is called 'batsh'; a model in this process (hf:) takes adapter,"),
        ("openai:http://localhost:1", {"model": "m"}, "no setting is called 'model'"),
        ("ergo-tiny", {"batch_size": 0}, "batch_size is a whole number of at least 1, not 0"),
        ("ergo-tiny", {"batch_size": "many"}, "batch_size is a whole number of at least 1, not 'many'"),
        ("openai:http://localhost:1", {"concurrency": 0}, "concurrency is a whole number of at least 1, not 0"),
        ("openai:http://localhost:1", {"retries": -1}, "retries is a whole number of at least 0, not -1"),
        ("openai:http://localhost:1", {"timeout": 0}, "timeout is a number of seconds above 0, not 0"),
        ("scripted:x", {"batch_size": 1}, "a scripted model takes no settings"),
        ("nonsense", {}, "no model is named 'nonsense'"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(spec: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_backend(spec, **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_this_machine_has_one_list_of_names() -> None:
    assert Settings().hosts == LOOPBACK
    assert {"localhost", "127.0.0.1", "::1", "[::1]"} == set(LOOPBACK)


@pytest.mark.parametrize(("version", "right"), [("5.17.9", False), ("5.18.0", True), ("5.24.1", True), ("5.25.0.dev0", False), ("6.0", False)])  # fmt: skip
def test_an_unknown_transformers_is_one_line(version: str, right: bool) -> None:
    bridge = pytest.importorskip("ergo.backends.transformers.bridge")
    if right:
        bridge.check_version(version)
        return
    with pytest.raises(UsageError, match=r"pip install 'transformers>=5\.18,<5\.25'") as caught:
        bridge.check_version(version)
    assert version in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_versions_are_those_of_pyproject() -> None:
    bridge = pytest.importorskip("ergo.backends.transformers.bridge")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    bound = "transformers>={},<{}".format(*bridge.TESTED)
    assert bound in extras["local"]


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="no stop string empty"):
        Sampling(stop=("x", ""))
