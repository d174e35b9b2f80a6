"""ICC profiles made from primaries and a gamma, so that tests know the truth without any colour library."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

D50 = np.array([0.9642, 1.0, 0.8249])
D65 = np.array([0.3127 / 0.3290, 1.0, (1 - 0.3127 - 0.3290) / 0.3290])
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Space:
    """An RGB space. primaries: x, y of red, green, blue; white: XYZ; gamma: of all three channels."""

    primaries: tuple[tuple[float, float], ...]
    gamma: float
    white: tuple[float, ...] = tuple(D65)

    def to_d50(self) -> np.ndarray:
        """Linear RGB -> XYZ under D50 (Bradford), 3 x 3."""
        xyz = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in self.primaries]).T
        matrix = xyz * np.linalg.solve(xyz, np.array(self.white))
        source, target = BRADFORD @ np.array(self.white), BRADFORD @ D50
        return np.linalg.inv(BRADFORD) @ np.diag(target / source) @ BRADFORD @ matrix

    def profile(self, version: int = 2) -> bytes:
        """The space as an ICC display profile of version 2 or 4."""
        columns = [_xyz(column) for column in self.to_d50().T]
        curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(self.gamma * 256))
        if version == 4:  # a formula in place of a table; the same number, a 256th exactly
            curve = b"para" + bytes(4) + struct.pack(">H2xi", 0, round(self.gamma * 256) * 256)
        tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True))
        tags |= {name: curve for name in (b"rTRC", b"gTRC", b"bTRC")} | {b"wtpt": _xyz(D50)}
        return _file(b"RGB ", tags, version=version)

    def in_srgb(self, pixels: np.ndarray) -> np.ndarray:
        """8-bit pixels [..., 3] of this space -> what they are in sRGB, not rounded, clipped to the gamut."""
        linear = (pixels / 255.0) ** (round(self.gamma * 256) / 256)
        srgb = np.linalg.inv(SRGB.to_d50()) @ self.to_d50()
        shown = np.clip(linear @ srgb.T, 0, 1)
        return 255 * np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * shown ** (1 / 2.4) - 0.055)


SRGB = Space(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), 2.2)
DISPLAY_P3 = Space(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), 2.2)
ADOBE_RGB = Space(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.19921875)
PROPHOTO = Space(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), 1.8, tuple(D50))
SWAPPED = Space(((0.30, 0.60), (0.64, 0.33), (0.15, 0.06)), 2.2)
"""Red and green exchanged: who ignores it sees a green car where a red one stands."""


def grey_profile(gamma: float) -> bytes:
    """A grey scale of this gamma."""
    curve = b"curv" + bytes(4) + struct.pack(">IH2x", 1, round(gamma * 256))
    return _file(b"GRAY", {b"kTRC": curve, b"wtpt": _xyz(D50)})


def table_profile(space: bytes, channels: int, grid: int, in_srgb: Callable[[np.ndarray], np.ndarray]) -> bytes:
    """A profile that knows its colours by a table, as those of presses do. in_srgb: 0..1 [n, channels] -> 0..1 [n, 3]."""
    steps = np.meshgrid(*[np.linspace(0, 1, grid)] * channels, indexing="ij")
    srgb = np.clip(in_srgb(np.stack([axis.ravel() for axis in steps], axis=-1)), 0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = linear @ SRGB.to_d50().T / D50
    curved = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = curved.T
    lab = np.stack([(116 * y - 16) * 652.8, (500 * (x - y) + 128) * 256, (200 * (y - z) + 128) * 256], axis=-1)
    colours = np.clip(np.rint(lab), 0, 65535).astype(">u2").tobytes()
    straight = struct.pack(">HH", 0, 65535)
    identity = struct.pack(">9i", *(65536 * (n % 4 == 0) for n in range(9)))
    table = (
        b"mft2" + bytes(4) + bytes((channels, 3, grid, 0)) + identity + struct.pack(">HH", 2, 2)
        + straight * channels + colours + straight * 3
    )  # fmt: skip
    return _file(space, {b"A2B0": table, b"wtpt": _xyz(D50)}, pcs=b"Lab ", kind=b"prtr" if channels == 4 else b"scnr")


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _file(
    space: bytes, tags: dict[bytes, bytes], version: int = 2, pcs: bytes = b"XYZ ", kind: bytes = b"mntr"
) -> bytes:
    text = b"ergo test profile\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    right = b"text" + bytes(4) + text
    if version == 4:
        wide = "ergo test profile".encode("utf-16-be")
        description = right = b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(wide), 28) + wide
    tags = {b"desc": description, b"cprt": right, **tags}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s12s4s24sI3i48s", start + len(body), b"", {2: 0x02400000, 4: 0x04200000}[version], kind, space, pcs, bytes(12), b"acsp",
        bytes(24), 0, *(round(float(value) * 65536) for value in D50), b"",
    )  # fmt: skip
    return header + struct.pack(">I", len(tags)) + table + body
