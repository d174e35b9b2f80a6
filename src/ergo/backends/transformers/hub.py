"""A checkpoint's files from the Hub: downloaded once, and every way in which that fails in one line."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from ergo.core.errors import UsageError

FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]
"""What loading reads; repositories also hold the same weights in other formats, gigabytes of them."""


def local_folder(name: str) -> str:
    """The folder of a checkpoint named by folder or by Hub name, its files here.

    A download shows huggingface_hub's own progress bars, and goes on where it was broken off. What is here already
    is used without a network; with one, the Hub is asked whether it is the newest.
    """
    if Path(name).is_dir():
        return name
    if name.startswith((".", "/", "~")) or name.count("/") > 1:  # or the Hub's message would speak of a repository
        raise UsageError(f"there is no folder {name}: give a checkpoint's folder or its name on the Hub (owner/model)")
    hub = constants.ENDPOINT
    try:
        return str(snapshot_download(name, allow_patterns=FILES))
    except GatedRepoError as error:
        raise UsageError(
            f"{name} is gated: accept its terms at {hub}/{name}, then log in (`hf auth login`, or HF_TOKEN)"
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"{hub} has no model {name}, or shows it to its owners alone: `hf auth login` or HF_TOKEN says who you are"
        ) from error
    except HFValidationError as error:
        raise UsageError(f"{name!r} is neither a folder nor a name on the Hub (owner/model)") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        # a download that was broken off is a LocalEntryNotFoundError, with the reason as its cause
        lines = (line.strip() for line in str(error.__cause__ or error).splitlines())
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else next(filter(None, lines), "no reason given")
        raise UsageError(
            f"{name} is not (wholly) on this machine, and {hub} did not send it ({reason}): download it where there "
            f"is a network (`hf download {name}`), or give its folder"
        ) from error
