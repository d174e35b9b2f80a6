"""The flags that name a model and say how to reach it, the same for every verb that asks one."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from ergo.backends.settings import Colours, EndpointSettings, LocalSettings, ServerName
from ergo.cli.screen import hide_loading_bars, note
from ergo.core.errors import UsageError
from ergo.families import FAMILIES
from ergo.images.encode import Format

if TYPE_CHECKING:
    from ergo.backends import Model

ENDPOINT, LOCAL = EndpointSettings(), LocalSettings()
SETTINGS = {*vars(ENDPOINT), *vars(LOCAL)} - {"concurrency"}
"""What the flags below may set; each is named as `open_backend` names it."""


def add_model_arguments(parser: argparse.ArgumentParser, flag: str = "--model", default: str = "ergo-photo") -> None:
    """The flags that name a model. flag: what it is named for. default: "" where none is asked unless named.

    A setting that is not given is left out, so that one that was is known, and refused by a model that has no use
    for it.
    """
    group = parser.add_argument_group("model")
    default = (default and os.environ.get("ERGO_MODEL", "")) or default
    group.add_argument(
        flag,
        dest="model",
        default=default,
        metavar="NAME",
        help="ergo-photo (ships), hf:NAME or hf:FOLDER (a checkpoint in this process), openai:URL (any server), "
        "vllm:URL, sglang:URL, llama.cpp:URL, azure:URL, ollama:NAME, lmstudio:NAME, openrouter:NAME, gemini:NAME, "
        f"anthropic:NAME (default: {default or 'none is asked'})",
    )
    group.add_argument(
        "--family",
        choices=tuple(FAMILIES),
        help="how the model is asked (default: what its name or configuration says)",
    )
    group.add_argument(
        "--force-region",
        action="store_true",
        default=argparse.SUPPRESS,
        help="hold the model to a well-formed region (default: no)",
    )

    group.add_argument(
        "--resize",
        choices=("exact", "fast"),
        help="how whole pictures are shrunk: exact as Pillow does, or fast, to within one level of 255; regions are "
        "always exact (default: fast for a server where the extra `fast` is installed, else exact)",
    )
    group.add_argument(
        "--colours",
        choices=get_args(Colours),
        default="srgb",
        help="of pictures with a profile: converted to sRGB, or their numbers as stored (default: %(default)s)",
    )

    server = parser.add_argument_group("for a server", argument_default=argparse.SUPPRESS)
    server.add_argument("--served-name", metavar="NAME", help="which of its models (default: the only one)")
    server.add_argument(
        "--api-key",
        metavar="KEY",
        help="better ERGO_API_KEY, for flags stand in ps (default: ERGO_API_KEY, or the provider's own variable)",
    )
    server.add_argument(
        "--timeout",
        type=float,
        metavar="S",
        help=f"seconds for one request with all its retries (default: {ENDPOINT.timeout:g})",
    )
    server.add_argument(
        "--retries",
        type=int,
        metavar="N",
        help=f"how often a failure that may pass is tried again (default: {ENDPOINT.retries})",
    )
    server.add_argument(
        "--pause",
        type=float,
        metavar="S",
        help=f"seconds before the first retry, then twice as long each time (default: {ENDPOINT.pause:g})",
    )
    server.add_argument(
        "--server",
        choices=get_args(ServerName),
        help="which it is, behind a proxy (default: as its address or its list of models says)",
    )
    server.add_argument(
        "--stream",
        action="store_true",
        help="receive replies as they are generated, which separates prefill from decode (default: no)",
    )
    server.add_argument(
        "--image-format",
        choices=get_args(Format),
        help="how pictures travel, all without loss (default: png; stored-png, not compressed, on this machine)",
    )
    server.add_argument(
        "--extra-body",
        type=_object,
        metavar="JSON",
        help="further fields of every request, as '{\"top_k\": 1}' (default: none)",
    )
    server.add_argument(
        "--extra-query",
        type=_object,
        metavar="JSON",
        help='fields after the ? of every address, as \'{"api-version": "2024-10-21"}\' (default: none)',
    )
    server.add_argument(
        "--detail", metavar="WORD", help="sent with every picture, as high or original (default: as the server needs)"
    )
    server.add_argument(
        "--picture-ids",
        action="store_true",
        help="name pictures by their content, so that vLLM is not sent the first look twice (default: no)",
    )

    local = parser.add_argument_group("for a model in this process", argument_default=argparse.SUPPRESS)
    local.add_argument("--adapter", metavar="NAME", help="a LoRA adapter, by Hub name or folder (default: none)")
    local.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: cuda if there is one, else cpu)"
    )
    local.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16", "float16"),
        help="of the weights (default: as stored on a GPU, float32 on a CPU)",
    )
    local.add_argument(
        "--device-map",
        choices=("auto", "balanced", "balanced_low_0", "sequential"),
        help="instead of --device, how it is spread over several (default: not)",
    )
    local.add_argument(
        "--attention",
        metavar="NAME",
        help="as sdpa, eager or flash_attention_2 (default: what transformers chooses)",
    )
    local.add_argument("--quantization", choices=("4bit", "8bit"), help="of the language half (default: none)")
    local.add_argument(
        "--generation",
        choices=("request", "checkpoint"),
        help="whose repetition penalty and top-k apply (default: request, which has none)",
    )
    local.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="most requests computed together (default: --concurrency)",
    )
    local.add_argument(
        "--no-reuse",
        dest="reuse",
        action="store_false",
        help="compute the first look again for the second (default: its keys and values are kept)",
    )


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """How replies are decoded."""
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=1024,
        metavar="N",
        help="most output tokens of each reply (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="of sampling; 0 is greedy (default: %(default)g)"
    )


def model_from(args: argparse.Namespace, **defaults: Any) -> Model:
    """The opened model that the flags name. defaults: settings of a local model, where no flag says otherwise."""
    from ergo.backends import open_backend, settings_of
    from ergo.images.memory import give_freed_memory_back

    if getattr(args, "concurrency", 1) < 1:  # before it is a batch size, of which nobody has spoken
        raise UsageError(f"--concurrency is at least 1, not {args.concurrency}")
    give_freed_memory_back()
    settings = {name: value for name, value in vars(args).items() if name in SETTINGS}
    if settings_of(args.model) is LocalSettings:
        settings = defaults | settings
        hide_loading_bars()
    if "api_key" in settings:
        note("a key on the command line can be read in ps by everyone here: put it in ERGO_API_KEY")
    opened = open_backend(args.model, args.family, args.resize, **settings)
    return replace(opened, colours=args.colours)


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('an object is wanted, as {"top_k": 1}')
    return value
