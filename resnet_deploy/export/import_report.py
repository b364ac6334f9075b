"""What an import did, as data: for the terminal, for `--json`, for a report file and for the manifest."""

from __future__ import annotations

__all__ = ["BnRecomputation", "ImportResult", "write_import_report"]

import json
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.config import to_plain
from resnet_deploy.core.files import atomic_write
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.checksums import Checksum
from resnet_deploy.export.key_rules import IgnoredKey, MappedKey
from resnet_deploy.export.self_check import SelfCheck


@dataclass(frozen=True, kw_only=True, slots=True)
class BnRecomputation:
    """Batch-norm statistics computed anew after the import.

    Attributes:
        data: What the images are, in words.
    """

    data: str
    num_images: int
    batch_size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """A finished import, or one that its self-check ended.

    Attributes:
        checksum: The source file's digest and what it was compared with.
        tensors_sha256: Of the tensors under this package's keys, as imported (before any recomputation); equal
            for the same weights in any file format.
        layout: Whose names the file has: "torch" or "caffe".
        entry: Where in the file the weights were; empty where the file is the state dict.
        recognised: Whether the net was found from the weights rather than named.
        alternatives: Nets with the same keys and shapes, which a state dict can not be told from.
        num_tensors: Tensors taken over.
        catalogue_parameters: Parameters of the catalogue's net of that name and number of classes.
        renamed: How many keys had another name or form in the file, by the rule that changed them.
        keys: Every key of the net and where it is from.
        ignored: What was left in the file, and why.
        filled: Keys of the net that the file lacks, set to PyTorch's start value.
        mean_from: Where the mean and std are from, in words.
        written: Whether there is a checkpoint; not so where the self-check failed.
        skipped: The checkpoint was there already, from the same file and options.
    """

    file: Path
    source: Path
    source_sha256: str
    checksum: Checksum
    tensors_sha256: str
    layout: str
    entry: str
    net: str
    num_classes: int
    recognised: bool
    alternatives: tuple[str, ...]
    num_tensors: int
    num_parameters: int
    catalogue_parameters: int
    renamed: dict[str, int]
    keys: tuple[MappedKey, ...]
    ignored: tuple[IgnoredKey, ...]
    filled: tuple[str, ...]
    preprocess: Preprocess
    mean_from: str
    labels: tuple[str, ...]
    check: SelfCheck | None = None
    bn_recomputed: BnRecomputation | None = None
    written: bool = True
    skipped: bool = False

    @property
    def passed(self) -> bool:
        """Whether the self-check passed, or none was asked for."""
        return self.check is None or self.check.passed


def write_import_report(path: Path, result: ImportResult) -> None:
    """Write the whole result as JSON."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(to_plain(result), indent=1) + "\n", encoding="utf-8")
