"""The verb `serve`: flags in, a running server."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import uvicorn

from ergo.backends import Model
from ergo.serve.app import LOOPBACK, Settings, make_app
from ergo.serve.engine import Limits
from ergo.serve.pictures import Sources


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


def serve(args: argparse.Namespace, model: Model, say: Callable[[str], None]) -> None:
    """Serve until stopped."""
    app = make_app(model, settings_of(args))
    say(f"{model.name} answers at http://{args.host}:{args.port}/v1; the page is http://{args.host}:{args.port}/")
    if args.host not in LOOPBACK and args.server_key is None:
        say("anyone who reaches this machine may use it: --server-key asks for a key")
    uvicorn.run(app, host=args.host, port=args.port, log_level="warning", timeout_graceful_shutdown=5)
