"""The command line: one file a verb, imported when the verb is called."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from ergo import __version__
from ergo.cli.screen import SOME_FAILED, STOPPED, WRONG_USE, note
from ergo.core.errors import BackendError, ErgoError, PictureError, TrainingStopped, UsageError

VERBS = {
    "ask": "answer questions about pictures",
    "demo": "ask the bundled questions about the bundled pictures, and save what was looked at",
    "eval": "measure a model on a benchmark",
    "report": "report on runs of eval, and compare them",
    "bench": "time one look against two, beside what the hardware allows",
    "probe": "what a model and its server really do: frame, tokens, cache; and the flags to use",
    "serve": "an OpenAI-compatible endpoint that looks twice, and its page",
    "batch": "the same two looks over millions of pictures",
    "train": "train a policy by a recipe",
    "recipes": "list the recipes that ship, or show one",
    "data": "turn a public training set into samples worth training on",
    "world": "make pictures and questions of known truth, as a data set",
    "completion": "print the completion script of a shell",
}

EPILOG = """\
environment:
  ERGO_MODEL                     the model where --model names none
  ERGO_API_KEY                   the key for the server that --model names
  OPENAI_API_KEY and the like    the key of each provider, sent to it alone (docs/models.md)
  ERGO_SERVER_KEY                the key that clients of ergo serve must send

exit status:
  0  all answered      1  some failed      2  wrong use      130  stopped

examples:
  ergo ask plate.jpg "What is the number plate of the rocket?"
  ergo ask --help
"""


def console() -> NoReturn:
    """What the command `ergo` runs."""
    status = main()
    if status == STOPPED:  # at once: Python would first wait for the threads whose requests are still out
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status. What goes wrong is one line on stderr."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()
    except SystemExit as stop:  # argparse: help was shown, or the words make no command
        return stop.code if isinstance(stop.code, int) else WRONG_USE
    except (BackendError, PictureError, TrainingStopped) as error:
        note(str(error))
        return SOME_FAILED
    except ErgoError as error:
        note(str(error))
        return WRONG_USE
    except KeyboardInterrupt:
        note("stopped")
        return STOPPED
    except OSError as error:
        if error.errno == errno.EPIPE or (os.name == "nt" and error.errno == errno.EINVAL):
            # whoever read stdout has gone; nothing more is to be written to it, not even at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return STOPPED
        logging.getLogger(__name__).info("", exc_info=True)
        note(str(error))
        return SOME_FAILED


def _run(words: Sequence[str]) -> int:
    if not words:
        parser().print_help(sys.stderr)
        return WRONG_USE
    called = next((word for word in words if not word.startswith("-")), "")
    args, unknown = parser(called).parse_known_args(words)
    if unknown:
        raise UsageError(f"{called}: unrecognized arguments: {' '.join(unknown)} (see ergo {called} --help)")
    logging.basicConfig(level=logging.INFO if args.verbose else logging.WARNING, format="%(message)s")
    if not args.verbose:  # what is wrong with a picture is said in one line of ours
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        warnings.filterwarnings("ignore", module="PIL")
    return int(args.run(args))


class Parser(argparse.ArgumentParser):
    """argparse, with mistakes in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser(*filled: str) -> argparse.ArgumentParser:
    """All verbs; those named in `filled` with their flags, for which their modules are imported."""
    whole = Parser(
        prog="ergo",
        description="Ask vision-language models about pictures too large to look at all at once.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"ergo {__version__}")
    verbose = {"action": "store_true", "help": "report on stderr what is going on"}
    whole.add_argument("-v", "--verbose", **verbose)  # type: ignore[arg-type]
    verbs = whole.add_subparsers(metavar="VERB", required=True)
    for name, summary in VERBS.items():
        module = import_module(f"ergo.cli.{name}") if name in filled else None
        verb = verbs.add_parser(
            name,
            help=summary,
            description=module.__doc__ if module else None,
            epilog=f"examples:\n{module.EXAMPLES}" if module else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        verb.add_argument("-v", "--verbose", default=argparse.SUPPRESS, **verbose)  # type: ignore[arg-type]
        if module:
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    return whole


if __name__ == "__main__":
    console()
