"""Make the golden images of the pixel contract, and `golden.json` with what they must become.

    python cpp/tests/pixels/make_golden.py

PNG files are put together here byte by byte, so that what they hold is known without a decoder; the script stops where
ours gives something else. Resized pixels are checked against the plain oracle of tests/reference.
"""

from __future__ import annotations

__all__ = ["main"]

import hashlib
import io
import itertools
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY))

from resnet_deploy.core.errors import DataError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode import decode_image
from resnet_deploy.data.preprocess import crop_pixels, normalize
from tests.reference.pillow_resize import resize

FOLDER = Path(__file__).resolve().parent / "golden"
WIDTH, HEIGHT = 29, 21
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
NUM_SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours with an edge and some noise: [H, W, 3] uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    colours = np.stack([200 * x + 30, 180 * y + 40, 255 * (x > y) * 0.7 + 30], axis=-1)
    noise = np.random.default_rng(height * width).normal(0, 8, colours.shape)
    return np.clip(colours + noise, 0, 255).astype(np.uint8)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples: np.ndarray, depth: int) -> bytes:
    """[H, W, samples] as PNG rows without a filter."""
    height = samples.shape[0]
    if depth == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in rows)


def png(samples: np.ndarray, *, colour: int, depth: int, before_data: bytes = b"", interlaced: bool = False) -> bytes:
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = zlib.compress(b"".join(packed(part, depth) for part in parts if part.size))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before_data + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def png_files() -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Name, file and the pixels that it must become."""
    rng = np.random.default_rng(7)
    for colour, depths in {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), GRAY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}.items():
        kind = {GRAY: "gray", RGB: "rgb", GRAY_ALPHA: "gray-alpha", RGB_ALPHA: "rgba"}[colour]
        for depth, interlaced in itertools.product(depths, (False, True)):
            if interlaced and depth not in (2, 16):
                continue
            samples = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, NUM_SAMPLES[colour]))
            upper = samples >> 8 if depth == 16 else samples * 255 // ((1 << depth) - 1)
            colours = upper[..., :3] if colour in (RGB, RGB_ALPHA) else np.repeat(upper[..., :1], 3, axis=2)
            file = png(samples, colour=colour, depth=depth, interlaced=interlaced)
            yield f"{kind}{depth}{'-interlaced' if interlaced else ''}.png", file, colours
    for depth in (1, 2, 4, 8):
        table = rng.integers(0, 256, (1 << depth, 3))
        indices = rng.integers(0, 1 << depth, (HEIGHT, WIDTH, 1))
        extra = chunk(b"PLTE", table.astype(np.uint8).tobytes()) + chunk(b"tRNS", b"\0\x80")
        yield (
            f"palette{depth}.png",
            png(indices, colour=PALETTE, depth=depth, before_data=extra),
            table[indices[..., 0]],
        )
    short = chunk(b"PLTE", table[:10].astype(np.uint8).tobytes())
    table[10:] = 0  # an index without a colour is black
    yield "palette-short.png", png(indices, colour=PALETTE, depth=8, before_data=short), table[indices[..., 0]]
    colours = picture(HEIGHT, WIDTH).astype(np.int64)
    ignored = {
        "rgb-transparent-colour": chunk(b"tRNS", struct.pack(">3H", *colours[0, 0])),
        "rgb-gamma": chunk(b"gAMA", struct.pack(">I", 100_000)),
        "rgb-background": chunk(b"bKGD", struct.pack(">3H", 255, 0, 255)),
        "rgb-significant-bits": chunk(b"sBIT", bytes([5, 6, 5])),
    }
    for name, extra in ignored.items():
        yield f"{name}.png", png(colours, colour=RGB, depth=8, before_data=extra), colours
    for height, width in ((45, 61), (7, 120), (150, 33), (64, 64)):
        colours = picture(height, width).astype(np.int64)
        yield f"picture-{width}x{height}.png", as_file(colours, "PNG"), colours  # with filtered rows


def as_file(pixels: np.ndarray, form: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(file, form, **options)
    return file.getvalue()


def exif(orientation: int, *, order: str) -> bytes:
    """An EXIF block: one tag before the orientation, then that."""
    entries = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, WIDTH, 0) + struct.pack(
        f"{order}HHIHH", 0x0112, 3, 1, orientation, 0
    )
    start = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, 8)
    return start + struct.pack(f"{order}H", 2) + entries + struct.pack(f"{order}I", 0)


def jpeg_files() -> Iterator[tuple[str, bytes]]:
    colours = picture(HEIGHT, WIDTH)
    for name, subsampling in (("444", 0), ("422", 1), ("420", 2)):
        for progressive in (False, True):
            options = {"subsampling": subsampling, "progressive": progressive, "quality": 85}
            yield f"{name}{'-progressive' if progressive else ''}.jpg", as_file(colours, "JPEG", **options)
    yield "gray.jpg", as_file(colours, "JPEG", "L")
    yield "rgb.jpg", as_file(colours, "JPEG", keep_rgb=True)
    yield "restart.jpg", as_file(colours, "JPEG", restart_marker_blocks=2)
    cmyk = as_file(colours, "JPEG", "CMYK")
    yield "cmyk.jpg", cmyk
    yield "cmyk-progressive.jpg", as_file(colours, "JPEG", "CMYK", progressive=True)
    at = cmyk.index(b"\xff\xee")
    transform = at + 4 + 11
    yield "ycck.jpg", cmyk[:transform] + b"\2" + cmyk[transform + 1 :]  # the same numbers, read as YCCK
    yield "cmyk-without-adobe.jpg", cmyk[:at] + cmyk[at + 16 :]
    for orientation in range(1, 9):
        block = b"Exif\0\0" + exif(orientation, order="><"[orientation % 2])
        yield f"orientation{orientation}.jpg", as_file(colours[:8, :13], "JPEG", exif=block)


def refused_files() -> dict[str, bytes]:
    colours = picture(HEIGHT, WIDTH).astype(np.int64)
    whole_png, whole_jpeg = png(colours, colour=RGB, depth=8), as_file(colours, "JPEG")
    wrong_crc = bytearray(whole_png)
    wrong_crc[-13] ^= 1  # of IDAT, before IEND: the data are whole
    arithmetic = bytearray(whole_jpeg)
    arithmetic[whole_jpeg.index(b"\xff\xc0") + 1] = 0xC9
    return {
        "empty.png": b"",
        "picture.gif": as_file(colours, "GIF"),
        "cut.png": whole_png[:-12],
        "cut.jpg": whole_jpeg[:-10],
        "cut-progressive.jpg": as_file(colours, "JPEG", progressive=True)[:-10],
        "wrong-crc.png": bytes(wrong_crc),
        "no-palette.png": png(colours[..., :1], colour=PALETTE, depth=8),
        "arithmetic.jpg": bytes(arithmetic),
    }


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def crop_case(file: str, image: np.ndarray, height: int, width: int, shorter: int | None) -> dict:
    spec = Preprocess(height_px=height, width_px=width, resize_shorter_px=shorter, mean=MEAN, std=STD)
    crop = crop_pixels(image, spec)
    if shorter is not None:
        short = min(image.shape[:2])
        plain = resize(image, height=image.shape[0] * shorter // short, width=image.shape[1] * shorter // short)
        top, left = (round((side - cut) / 2) for side, cut in zip(plain.shape, (height, width), strict=False))
        if not np.array_equal(plain[top : top + height, left : left + width], crop):
            sys.exit(f"{file}: {spec} differs from the oracle")
    return {
        "file": file,
        "height_px": height,
        "width_px": width,
        "resize_shorter_px": shorter or 0,
        "crop_sha256": sha256(crop),
        "tensor_sha256": sha256(normalize(crop, spec).astype("<f4")),
    }


def main() -> None:
    """Write the folder anew."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    files = {name: data for name, data in jpeg_files()}
    for name, data, pixels in png_files():
        files[name] = data
        if not np.array_equal(decode_image(data, name=name), pixels):
            sys.exit(f"{name} is decoded to other pixels than it was made of")
    files["orientation6.png"] = png(picture(8, 13), colour=RGB, depth=8, before_data=chunk(b"eXIf", exif(6, order=">")))
    images = []
    for name, data in files.items():
        stored = decode_image(data, name=name)
        row = {"file": name, "height_px": stored.shape[0], "width_px": stored.shape[1], "rgb_sha256": sha256(stored)}
        images.append(row | {"turned_sha256": sha256(decode_image(data, name=name, apply_orientation=True))})
    refused = refused_files()
    for name, data in refused.items():
        if name.endswith(".gif"):
            continue  # Pillow reads it; C++ does not
        try:
            decode_image(data, name=name)
        except DataError:
            continue
        sys.exit(f"{name} is not refused")
    crops = []
    for name in (name for name in files if name.startswith("picture-")):
        image = decode_image(files[name], name=name)
        for height, width, shorter in (
            (24, 24, 32),
            (20, 28, 29),
            (33, 33, 33),
            (5, 4, 6),
            (64, 64, 64),
            (224, 224, 256),
        ):
            crops.append(crop_case(name, image, height, width, shorter))
        crops.append(crop_case(name, image, 6, 5, None))
        crops.append(crop_case(name, image, 7, 30, None))
    for name, data in (files | refused).items():
        (FOLDER / name).write_bytes(data)
    document = {"mean": MEAN, "std": STD, "images": images, "refused": sorted(refused), "crops": crops}
    (FOLDER / "golden.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
