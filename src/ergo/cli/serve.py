"""An OpenAI-compatible endpoint that looks twice, for any client, and a page to try it on."""

from __future__ import annotations

import argparse
import logging
import os
from typing import TYPE_CHECKING

from ergo.backends.loopback import LOOPBACK
from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import ALL_ANSWERED, note, say
from ergo.core.errors import MissingExtra, UsageError

if TYPE_CHECKING:
    from ergo.serve.settings import Settings

EXAMPLES = """\
  ergo serve --port 8001
  ERGO_SERVER_KEY=... ergo serve --host 0.0.0.0 --served-as box.lan --model openai:http://localhost:8000/v1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo serve`."""
    parser.add_argument(
        "--name", default="ergo", help="under which the model is listed to clients (default: %(default)s)"
    )
    parser.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="most vision tokens of each look, where a request names none (default: the model family's)",
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=4096,
        metavar="N",
        help="most output tokens of each reply (default: %(default)s)",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: %(default)s, which lets nobody else in)"
    )
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="to listen at (default: %(default)s)")
    parser.add_argument(
        "--server-key",
        metavar="KEY",
        help="what clients must send as their API key; better ERGO_SERVER_KEY, for flags stand in ps (default: none)",
    )
    parser.add_argument(
        "--served-as",
        nargs="+",
        default=[],
        metavar="HOST",
        help="names by which clients call this server (default: those of this machine)",
    )
    parser.add_argument(
        "--allow-origin",
        nargs="+",
        default=[],
        metavar="ORIGIN",
        help="web pages elsewhere that may call it (default: none)",
    )
    parser.add_argument(
        "--fetch-from",
        nargs="+",
        default=[],
        metavar="HOST",
        help="hosts that pictures may be fetched from (default: none)",
    )
    parser.add_argument(
        "--concurrency",
        type=int,
        default=64,
        metavar="N",
        help="most questions in progress, 429 beyond (default: %(default)s)",
    )
    parser.add_argument(
        "--deadline", type=float, default=120.0, metavar="S", help="seconds for one question (default: %(default)g)"
    )
    parser.add_argument(
        "--shutdown-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="for questions in progress after SIGTERM (default: %(default)g)",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    try:
        from ergo.serve.run import listen, serve
    except ImportError as error:
        raise MissingExtra("ergo serve", "serve") from error
    if min(args.concurrency, args.max_tokens) < 1 or args.deadline <= 0 or not 0 < args.port < 65536:
        raise UsageError("--concurrency, --max-tokens, --deadline and --port are positive, a port below 65536")
    settings = settings_of(args)
    logging.getLogger("ergo").setLevel(logging.INFO)  # one line a request
    sockets = listen(args.host, args.port)
    say(f"{args.model} at http://{args.host}:{args.port}/v1; the page is http://{args.host}:{args.port}/")
    if args.server_key:
        note("a key on the command line can be read in ps by everyone here: put it in ERGO_SERVER_KEY")
    if args.host not in LOOPBACK and settings.api_key is None:
        note("anyone who reaches this machine may use it: ERGO_SERVER_KEY asks for a key")
    serve(lambda: model_from(args, batch_size=settings.limits.batch), settings, sockets)
    return ALL_ANSWERED


def settings_of(args: argparse.Namespace) -> Settings:
    """What the flags say. Bound to every address (0.0.0.0), the server is called by names nobody can list here."""
    from ergo.serve.settings import Limits, Settings, Sources

    open_to_all = args.host in ("0.0.0.0", "::")
    named = (*LOOPBACK, args.host, *args.served_as)
    key = os.environ.get("ERGO_SERVER_KEY") if args.server_key is None else args.server_key
    return Settings(
        name=args.name,
        budget=args.budget,
        max_tokens=args.max_tokens,
        api_key=key,
        hosts=tuple(args.served_as) and named if open_to_all else named,
        origins=tuple(args.allow_origin),
        limits=Limits(
            args.concurrency,
            getattr(args, "batch_size", Limits.batch),
            args.deadline,
            shutdown_seconds=args.shutdown_seconds,
        ),
        sources=Sources(frozenset(host.lower() for host in args.fetch_from)),
    )
