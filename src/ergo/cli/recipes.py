"""List the recipes that ship, or print one: a start for recipes of your own."""

from __future__ import annotations

import argparse
from itertools import takewhile
from textwrap import fill

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo recipes
  ergo recipes tiny-grpo > mine.toml
  ergo recipes fsdp-8gpu > fsdp-8gpu.yaml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo recipes`."""
    parser.add_argument("name", nargs="?", help="the recipe, or launch file, to print (default: list them all)")


def run(args: argparse.Namespace) -> int:
    """Print names with what each is for, or the text of one."""
    from ergo import recipes

    if args.name:
        say((recipes.launch_file(args.name) or recipes.find(args.name)).read_text(encoding="utf-8").rstrip("\n"))
        return ALL_ANSWERED
    names = recipes.shipped()
    width = max(map(len, names))
    for name in names:
        lines = recipes.find(name).read_text(encoding="utf-8").splitlines()
        comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
        first_sentence = comment.partition(". ")[0]
        say(
            fill(
                first_sentence,
                100,
                initial_indent=f"{name:{width}}  ",
                subsequent_indent=" " * (width + 2),
                break_on_hyphens=False,
            )
        )
    return ALL_ANSWERED
