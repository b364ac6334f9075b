"""Is the file the one its publisher released, and are two files the same weights?"""

from __future__ import annotations

__all__ = ["Checksum", "check_file", "sha256_of_tensors"]

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from resnet_deploy.core.errors import ArtifactMismatchError
from resnet_deploy.core.files import sha256_of_file

_NAME_DIGEST = re.compile(r"-([0-9a-f]{8,64})\.[\w.]+$")
"""torch.hub's rule, which torchvision, timm and the public CIFAR weights follow: NAME-<first digits of the
SHA-256>.EXT."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checksum:
    """What a file's digest was compared with.

    Attributes:
        sha256: Of the file's bytes.
        expected: First digits, or all, of what it should be; empty where nothing says.
        expected_by: "--sha256", "file name", or "" where nothing says.
        note: Why the name's digits were not held against the file, where they differ; empty elsewhere.
    """

    sha256: str
    expected: str = ""
    expected_by: str = ""
    note: str = ""


def check_file(path: Path, *, sha256: str | None) -> Checksum:
    """Hash `path` and compare it with `sha256`, or with the digits in its name where that is None.

    Digits in a name that are all decimal may be a date; where they differ, that is noted and no error.

    Raises:
        ArtifactMismatchError: It is another file than it should be.
    """
    digest = sha256_of_file(path)
    if sha256 is not None:
        if not digest.startswith(sha256.lower()):
            raise ArtifactMismatchError(
                f"{path}: SHA-256 is {digest}, --sha256 says {sha256.lower()}",
                remedy="download the file again, or correct --sha256",
            )
        return Checksum(sha256=digest, expected=sha256.lower(), expected_by="--sha256")
    found = _NAME_DIGEST.search(path.name)
    if found is None:
        return Checksum(sha256=digest)
    if digest.startswith(found[1]):
        return Checksum(sha256=digest, expected=found[1], expected_by="file name")
    if found[1].isdecimal():
        return Checksum(sha256=digest, note=f"{found[1]} in its name is not its SHA-256; taken for a date or a number")
    raise ArtifactMismatchError(
        f"{path} ({path.stat().st_size} bytes): its name says that its SHA-256 begins with {found[1]}, it is "
        f"{digest[:16]}...; the file was cut off, changed or renamed",
        remedy="download it again; if it was changed on purpose, rename it or give its digest with --sha256",
    )


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, whatever the order and the file format.

    Counters of training steps (num_batches_tracked) are left out: old files lack them and no output depends on
    them. So the same weights as .pth, .safetensors and with a wrapper's prefix have one digest.
    """
    digest = hashlib.sha256()
    for key in sorted(key for key in tensors if not key.endswith("num_batches_tracked")):
        tensor = tensors[key].detach().cpu().contiguous()
        digest.update(json.dumps([key, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
