"""What the first bytes of an engine file say, read without any NVIDIA library.

Observed, not specified. NVIDIA documents no header; these offsets were found by building engines with
TensorRT-RTX 1.7.1 for each target (the magic and the version are also what NVIDIA's open-source trtexec reads
in its `--getPlanVersionOnly`, where the magic is `ftrt`). A manifest, where there is one, is the better source.

    bytes   0..3   magic: "ftrt" TensorRT, "vtrt" TensorRT-RTX
    bytes   8..11  TensorRT-RTX: number of sections, little-endian, as all that follow
    bytes  16..23  TensorRT-RTX: length of the file
    bytes  24..27  major, minor, patch, build of the product
    bytes  32..35  TensorRT-RTX: bit mask of the GPU targets
    bytes  64..    TensorRT-RTX: 24 bytes for each section: tag, 4 zero bytes, offset (8), length (8); the tags are
                   "ENGN" and "WGHT" (weights), stored as little-endian words
"""

from __future__ import annotations

__all__ = ["HEADER_BYTES", "OPEN_ENDED_BIT", "RTX_TARGET_BITS", "EngineHeader", "foreign_format", "read_engine_header"]

import struct
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError

HEADER_BYTES = 64

RTX_TARGET_BITS = {"sm75": 0x01, "sm80": 0x02, "sm86": 0x04, "sm89": 0x08, "sm120": 0x10, "sm121": 0x20}
"""Bit of each target in a TensorRT-RTX engine. A build without targets sets 0x7e: all but sm75, and 0x40, which
no target sets on its own."""

OPEN_ENDED_BIT = 0x40
"""Set by a build without targets only, whose engine NVIDIA says to run on compute capability "8.0, 8.6, 8.9, 12.0,
and later" (TensorRT-RTX documentation, "CPU-Only AOT and TensorRT-RTX Engines")."""

_PRODUCT_OF_MAGIC = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_MAX_SECTIONS = 16
_SECTION = struct.Struct("<4s4xQQ")
_FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"PK\x03\x04": "a ZIP archive (a .pth file is one, too)",
    b"\x1f\x8b": "gzip data",
    b"\x7fELF": "a program or a library",
    b"MZ": "a Windows program or library",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself: run `git lfs pull`",
    b"<": "a text such as a web page",
    b"{": "a text such as JSON",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineHeader:
    """Attributes:
    product: "tensorrt" or "tensorrt-rtx".
    version: Of the product that built it, e.g. "1.7.1.116".
    size_bytes: Of the file; a TensorRT-RTX header says the same.
    target_mask: None for `tensorrt`, whose engines do not tell.
    targets: The targets of the mask that have a name.
    unnamed_bits: What else is set in the mask.
    weights_bytes: Length of the weights stored in the file; None where the header does not say.
    """

    product: str
    version: str
    size_bytes: int
    target_mask: int | None
    targets: tuple[str, ...]
    unnamed_bits: int
    weights_bytes: int | None


def read_engine_header(file: Path) -> EngineHeader:
    """Probe an engine file.

    Raises:
        ArtifactError: Missing, too short, of another format, or (TensorRT-RTX) not as long as its header says.
    """
    file = Path(file)
    if not file.is_file():
        raise ArtifactError(f"{file}: no such file", remedy="make one with `resnet-deploy build`")
    size = file.stat().st_size
    with open(file, "rb") as stream:
        head = stream.read(HEADER_BYTES + _MAX_SECTIONS * _SECTION.size)
    product = _PRODUCT_OF_MAGIC.get(head[:4])
    if product is None:
        looks = foreign_format(head)
        raise ArtifactError(
            f"{file} ({size} bytes) is not a TensorRT engine: it begins with {head[:4]!r}"
            f"{f', as {looks} does' if looks else ''}; expected "
            f"{' or '.join(repr(magic) for magic in _PRODUCT_OF_MAGIC)}",
            remedy="make one with `resnet-deploy build`",
        )
    if len(head) < HEADER_BYTES:
        raise ArtifactError(
            f"{file} was cut off: {size} bytes, an engine's header alone has {HEADER_BYTES}",
            remedy="build or copy it again",
        )
    is_rtx = product == "tensorrt-rtx"
    (expected,) = struct.unpack_from("<Q", head, 16)
    if is_rtx and expected != size:
        raise ArtifactError(
            f"{file} {'was cut off' if size < expected else 'has bytes after its end'}: "
            f"{size} bytes, its header says {expected}",
            remedy="build or copy it again",
        )
    mask = struct.unpack_from("<I", head, 32)[0] if is_rtx else None
    return EngineHeader(
        product=product,
        version=".".join(map(str, head[24:28])),
        size_bytes=size,
        target_mask=mask,
        targets=tuple(name for name, bit in RTX_TARGET_BITS.items() if mask is not None and mask & bit),
        unnamed_bits=(mask or 0) & ~sum(RTX_TARGET_BITS.values()),
        weights_bytes=_weights_bytes(head, size) if is_rtx else None,
    )


def foreign_format(head: bytes) -> str | None:
    """What a file that begins with `head` looks like, for a message; None where nothing common does."""
    return next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)


def _weights_bytes(head: bytes, size: int) -> int | None:
    """Length of the weights' section; None where the table is not as in the release it was learnt from."""
    (count,) = struct.unpack_from("<I", head, 8)
    if count > _MAX_SECTIONS or len(head) < HEADER_BYTES + count * _SECTION.size:
        return None
    sections = [_SECTION.unpack_from(head, HEADER_BYTES + index * _SECTION.size) for index in range(count)]
    lengths = {tag[::-1]: length for tag, offset, length in sections if offset + length <= size}
    return lengths.get(b"WGHT")
