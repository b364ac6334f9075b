"""What a bundle takes from outside of its models: a golden image of the user's, and the licence of the weights."""

from __future__ import annotations

__all__ = ["GivenGolden", "given_golden", "read_licence", "weights_licence"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.artifacts import manifest_path, read_manifest
from resnet_deploy.core.errors import ArtifactError, ConfigError
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.data.decode import decode_image
from resnet_deploy.pipeline.bundle.self_tests import GoldenImage, golden_of
from resnet_deploy.pipeline.bundle.sources import ModelSource

_MAX_GOLDEN_BYTES, _MAX_LICENCE_BYTES = 32 * 2**20, 2**20
_NAMES = {b"\x89PNG\r\n\x1a\n": "golden.png", b"\xff\xd8\xff": "golden.jpg"}
_ROLES = ("onnx", "checkpoint", "weights", "parent")
_MAX_STEPS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenGolden:
    """Attributes:
    name: In the bundle.
    bytes: Of the file as it was given.
    """

    name: str
    bytes: bytes
    image: GoldenImage


def given_golden(file: Path, preprocess: Preprocess) -> GivenGolden:
    """Read a golden image of the user's.

    Raises:
        ConfigError: Missing, neither JPEG nor PNG, or larger than an image that is to be in every bundle.
        DataError: It can not be decoded, or is smaller than the network's input.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "no such file"
        raise ConfigError(f"{file}: {what}", remedy="--golden takes a JPEG or PNG file")
    if (size := file.stat().st_size) > _MAX_GOLDEN_BYTES:
        raise ConfigError(
            f"{file} has {size:,} bytes, a golden image at most {_MAX_GOLDEN_BYTES:,}", remedy="give a smaller image"
        )
    data = file.read_bytes()
    name = next((name for magic, name in _NAMES.items() if data.startswith(magic)), None)
    if name is None:
        raise ConfigError(f"{file} begins with {data[:8]!r}: neither JPEG nor PNG", remedy="save it as PNG")
    image = golden_of(decode_image(data, name=str(file)), preprocess, name=str(file))
    return GivenGolden(name=name, bytes=data, image=image)


def read_licence(file: Path) -> str:
    """The text of a --licence file.

    Raises:
        ConfigError: Missing, not UTF-8, or too long for a note.
    """
    try:
        if file.stat().st_size > _MAX_LICENCE_BYTES:
            raise ConfigError(
                f"{file} has {file.stat().st_size:,} bytes, at most {_MAX_LICENCE_BYTES:,} are taken",
                remedy="--licence takes a text file",
            )
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such file", remedy="--licence takes a text file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{file}: is a folder", remedy="--licence takes a text file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error}", remedy="save the licence as UTF-8 text") from error


def weights_licence(sources: Sequence[ModelSource]) -> str | None:
    """What the manifests of the chain say of the weights' licence, the nearest first; None where none does."""
    for source in sources:
        file = source.file
        for _ in range(_MAX_STEPS):
            try:
                manifest = read_manifest(file, verify=False)
            except ArtifactError:
                break
            said = manifest.details.get("license") or manifest.options.get("license")
            if isinstance(said, str) and said.strip():
                return said
            records = {record.role: record.file for record in manifest.inputs}
            role = next((role for role in _ROLES if role in records), None)
            if role is None or not manifest_path(file.parent / records[role]).is_file():
                break
            file = file.parent / records[role]
    return None
