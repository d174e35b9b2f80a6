"""The command line: one file a verb, imported when the verb is called."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module

from ergo.cli.screen import say
from ergo.core.errors import ErgoError

VERBS = {
    "ask": "answer a question about one picture",
    "eval": "measure a model on a benchmark",
    "report": "report or compare runs of eval",
    "bench": "time direct and two-look flows against the floor",
    "world": "draw scenes with known truth, as a data set",
    "data": "turn a public training set into samples worth training on",
    "train": "train a policy by a recipe",
    "serve": "an OpenAI-compatible endpoint that looks twice, and its page",
    "batch": "the same two looks over millions of pictures",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; a mistake of the user prints one line and returns 2, a failed question 1."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    called = next((word for word in words if word in VERBS), None)
    args = parser(*([called] if called else [])).parse_args(words)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s")
    try:
        return int(args.run(args))
    except ErgoError as error:
        say(f"ergo: {' '.join(str(error).split())}", sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("ergo: stopped", sys.stderr)
        return 130


def parser(*filled: str) -> argparse.ArgumentParser:
    """All verbs; those named in `filled` with their flags, for which their modules are imported."""
    whole = argparse.ArgumentParser(
        prog="ergo", description="Ask vision-language models about pictures too large to look at all at once."
    )
    whole.add_argument("-v", "--verbose", action="store_true", help="say what is going on")
    verbs = whole.add_subparsers(metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary)
        if name in filled:
            module = import_module(f"ergo.cli.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return whole


if __name__ == "__main__":
    sys.exit(main())
