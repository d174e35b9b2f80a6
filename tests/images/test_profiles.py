"""Colours: a picture means what its profile says, whatever it was stored as."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from icc import ADOBE_RGB, DISPLAY_P3, PROPHOTO, SRGB, SWAPPED, Space, grey_profile, table_profile
from PIL import Image, ImageCms

import ergo
from ergo.backends import open_backend
from ergo.core.geometry import Box, Size
from ergo.images import disk as disk_module
from ergo.images.decode import load_image
from ergo.images.picture import Picture

COLOURS = np.array(
    [[200, 30, 30], [30, 160, 40], [40, 60, 200], [230, 200, 40], [128, 128, 128], [90, 20, 120], [250, 250, 250]],
    dtype=np.uint8,
)


def patches(colours: np.ndarray = COLOURS, side: int = 16) -> np.ndarray:
    """One square of each colour, side by side."""
    return np.repeat(np.repeat(colours[None], side, axis=0), side, axis=1)


def saved(image: Image.Image, kind: str, profile: bytes) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, icc_profile=profile, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    return out.getvalue()


def shown(picture: Picture) -> np.ndarray:
    """The colour of each patch [patches, 3], as a model is shown it at half the size."""
    whole = Box.whole(picture.size)
    part = picture.part(whole, Size(picture.size.width // 2, picture.size.height // 2))
    return np.asarray(part, dtype=float)[4, 4::8]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    "space", [DISPLAY_P3, ADOBE_RGB, PROPHOTO, SWAPPED], ids=["display-p3", "adobe-rgb", "prophoto", "swapped"]
)
def test_colours_are_those_that_the_profile_says(space: Space, kind: str) -> None:
    picture = load_image(saved(Image.fromarray(patches()), kind, space.profile()))
    truth = space.in_srgb(COLOURS.astype(float))
    error = np.abs(shown(picture) - truth)
    assert error.mean() <= (1.0 if kind in ("PNG", "TIFF") else 2.5), error
    assert np.abs(COLOURS - truth).max() > 5, "read as sRGB it would be seen"


def test_with_swapped_primaries_the_red_car_is_red() -> None:
    stored = Image.fromarray(patches(np.array([[30, 200, 30]], dtype=np.uint8)))
    red, green, _ = shown(load_image(saved(stored, "PNG", SWAPPED.profile())))[0]
    assert red > 180 > 60 > green


def test_srgb_by_any_name_is_left_alone_to_the_bit() -> None:
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(load_image(saved(stored, "PNG", own)).pixels), np.asarray(stored))


@pytest.mark.parametrize(
    "profile", [b"not a profile", SRGB.profile()[:200], grey_profile(2.2)], ids=["broken", "cut", "of another space"]
)
def test_a_profile_that_cannot_be_used_is_ignored(profile: bytes) -> None:
    stored = Image.fromarray(patches())
    assert np.array_equal(np.asarray(load_image(saved(stored, "PNG", profile)).pixels), np.asarray(stored))


def test_grey_has_its_own_gamma() -> None:
    levels = np.array([0, 60, 128, 200, 255], dtype=np.uint8)
    stored = Image.fromarray(np.repeat(np.repeat(levels[None], 16, axis=0), 16, axis=1))
    linear = shown(load_image(saved(stored, "PNG", grey_profile(1.0))))[:, 0]
    light = levels / 255
    truth = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(linear - truth).max() <= 1.5


def test_transparent_pictures_are_converted_too_and_stay_on_white() -> None:
    stored = Image.fromarray(np.dstack([patches(), np.full((16, 16 * len(COLOURS)), 255, np.uint8)]))
    stored.paste((0, 0, 0, 0), (0, 0, 16, 16))
    found = shown(load_image(saved(stored, "PNG", DISPLAY_P3.profile())))
    assert found[0].min() >= 254
    assert np.abs(found[1:] - DISPLAY_P3.in_srgb(COLOURS[1:].astype(float))).mean() <= 1


def test_a_pillow_image_handed_over_keeps_its_profile() -> None:
    image = Image.open(io.BytesIO(saved(Image.fromarray(patches()), "PNG", SWAPPED.profile())))
    picture = Picture(image)
    assert np.abs(shown(picture) - SWAPPED.in_srgb(COLOURS.astype(float))).mean() <= 1
    assert np.array_equal(
        np.asarray(picture.pixels)[8, 8], np.asarray(load_image(saved(image, "PNG", SWAPPED.profile())).pixels)[8, 8]
    )


def test_lab_needs_no_profile() -> None:
    lab = ImageCms.applyTransform(
        Image.fromarray(patches()),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert lab is not None
    out = io.BytesIO()
    lab.save(out, "TIFF")
    assert np.abs(shown(load_image(out.getvalue())) - COLOURS).mean() <= 2


def test_cmyk_goes_through_its_own_profile_as_libvips_converts_it(tmp_path: Path) -> None:
    pyvips = pytest.importorskip("pyvips", reason="libvips holds the CMYK profile: the extra `vips`")
    profile = pyvips.Operation.call("profile_load", "cmyk")
    inks = np.array([[0, 200, 200, 0], [200, 0, 200, 20], [200, 160, 0, 0], [0, 0, 0, 128]], dtype=np.uint8)
    stored = Image.fromarray(patches(inks), "CMYK")
    path = tmp_path / "cmyk.tif"
    path.write_bytes(saved(stored, "TIFF", bytes(profile)))
    converted = pyvips.Image.new_from_file(str(path)).icc_transform("srgb", intent="relative")
    truth = np.asarray(converted.numpy(), dtype=float)[8, 8::16, :3]
    assert np.abs(shown(load_image(path)) - truth).mean() <= 1


def test_pictures_that_stay_on_disk_are_converted_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyvips", reason="only libvips reads part by part: the extra `vips`")
    path = tmp_path / "p3.png"
    path.write_bytes(saved(Image.fromarray(patches()), "PNG", DISPLAY_P3.profile()))
    held = load_image(path)
    monkeypatch.setattr(disk_module, "MIN_STREAMING_PIXELS", 100)
    streamed = load_image(path)
    assert (held.lazy, streamed.lazy) == (False, True)
    assert np.array_equal(shown(held), shown(streamed))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_numbers_are_left_as_they_are_where_that_is_asked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "swapped"
    path.write_bytes(saved(Image.fromarray(patches()), kind, SWAPPED.profile()))
    picture = load_image(path)
    assert np.array_equal(shown(picture.as_stored()), COLOURS)
    assert not np.array_equal(shown(picture), COLOURS)


def test_a_model_is_shown_the_colours_it_is_to_see() -> None:
    encoded = saved(Image.fromarray(patches()), "PNG", SWAPPED.profile())
    model = open_backend("scripted:<answer>red</answer>")
    for colours, expected in (("srgb", False), ("stored", True)):
        result = ergo.ask(encoded, "What?", model=replace(model, colours=colours))
        view = result.turns[0].views[0]
        assert np.array_equal(np.asarray(view.pixels)[view.size.height // 2, 2], COLOURS[0]) == expected


# ── ten profiles against LittleCMS and libvips ─────────────────────────────────────────────────


def press(inks: np.ndarray) -> np.ndarray:
    """CMYK of a press whose inks are not pure, 0..1 -> sRGB."""
    paper = 1 - inks[:, :3] @ np.array([[0.95, 0.25, 0.05], [0.1, 0.9, 0.35], [0.0, 0.1, 0.85]])
    return np.clip(paper, 0, 1) * (1 - 0.9 * inks[:, 3:])


def xyb(channels: np.ndarray) -> np.ndarray:
    """Opponent channels as JPEG XL's (red against green, brightness, blue), 0..1 -> sRGB."""
    opponent, bright, blue = channels.T
    red, green = bright + 0.6 * (opponent - 0.5), bright - 0.6 * (opponent - 0.5)
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 1)


