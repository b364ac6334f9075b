"""What is read of a JPEG or PNG file before it is decoded."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from resnet_deploy.core.errors import DataError
from resnet_deploy.data.decode import decode_image
from resnet_deploy.data.image_frame import MAX_SCANS, check_image_frame
from resnet_deploy.data.orientation import UPRIGHT, tiff_orientation, turned

GOLDEN = Path(__file__).resolve().parents[2] / "cpp" / "tests" / "pixels" / "golden"
BIG = bytes.fromhex("4d4d002a00000008 0001 0112 0003 00000001 0006 0000 00000000")
LITTLE = bytes.fromhex("49492a0008000000 0100 1201 0300 01000000 0800 0000 00000000")


def _jpeg(**options: object) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def test_golden_images_have_their_bytes():
    from hashlib import sha256

    rows = json.loads((GOLDEN / "golden.json").read_text())["images"]
    assert len(rows) > 40
    for row in rows:
        data = (GOLDEN / row["file"]).read_bytes()
        assert sha256(decode_image(data, name="a")).hexdigest() == row["rgb_sha256"], row["file"]
        upright = decode_image(data, name="a", apply_orientation=True)
        assert sha256(upright).hexdigest() == row["turned_sha256"], row["file"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_as_pillow_turns_them(orientation):
    data = (GOLDEN / f"orientation{orientation}.jpg").read_bytes()
    assert check_image_frame(data) == orientation
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
        stored = np.asarray(image)
    assert np.array_equal(decode_image(data, name="a", apply_orientation=True), expected)
    assert np.array_equal(decode_image(data, name="a"), stored)
    assert np.array_equal(turned(stored, orientation), expected)


def test_both_byte_orders_are_read():
    assert tiff_orientation(BIG) == 6 and tiff_orientation(LITTLE) == 8


@pytest.mark.parametrize(
    ("place", "byte"), [(0, 88), (4, 255), (7, 25), (9, 0), (13, 4), (17, 2), (19, 0), (19, 9)], ids=str
)
def test_a_damaged_block_leaves_the_image_upright(place, byte):
    assert tiff_orientation(BIG[:place] + bytes([byte]) + BIG[place + 1 :]) == UPRIGHT


def test_a_block_that_is_cut_off_leaves_the_image_upright():
    assert [tiff_orientation(BIG[:size]) for size in range(22)] == [UPRIGHT] * 22


@pytest.mark.parametrize(("marker", "frame"), [(0xC3, 3), (0xC9, 9), (0xCA, 10)])
def test_lossless_and_arithmetic_jpeg_are_refused(marker, frame):
    data = _jpeg().replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    with pytest.raises(DataError, match=f"its frame is SOF{frame}, expected baseline"):
        decode_image(data, name="a.jpg")


def test_a_progressive_file_of_endless_scans_is_refused():
    data = _jpeg(progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    third = data.index(b"\xff\xc4", second)  # tables of the third scan
    bomb = data[:third] + data[second:third] * MAX_SCANS + b"\xff\xd9"
    with pytest.raises(DataError, match=rf"{MAX_SCANS + 2} scans, expected at most {MAX_SCANS}"):
        decode_image(bomb, name="a.jpg")


def test_what_follows_the_image_is_not_counted():
    """A phone appends a film, whose bytes look like scans."""
    data = _jpeg()
    longer = data + b"\xff\xda" * 1000
    assert np.array_equal(decode_image(longer, name="a"), decode_image(data, name="a"))


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = (struct.pack(">I", len(b)) + kind + b + struct.pack(">I", zlib.crc32(kind + b)) for kind, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


IHDR = (b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0))
IDAT = (b"IDAT", zlib.compress(b"\0\0\1"))
PLTE, IEND = (b"PLTE", bytes(range(6))), (b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (_png(IHDR, PLTE, IDAT), "it is cut off"),
        (_png(IHDR, PLTE, IDAT, IEND)[:-1], "it is cut off"),
        (_png(IHDR, PLTE, IDAT, IEND)[:-1] + b"\0", "the CRC of a chunk is wrong"),
        (_png(PLTE, IHDR, IDAT, IEND), "its first chunk is no IHDR"),
        (_png(IHDR, IDAT, PLTE, IEND), "it has no palette"),
        (_png(IHDR, PLTE, IEND), "it has no IDAT"),
    ],
)
def test_a_png_whose_chunks_are_not_whole_is_refused(data, match):
    with pytest.raises(DataError, match=rf"a\.png: can not be decoded \({match}"):
        decode_image(data, name="a.png")
    assert decode_image(_png(IHDR, PLTE, IDAT, IEND), name="a.png").tolist() == [[[0, 1, 2], [3, 4, 5]]]
