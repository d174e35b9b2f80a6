"""`ergo serve`: an OpenAI-compatible endpoint that looks twice."""

from __future__ import annotations

import argparse

from ergo.cli.model import add_model_arguments, model_from
from ergo.cli.screen import say
from ergo.core.errors import MissingExtra, UsageError

try:
    import uvicorn

    from ergo.backends.loopback import LOOPBACK
    from ergo.serve.app import Settings, make_app
    from ergo.serve.engine import Limits
    from ergo.serve.pictures import Sources
except ImportError as error:
    raise MissingExtra("ergo serve", "serve") from error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `ergo serve`."""
    add_model_arguments(parser)
    parser.add_argument("--name", default="ergo", help="under which the model is listed")
    parser.add_argument("--budget", type=int, metavar="N", help="most vision tokens of each look")
    parser.add_argument("--max-tokens", type=int, default=4096, metavar="N", help="most tokens of each reply")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 lets nobody else in")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--server-key", metavar="KEY", help="clients must send it as their API key")
    parser.add_argument(
        "--served-as", nargs="+", default=[], metavar="HOST", help="names by which clients call this server"
    )
    parser.add_argument(
        "--allow-origin", nargs="+", default=[], metavar="ORIGIN", help="web pages elsewhere that may call it"
    )
    parser.add_argument(
        "--fetch-from", nargs="+", default=[], metavar="HOST", help="hosts pictures may be fetched from"
    )
    parser.add_argument(
        "--concurrency", type=int, default=64, metavar="N", help="most questions in progress; 429 beyond"
    )
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="most questions computed together")
    parser.add_argument("--deadline", type=float, default=120.0, metavar="S", help="seconds for one question")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    if min(args.concurrency, args.batch, args.max_tokens) < 1 or args.deadline <= 0 or not 0 < args.port < 65536:
        raise UsageError("--concurrency, --batch, --max-tokens, --deadline and --port are positive, a port below 65536")
    model = model_from(args, batch=args.batch)
    app = make_app(model, settings_of(args))
    say(f"{model.name} answers at http://{args.host}:{args.port}/v1; the page is http://{args.host}:{args.port}/")
    if args.host not in LOOPBACK and args.server_key is None:
        say("anyone who reaches this machine may use it: --server-key asks for a key")
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=5)
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """What the flags say. Bound to every address (0.0.0.0), the server is called by names nobody can list here."""
    open_to_all = args.host in ("0.0.0.0", "::")
    named = (*LOOPBACK, args.host, *args.served_as)
    return Settings(
        name=args.name,
        budget=args.budget,
        max_tokens=args.max_tokens,
        api_key=args.server_key,
        hosts=tuple(args.served_as) and named if open_to_all else named,
        origins=tuple(args.allow_origin),
        limits=Limits(args.concurrency, args.batch, args.deadline),
        sources=Sources(frozenset(host.lower() for host in args.fetch_from)),
    )
