"""What a JPEG or PNG file says around its compressed data, read before Pillow decodes it.

Pillow takes some damaged and unusual files that the C++ decoder refuses; here both refuse the same ones.
"""

from __future__ import annotations

__all__ = ["MAX_SCANS", "check_image_frame"]

import zlib

from resnet_deploy.data.orientation import UPRIGHT, tiff_orientation

MAX_SCANS = 256
"""Of a JPEG file. Cameras and encoders write up to about 20; every scan costs a pass over all pixels."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PALETTE_COLOUR = 3
_JPEG_TABLES = (0xC4, 0xC8, 0xCC)


def check_image_frame(data: bytes) -> int:
    """The EXIF orientation of a file; of another format than JPEG and PNG, upright.

    Raises:
        ValueError: A JPEG that is neither baseline, extended nor progressive, or of more than MAX_SCANS scans; a PNG
            with a chunk that is cut off or whose CRC is wrong, or without one that it needs.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return _check_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _check_png(data)
    return UPRIGHT


def _check_jpeg(data: bytes) -> int:
    orientation, at, size = None, 2, len(data)
    while True:
        at = data.find(b"\xff", at)
        while 0 <= at < size and data[at] == 0xFF:
            at += 1
        if not 0 <= at < size or data[at] in (0xDA, 0xD9):
            break
        marker, at = data[at], at + 1
        if marker <= 0x01 or 0xD0 <= marker <= 0xD8:  # a marker without a segment
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > size:
            break  # damaged, which the decoder reports
        if 0xC3 <= marker <= 0xCF and marker not in _JPEG_TABLES:
            raise ValueError(f"its frame is SOF{marker - 0xC0}, expected baseline, extended or progressive")
        segment = data[at + 2 : at + length] if marker == 0xE1 and orientation is None else b""
        if segment.startswith(b"Exif\0\0"):
            orientation = tiff_orientation(segment[6:])
        at += length
    # In compressed data a byte FF is followed by 00 or by a marker that is no scan.
    num_scans = data.count(b"\xff\xda", at - 1, data.find(b"\xff\xd9", at)) if at > 0 else 0
    if num_scans > MAX_SCANS:
        raise ValueError(f"{num_scans} scans, expected at most {MAX_SCANS}")
    return orientation or UPRIGHT


def _check_png(data: bytes) -> int:
    view, at, orientation, kinds = memoryview(data), len(_PNG_SIGNATURE), None, set()
    while b"IEND" not in kinds:
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 12 + length
        if at + 12 > len(data) or end > len(data):
            raise ValueError("it is cut off")
        kind, body = bytes(view[at + 4 : at + 8]), view[at + 8 : end - 4]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise ValueError("the CRC of a chunk is wrong")
        if not kinds and (kind != b"IHDR" or length != 13):
            raise ValueError("its first chunk is no IHDR")
        if kind == b"IHDR":
            needs_palette = body[9] == _PNG_PALETTE_COLOUR
        if kind == b"IDAT" and needs_palette and b"PLTE" not in kinds:
            raise ValueError("it has no palette")
        if kind == b"eXIf" and orientation is None:
            orientation = tiff_orientation(bytes(body))
        kinds.add(kind)
        at = end
    if b"IDAT" not in kinds:
        raise ValueError("it has no IDAT")
    return orientation or UPRIGHT
