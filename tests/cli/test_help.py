"""What every verb says of itself: defaults, examples that can be typed, and at what cost."""

from __future__ import annotations

import argparse
import inspect
import shlex
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ergo.backends.settings import EndpointSettings, LocalSettings
from ergo.cli.main import VERBS, main, parser


def verbs() -> dict[str, argparse.ArgumentParser]:
    [choices] = [action.choices for action in parser(*VERBS)._actions if isinstance(action.choices, dict)]
    return choices


def flags(verb: str) -> Iterator[argparse.Action]:
    yield from (action for action in verbs()[verb]._actions if action.dest not in ("help", "verbose"))


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_two_examples_which_parse(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    printed = capsys.readouterr().out
    examples = printed.split("examples:\n")[1].strip().splitlines()
    assert len(examples) >= 2
    for example in examples:
        command = example.split("|")[-1].split(" > ")[0].strip()
        _, _, typed = command.partition("ergo ")
        args = parser(verb).parse_args(shlex.split(typed))
        assert callable(args.run)
        assert shlex.split(typed)[0] == verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_that_may_be_left_out_says_what_then_happens(verb: str) -> None:
    for action in flags(verb):
        assert action.help, action.dest
        optional = not action.required or action.nargs == "?"
        if optional and action.nargs != 0:
            assert "default: " in action.help, f"{verb} {action.option_strings}"


@pytest.mark.parametrize("verb", VERBS)
def test_one_name_for_one_thing(verb: str) -> None:
    named = {flag: action for action in flags(verb) for flag in action.option_strings}
    assert not {"--window", "--in-flight", "--queue", "--dialect", "--batch", "--how"} & set(named)
    if "--options" in named:
        assert named["--options"].nargs == "+"
        assert "answers to choose from" in (named["--options"].help or "")
    if "--family" in named:
        assert {"--concurrency", "--timeout", "--device", "--extra-body"} <= set(named)


def test_every_setting_of_a_model_is_a_flag() -> None:
    """`concurrency` is each verb's own; the backend's default is far above it."""
    names = {action.dest for action in flags("ask")}
    for settings in (LocalSettings, EndpointSettings):
        assert set(inspect.signature(settings).parameters) <= names


def test_help_loads_almost_nothing() -> None:
    """Counted in a fresh interpreter; numpy, Pillow and httpx are what asking needs, and help does not."""
    heavy = ("numpy", "PIL", "httpx", "torch", "transformers", "pyarrow", "asyncio", "logging.config")
    for words, most in (
        (["--help"], 8),
        (["--version"], 8),
        (["recipes", "--help"], 9),
        (["ask", "--help"], 40),
        (["bench", "--help"], 40),
    ):
        code = f"import sys; from ergo.cli.main import main; main({words}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        loaded = done.stdout.splitlines()[-1].split()
        assert not set(heavy) & set(loaded), words
        assert len([name for name in loaded if name.split(".")[0] == "ergo"]) <= most, words


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_completion_script_names_verbs_and_flags(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(verb in script for verb in VERBS)
    assert "option-order" in script


def test_bash_completes_verbs_flags_and_values() -> None:
    script = subprocess.run(
        [sys.executable, "-m", "ergo", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    for words, offered in (
        (["ergo", "ev"], "eval"),
        (["ergo", "ask", "--concur"], "--concurrency"),
        (["ergo", "eval", "world", "--option-order", "sh"], "shuffled"),
        (["ergo", "ask", "x.jpg", "q", "--family", "qwen3"], "qwen3_vl"),
    ):
        line = shlex.join(words)
        ask = (
            f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE={shlex.quote(line)}; "
            'COMP_POINT=${#COMP_LINE}; _shtab_ergo; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True)
        assert offered in done.stdout.split(), (words, done)
