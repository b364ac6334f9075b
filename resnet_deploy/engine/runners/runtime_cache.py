"""What TensorRT-RTX compiled for an engine on a GPU, kept from one opening to the next, in this process or in a file.

line 1   "resnet-deploy runtime cache 1"
line 2   JSON: the engine's SHA-256, the GPU, the product's version, SHA-256 of what follows
rest     what the product serialised
"""

from __future__ import annotations

__all__ = ["CacheKey", "read_runtime_cache", "write_runtime_cache"]

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.files import atomic_write, sha256_of_bytes

_MAGIC = b"resnet-deploy runtime cache 1"
_IN_PROCESS: dict[CacheKey, bytes] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheKey:
    """What compiled kernels belong to; with another of any of these they are of no use."""

    engine_sha256: str
    gpu: str
    product_version: str


def read_runtime_cache(file: Path | None, key: CacheKey) -> tuple[bytes | None, str]:
    """What `file` has for `key`, and why it was ignored where it was; without a file, what this process keeps.

    A file that is not there yet is no reason to speak of.

    Raises:
        ArtifactError: `file` is a folder.
    """
    if file is None:
        return _IN_PROCESS.get(key), ""
    if not file.exists():
        return None, ""
    if file.is_dir():
        raise ArtifactError(f"the runtime cache {file} is a folder", remedy="name a file")
    magic, _, rest = file.read_bytes().partition(b"\n")
    head, _, blob = rest.partition(b"\n")
    if magic != _MAGIC:
        return None, f"{file} is not a runtime cache and will be replaced"
    try:
        found = json.loads(head)
        sha256 = found.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError):
        return None, f"the runtime cache {file} is damaged and will be replaced"
    if sha256 != sha256_of_bytes(blob):
        return None, f"the runtime cache {file} is damaged and will be replaced"
    other = [name.replace("_", " ") for name, value in asdict(key).items() if found.get(name) != value]
    if other:
        return None, f"the runtime cache {file} is of another {' and '.join(other)} and will be replaced"
    return blob, ""


def write_runtime_cache(file: Path | None, key: CacheKey, blob: bytes) -> None:
    """Keep `blob` for the next opening: in `file`, or without one for the life of this process.

    Raises:
        ArtifactError, OSError: As `core.files.atomic_write`.
    """
    if file is None:
        _IN_PROCESS[key] = blob
        return
    head = json.dumps({**asdict(key), "sha256": sha256_of_bytes(blob)})
    with atomic_write(file) as partial:
        partial.write_bytes(_MAGIC + b"\n" + head.encode() + b"\n" + blob)
