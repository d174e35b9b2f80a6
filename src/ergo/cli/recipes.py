"""List the recipes that ship, or print one: a start for recipes of your own."""

from __future__ import annotations

import argparse

from ergo.cli.screen import ALL_ANSWERED, say

EXAMPLES = """\
  ergo recipes
  ergo recipes tiny-grpo > mine.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo recipes`."""
    parser.add_argument("name", nargs="?", help="the recipe to print (default: list them all)")


def run(args: argparse.Namespace) -> int:
    """Print names with what each is for, or the text of one."""
    from ergo import recipes

    if args.name:
        say(recipes.find(args.name).read_text(encoding="utf-8").rstrip("\n"))
        return ALL_ANSWERED
    names = recipes.shipped()
    width = max(map(len, names))
    for name in names:
        first = recipes.find(name).read_text(encoding="utf-8").splitlines()[0]
        say(f"{name:{width}}  {first.removeprefix('#').strip()}")
    return ALL_ANSWERED
