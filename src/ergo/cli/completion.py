"""Print a completion script for your shell."""

from __future__ import annotations

import argparse
from pathlib import Path

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo completion bash > ~/.local/share/bash-completion/completions/ergo
  ergo completion zsh > ~/.zfunc/_ergo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo completion`."""
    parser.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script; whatever takes a file completes files."""
    import shtab

    from ergo.cli.main import VERBS, parser

    whole = parser(*VERBS)
    verbs = next(action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    for verb in verbs.choices.values():
        for action in verb._actions:
            if action.type is Path or action.dest == "words":
                action.complete = shtab.FILE
    say(shtab.complete(whole, args.shell))
    return ALL_ANSWERED
