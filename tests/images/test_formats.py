"""Formats: the phones' own are read where their package is there; what is not read is named, with the way out."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ergo.core.errors import PictureError
from ergo.images.decode import load_image
from ergo.images.formats import register_plugins
from ergo.images.raster import decoded

GRADIENT = np.dstack([np.tile(np.linspace(20, 230, 96, dtype=np.uint8), (64, 1))] * 3)


def written(kind: str, **how: object) -> bytes:
    register_plugins()
    out = io.BytesIO()
    Image.fromarray(GRADIENT).save(out, kind, **how)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "package"), [("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")])
def test_what_phones_take_is_read(kind: str, package: str) -> None:
    pytest.importorskip(package, reason=f"{kind} is an extra")
    picture = load_image(written(kind, quality=95))
    assert (picture.size.width, picture.size.height) == (96, 64)
    assert np.abs(np.asarray(picture.pixels, dtype=float) - GRADIENT).mean() < 4


def test_a_heic_held_sideways_is_upright() -> None:
    pytest.importorskip("pillow_heif", reason="HEIF is an extra")
    exif = Image.Exif()
    exif[0x0112] = 6
    assert load_image(written("HEIF", exif=exif.tobytes())).size.width == 64


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.png", written("PNG"))
    return out.getvalue()


def tagged(tag: int, value: object, thumbnail: int = 0) -> bytes:
    """A TIFF of a small picture with one more tag, as cameras write their raw files."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = thumbnail
    tags.tagtype[tag] = 1 if isinstance(value, bytes) else 4
    tags[tag] = value
    return written("TIFF", tiffinfo=tags)


NAMED = {
    "Photoshop": (b"8BPS\0\1" + bytes(40), "PNG, TIFF or JPEG"),
    "PDF": (b"%PDF-1.7\n" + bytes(40), "pdftoppm"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "rsvg-convert"),
    "SVG after a declaration": (b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "SVG"),
    "PostScript": (b"%!PS-Adobe-3.0", "PNG"),
    "CR3": (b"\0\0\0\x18ftypcrx " + bytes(40), "raw"),
    "DNG": (tagged(50706, b"\1\4\0\0"), "develop"),
    "NEF": (tagged(330, 8, thumbnail=1), "develop"),
    "RAF": (b"FUJIFILMCCD-RAW 0201", "raw"),
    "a film": (b"\0\0\0\x20ftypisom" + bytes(40), "frame"),
    "FITS": (b"SIMPLE  =                    T", "FITS"),
    "a ZIP": (zipped(), "unpack"),
    "a gzip": (gzip.compress(written("PNG")), "unpack"),
}


@pytest.mark.parametrize("what", NAMED)
def test_what_is_not_read_is_named_with_the_way_out(what: str, tmp_path: Path) -> None:
    content, way_out = NAMED[what]
    path = tmp_path / "picture.jpg"  # whatever it is called
    path.write_bytes(content)
    with pytest.raises(PictureError) as refused:
        load_image(path)
    assert refused.value.kind in ("not_a_picture", "broken")
    assert way_out in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_the_extra_its_package_is_named() -> None:
    code = (
        "import sys; sys.modules['pillow_heif'] = None; sys.modules['pillow_jxl'] = None\n"
        "from ergo.images.decode import load_image\n"
        "for start in (b'\\0\\0\\0\\x1cftypheic' + bytes(60), b'\\xff\\n' + bytes(60)):\n"
        "    try: load_image(start)\n"
        "    except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install pillow-heif" in done.stdout
    assert "pip install pillow-jxl-plugin" in done.stdout


def test_what_libtiff_prints_reaches_no_terminal() -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(out, "tiff", compression="jpeg")
    broken = bytearray(out.getvalue())
    scan = broken.rindex(b"\xff\xda")  # the length that its header claims is none
    broken[scan + 2 : scan + 4] = b"\0\0"
    code = """
import sys
sys.modules["tifffile"] = None
from ergo.core.errors import PictureError
from ergo.images.decode import load_image
try: load_image(sys.stdin.buffer.read()).pixels
except PictureError as error: print(error.kind)
"""
    plain = "import sys, io\nfrom PIL import Image\ntry: Image.open(io.BytesIO(sys.stdin.buffer.read())).load()\nexcept OSError: pass"
    done, before = (
        subprocess.run([sys.executable, "-c", program], input=bytes(broken), capture_output=True, check=True)
        for program in (code, plain)
    )
    assert b"JPEGLib" in before.stderr, "Pillow alone lets it print"
    assert (done.stdout, done.stderr) == (b"broken\n", b"")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_heic_is_decoded_into_an_array_with_the_pixels_that_pillow_shows(mode: str) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    out = io.BytesIO()
    Image.effect_noise((130, 70), 50).convert(mode).save(out, "HEIF", quality=80)
    image = Image.open(out)
    raster = decoded(image, out)
    assert raster is not None
    assert (raster.mode, raster.size) == (image.mode, image.size)
    assert np.array_equal(raster.array, np.asarray(image))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_what_moves_the_first_picture_is_shown_and_a_line_says_so(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    assert load_image(out.getvalue()).pixels.getpixel((5, 5))[0] > 200  # type: ignore[index]
    assert "moves: shown is its first picture" in caplog.text
