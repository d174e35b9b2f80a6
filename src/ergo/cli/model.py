"""The flags that name a model, the same for every verb that asks one."""

from __future__ import annotations

import argparse
from typing import Any

from ergo.backends import Model, open_backend, settings_of
from ergo.backends.settings import EndpointSettings
from ergo.images.memory import give_freed_memory_back


def add_model_arguments(
    parser: argparse.ArgumentParser, flag: str = "--model", default: str | None = "ergo-tiny"
) -> None:
    """The flags that name a model. flag: what it is named for."""
    parser.add_argument(
        flag,
        dest="model",
        default=default,
        metavar="NAME",
        help="ergo-tiny (shipped), hf:NAME or hf:FOLDER (in this process), openai:URL (a server)",
    )
    parser.add_argument("--served-name", metavar="NAME", help="which of the endpoint's models")
    parser.add_argument("--api-key", metavar="KEY", help="for openai:URL")
    parser.add_argument("--adapter", metavar="NAME", help="a LoRA adapter, for hf:")
    parser.add_argument("--family", metavar="NAME", help="how the model is asked, if its name does not tell")
    parser.add_argument(
        "--force-region", action="store_true", help="hold the model to a well-formed <zoom>[...]</zoom>"
    )


def model_from(args: argparse.Namespace, **more: Any) -> Model:
    """The opened model the flags name. more: further settings for local models."""
    give_freed_memory_back()
    settings: dict[str, Any] = {"force_region": args.force_region}
    kind = settings_of(args.model)
    if kind is EndpointSettings:
        settings |= {"served_name": args.served_name, "api_key": args.api_key}
    elif kind is None:
        settings = {}
    else:
        settings |= {"adapter": args.adapter, **more}
    return open_backend(args.model, args.family, **settings)