def vips_cmyk() -> bytes:
    pyvips = pytest.importorskip("pyvips", reason="libvips holds a CMYK profile: the extra `vips`")
    return bytes(pyvips.Operation.call("profile_load", "cmyk"))


PROFILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "Display P3": ("RGB", DISPLAY_P3.profile), "Adobe RGB": ("RGB", ADOBE_RGB.profile),
    "ProPhoto": ("RGB", PROPHOTO.profile), "swapped primaries": ("RGB", SWAPPED.profile),
    "Display P3, version 4": ("RGB", lambda: DISPLAY_P3.profile(version=4)),
    "CMYK of libvips": ("CMYK", vips_cmyk), "CMYK, a press by table": ("CMYK", lambda: table_profile(b"CMYK", 4, 9, press)),
    "opponent channels by table (XYB)": ("RGB", lambda: table_profile(b"RGB ", 3, 25, xyb)),
    "grey, gamma 1.0": ("L", lambda: grey_profile(1.0)), "Lab": ("LAB", lambda: b""),
}  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_means_what_littlecms_and_libvips_say(name: str, tmp_path: Path) -> None:
    pyvips = pytest.importorskip("pyvips", reason="the extra `vips`")
    mode, make = PROFILES[name]
    profile, path = make(), tmp_path / "picture.tif"
    channels = {"L": 1, "RGB": 3, "CMYK": 4, "LAB": 3}[mode]
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, channels), dtype=np.uint8).squeeze()
    if mode == "LAB":  # colours that sRGB has, as libvips and LittleCMS clip others in ways of their own
        colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        stored = ImageCms.applyTransform(colours, to_lab)
        assert stored is not None
    else:
        stored = Image.fromarray(coarse, mode)
    stored = stored.resize((128, 96), Image.Resampling.NEAREST)
    stored.save(path, icc_profile=profile) if profile else stored.save(path)
    ours = np.asarray(load_image(path).pixels, dtype=float)

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
    transform = ImageCms.buildTransform(
        source, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.NOOPTIMIZE,
    )  # fmt: skip
    littlecms = np.asarray(ImageCms.applyTransform(stored, transform), dtype=float)
    if profile:
        opened = pyvips.Image.new_from_file(str(path))
        converted = opened.icc_transform(
            "srgb", embedded=True, intent="relative", pcs="xyz" if mode == "RGB" else "lab"
        )
    else:  # libvips takes this TIFF for one of its own kind of Lab, and stops
        light, across = np.asarray(stored)[..., :1], np.asarray(stored)[..., 1:].view(np.int8)
        lab = np.concatenate([light * np.float32(100 / 255), across], axis=2, dtype=np.float32)
        opened = pyvips.Image.new_from_array(lab, interpretation="lab")
        converted = opened.icc_export(output_profile="srgb", pcs="lab", intent="relative")
    libvips = converted.numpy().astype(float)
    libvips = libvips[..., None] if libvips.ndim == 2 else libvips[..., :3]
    cells = [f"{name:34}"]
    for reference in (littlecms, libvips):
        error = np.abs(ours - reference)
        cells.append(f"mean {error.mean():.2f}, largest {error.max():.0f}")
    print(" | ".join(cells))
    assert np.abs(ours - littlecms).mean() <= 1, cells
    assert np.abs(ours - libvips).mean() <= 1, cells
