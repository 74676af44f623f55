"""Every kind of picture file reads as the exact pixels that were written."""

import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.base.errors import DataError
from data_modules.readers.pictures import read_mask, read_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
GREY = RGB[..., 0]
ALPHA = RNG.integers(0, 256, (5, 7)).astype(np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7)).astype(np.uint16)


def luma(rgb):
    return (rgb.astype(np.int64) @ (19595, 38470, 7471) + 0x8000) >> 16  # ITU-R 601-2 in fixed point


def over_black(pixels):
    return pixels / 255 * (ALPHA / 255)[..., None]


def palette():
    picture = Image.fromarray(GREY % 4, "P")
    picture.putpalette(RGB[0, :4].ravel().tolist())
    return picture


def transparent_palette():
    picture = palette()
    picture.info["transparency"] = bytes([255, 0, 51, 255])
    return picture


PALETTE_RGB = RGB[0, GREY % 4]
PALETTE_ALPHA = np.array([1, 0, 0.2, 1])[GREY % 4][..., None]

CASES = {
    "grey.png": (Image.fromarray(GREY), GREY[..., None] / 255),
    "grey.bmp": (Image.fromarray(GREY), GREY[..., None] / 255),
    "rgb.png": (Image.fromarray(RGB), RGB / 255),
    "rgb.tif": (Image.fromarray(RGB), RGB / 255),
    "rgba.png": (Image.fromarray(np.dstack([RGB, ALPHA])), over_black(RGB)),
    "grey_alpha.png": (Image.fromarray(np.dstack([GREY, ALPHA])), over_black(GREY[..., None])),
    "one_bit.png": (Image.fromarray(GREY > 127), (GREY > 127)[..., None]),
    "palette.png": (palette(), PALETTE_RGB / 255),
    "transparent_palette.png": (transparent_palette(), PALETTE_RGB / 255 * PALETTE_ALPHA),
    "deep.png": (Image.fromarray(DEEP), DEEP[..., None] / 65535),
    "deep.tif": (Image.fromarray(DEEP), DEEP[..., None] / 65535),
    "integers.tif": (Image.fromarray(DEEP.astype(np.int32)), DEEP[..., None] / 65535),
    "floats.tif": (Image.fromarray((DEEP / 65535).astype(np.float32)), DEEP[..., None] / 65535),
}


@pytest.mark.parametrize("name", CASES)
def test_pixels_are_exact(tmp_path, name):
    picture, expected = CASES[name]
    picture.save(tmp_path / name)
    read = read_picture(tmp_path / name, color=True)
    assert read.shape == (3, 5, 7)
    assert read.dtype == torch.float32
    np.testing.assert_allclose(read.permute(1, 2, 0), np.broadcast_to(expected, (5, 7, 3)), rtol=3e-7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("grey.png", GREY / 255),
        ("rgb.png", luma(RGB) / 255),
        ("rgba.png", luma(RGB) / 255 * (ALPHA / 255)),
        ("palette.png", luma(PALETTE_RGB) / 255),
        ("deep.png", DEEP / 65535),
    ],
)
def test_grey_is_exact(tmp_path, name, expected):
    CASES[name][0].save(tmp_path / name)
    np.testing.assert_allclose(read_picture(tmp_path / name, color=False)[0], expected, rtol=3e-7)


def test_a_jpeg_has_the_pixels_that_the_decoder_gives(tmp_path):
    smooth = np.add.outer(np.arange(40), 3 * np.arange(50)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=30)
    decoded = np.asarray(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.jpg", color=False)[0] * 255, decoded)


UPRIGHT = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8 bits", "16 bits"])
def test_exif_orientation_is_followed(tmp_path, orientation, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = np.ascontiguousarray(UPRIGHT[orientation](pixels)) / (255 if pixels is GREY else 65535)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", color=False)[0], upright, rtol=3e-7)


@pytest.mark.parametrize(
    ("name", "picture", "threshold", "expected"),
    [
        ("white.png", Image.fromarray((GREY > 99) * np.uint8(255)), 0.5, GREY > 99),
        ("bits.bmp", Image.fromarray(GREY > 99), 0.5, GREY > 99),
        ("ids.png", Image.fromarray((GREY % 4).astype(np.uint8)), 0.0, GREY % 4 > 0),
        ("deep.png", Image.fromarray((GREY % 4).astype(np.uint16)), 0.0, GREY % 4 > 0),
        ("cut.png", Image.fromarray(np.dstack([np.full_like(GREY, 255), (GREY > 99) * np.uint8(255)])), 0.5, GREY > 99),
    ],
)
def test_masks_are_what_exceeds_the_threshold(tmp_path, name, picture, threshold, expected):
    picture.save(tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, threshold)[0], expected)


def write_png(path, rows, bit_depth, color_type):
    """A PNG by its specification, for what Pillow cannot write; rows (h, bytes of a row)."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = RGB.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_the_writer_of_the_next_test_writes_true_png(tmp_path):
    write_png(tmp_path / "a.png", [row.tobytes() for row in RGB], 8, 2)
    np.testing.assert_allclose(read_picture(tmp_path / "a.png", True).permute(1, 2, 0), RGB / 255, rtol=3e-7)


@pytest.mark.parametrize(("color_type", "channels"), [(2, 3), (6, 4), (4, 2)], ids=["RGB", "RGBA", "grey and alpha"])
def test_16_bits_per_colour_are_refused_rather_than_cut(tmp_path, color_type, channels):
    write_png(tmp_path / "a.png", [row.astype(">u2").tobytes() * channels for row in DEEP], 16, color_type)
    with pytest.raises(DataError, match=r"a\.png: has 16 bits per colour channel.*save it with 8 bits"):
        read_picture(tmp_path / "a.png", color=True)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 70000]], np.int32), r"a\.tif: its pixels go from 0 to 70000; expected 0 to 65535"),
        (np.array([[-1, 5]], np.int32), r"a\.tif: its pixels go from -1 to 5"),
        (np.array([[0, 255]], np.float32), r"a\.tif: its pixels go from 0.* to 255.*; expected 0 to 1: rescale"),
        (np.array([[0, np.nan]], np.float32), r"a\.tif: holds NaN or infinite pixels"),
    ],
)
def test_values_outside_the_range_are_refused(tmp_path, pixels, message):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=message):
        read_picture(tmp_path / "a.tif", color=False)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "gif"])
def test_damage_of_any_kind_is_an_error_that_names_the_file(tmp_path, suffix):
    path, rng = tmp_path / f"a.{suffix}", np.random.default_rng(1)
    Image.fromarray(RGB).save(path)
    whole, refused = path.read_bytes(), 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(60):
            content = bytearray(whole)
            for place in rng.integers(len(content), size=4):
                content[place] = rng.integers(256)
            path.write_bytes(content[: rng.integers(1, len(content) + 1)])
            refused += _is_refused_by_name(path)
    assert refused > 30


def _is_refused_by_name(path):
    try:
        read_picture(path, color=True)
    except DataError as error:
        return str(path) in str(error)
    return False


def test_a_decompression_bomb_is_an_error(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"a\.png: cannot be read as a picture.*exceeds limit"):
        read_picture(tmp_path / "a.png", color=True)
