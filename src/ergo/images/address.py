"""Pictures at addresses (s3://, gs://, https:// and whatever else fsspec knows): tiled TIFFs by ranges, others whole."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ergo.core.errors import PictureError, UsageError
from ergo.images.decode import MAX_PIXELS, PictureSource, load_image, load_ranges
from ergo.images.libraries import LibraryFailed, library_errors
from ergo.images.picture import Picture
from ergo.images.ranges import BLOCK, Span
from ergo.images.tiff import is_tiff

MAX_DOWNLOAD = 1 << 30
"""Bytes of the largest file that is downloaded; tiled TIFFs, of which only the tiles are read, may have any size."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp", "https": "aiohttp",
    "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs", "adl": "adlfs", "hf": "huggingface_hub", "oci": "ocifs",
    "oss": "ossfs", "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "webdav": "webdav4", "box": "boxfs",
    "gdrive": "gdrivefs", "hdfs": "pyarrow", "webhdfs": "requests", "git": "pygit2",
}  # fmt: skip
"""What fsspec needs for addresses that begin so."""


def is_address(source: object) -> bool:
    """Whether this is an address, and neither a path nor a data URI.

    >>> [is_address(one) for one in ("s3://bucket/a.tif", "a.tif", "C:/a.tif", "data:image/png;base64,")]
    [True, False, False, False]
    """
    return isinstance(source, str) and _ADDRESS.match(source) is not None


def filesystem(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it. UsageError names the package that is missing."""
    try:
        import fsspec
    except ImportError as error:
        raise UsageError(f"{address[:200]} is an address: pip install 'ergo-vlm[remote]' to read it") from error
    try:
        with library_errors():  # file systems look for credentials here
            system, path = fsspec.core.url_to_fs(address)
    except LibraryFailed as error:
        if not isinstance(error.__cause__, ImportError):
            raise UsageError(f"{address[:200]} cannot be read: {error}") from error
        protocol = address.split("::")[0].split("://")[0].lower()
        package = _PACKAGES.get(protocol)
        how = f"pip install {package}" if package else str(error)
        raise UsageError(f"{address[:200]} needs a package that is not installed: {how}") from error
    return system, path


def open_picture(source: PictureSource, max_pixels: int = MAX_PIXELS) -> Picture:
    """`load_image`, for addresses too."""
    if not isinstance(source, str) or not is_address(source):
        return load_image(source, max_pixels)
    try:
        system, path = filesystem(source)
    except UsageError as error:
        raise PictureError(str(error), "unreadable") from error
    with reached(source):
        if "file" in _protocols(system):
            return load_image(Path(path), max_pixels)
        size = system.info(path).get("size")
        if _protocols(system) & {"http", "https"}:
            start = _start_from_web(system, path, size)
            if len(start) > BLOCK or size is None:
                return _whole(source, start, max_pixels)
        else:
            start = system.cat_file(path, start=0, end=min(BLOCK, size))
        if is_tiff(start) and (picture := load_ranges(RemoteFile(system, path, source, int(size)), max_pixels)):
            return picture
        if size > MAX_DOWNLOAD:
            raise PictureError(f"{source} has {size:,} bytes, more than the {MAX_DOWNLOAD:,} downloaded", "too_large")
        rest = system.cat_file(path, start=len(start), end=size) if size > len(start) else b""
        return _whole(source, start + rest, max_pixels)


def _start_from_web(system: Any, path: str, size: int | None) -> bytes:
    """The first block; of a server that does not know ranges, and answers each with the whole file, all of it."""
    wanted = {"Range": f"bytes=0-{BLOCK - 1}"}
    parts, known = [], 0
    with system.open(path, "rb", block_size=0, size=size or 1, headers=wanted) as file:
        while known <= MAX_DOWNLOAD and (part := file.read(1 << 20)):
            parts.append(part)
            known += len(part)
    return b"".join(parts)


def _whole(address: str, content: bytes, max_pixels: int) -> Picture:
    if len(content) > MAX_DOWNLOAD:
        raise PictureError(f"{address} has more than the {MAX_DOWNLOAD:,} bytes that are downloaded", "too_large")
    try:
        return load_image(content, max_pixels)
    except PictureError as error:
        raise PictureError(str(error).replace("picture", address, 1), error.kind) from error


def _protocols(system: Any) -> set[str]:
    return {system.protocol} if isinstance(system.protocol, str) else set(system.protocol)


@dataclass(frozen=True, eq=False)
class RemoteFile:
    """A file of which ranges are read, those of one call at once (`ranges.Ranges`)."""

    system: Any = field(repr=False)
    path: str
    name: str
    size: int

    def read_ranges(self, spans: Sequence[Span]) -> list[bytes]:
        starts, ends = [span[0] for span in spans], [span[1] for span in spans]
        with reached(self.name):
            found: list[bytes] = self.system.cat_ranges([self.path] * len(spans), starts, ends, on_error="raise")
            return found


@contextmanager
def reached(address: str) -> Iterator[None]:
    """What a storage library raises (no credentials, no host, a refusal) is named, in one line."""
    try:
        with library_errors():
            yield
    except LibraryFailed as error:
        if isinstance(error.__cause__, FileNotFoundError):
            beneath = error.__cause__.__cause__
            if isinstance(beneath, OSError):  # fsspec calls it a missing file when nobody answers, too
                raise PictureError(f"{address} cannot be reached: {beneath}", "unreadable") from error
            raise PictureError(f"there is no file {address}", "missing") from error
        raise PictureError(f"{address} cannot be read: {error}", "unreadable") from error
