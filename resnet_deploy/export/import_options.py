"""What an import is told: the file, what it does not say about itself, and how the result is to be checked."""

from __future__ import annotations

__all__ = ["NOT_RECORDED", "ImportOptions", "read_labels"]

import re
from dataclasses import dataclass
from pathlib import Path

from resnet_deploy.core.errors import ConfigError

NOT_RECORDED = ("file", "out", "report", "force", "check_input", "check_output", "mean_image")
"""Options that do not change the checkpoint, or that name files, which are recorded by their content."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """Which file to import, and what it does not say about itself.

    Attributes:
        file: State dict by torch.save, .safetensors or .npz, bare or wrapped, or a .caffemodel.
        out: The checkpoint to write.
        net: Name in the catalogue; None recognises it by its keys and shapes.
        entry: Which state dict of a training checkpoint to take, e.g. "model_ema"; None takes the usual one.
        num_classes: None takes the rows of the classifier.
        labels: Class names in label order; None gives CIFAR-10's names to a CIFAR net of ten classes, and
            `class_0000` ... to any other.
        mean, std: Per channel, RGB, in units of pixel / 255, as in training; None takes the net's usual ones.
        mean_image: Caffe's mean image (.binaryproto or .npy, B G R, 0 to 255); its mean per channel is taken.
        sha256: The file's SHA-256, or at least its first eight digits; None holds the digits in its name
            against it, where it has some.
        check_input, check_output: An input of the weights' own framework and the output it gave; see
            `self_check.run_self_check`.
        check_tolerance: Largest difference over the largest output; None derives it from the net.
        recompute_bn: Images (`--data`) to compute the batch-norm statistics from, after the check.
        recompute_split: Which part of `recompute_bn`.
        recompute_images: How many of them, spread over the classes.
        recompute_batch: Images in a forward pass; the larger, the closer to one batch of them all.
        report: JSON file for the whole result; None writes none.
        license: A note on the weights' licence and origin, kept in the manifest.
    """

    file: Path
    out: Path
    net: str | None = None
    entry: str | None = None
    num_classes: int | None = None
    labels: tuple[str, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    mean_image: Path | None = None
    sha256: str | None = None
    check_input: Path | None = None
    check_output: Path | None = None
    check_tolerance: float | None = None
    recompute_bn: str | None = None
    recompute_split: str | None = "train"
    recompute_images: int = 1024
    recompute_batch: int = 128
    report: Path | None = None
    license: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        self._check_paths()
        self._check_labels()
        self._check_checks()

    def _check_paths(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(
                f"checkpoint {self.out} must end in .safetensors", remedy=f"for example {self.out.stem}.safetensors"
            )
        for role, path in (("--out", self.out), ("--report", self.report)):
            if path is not None and path.resolve() == self.file.resolve():
                raise ConfigError(f"{path} would overwrite the file it is made from", remedy=f"name another {role}")
        if self.report is not None and self.report.resolve() in (
            self.out.resolve(),
            Path(f"{self.out}.json").resolve(),
        ):
            raise ConfigError(f"--report {self.report} is the checkpoint or its manifest", remedy="name another file")

    def _check_labels(self) -> None:
        if self.num_classes is not None and self.num_classes < 1:
            raise ConfigError(f"num_classes is {self.num_classes}, expected at least 1")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise ConfigError(f"label {twice!r} occurs {self.labels.count(twice)} times, expected once")
        if self.mean is not None and self.mean_image is not None:
            raise ConfigError("--mean and --mean-image were both given", remedy="give one of them")

    def _check_checks(self) -> None:
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{8,64}", self.sha256):
            raise ConfigError(
                f"--sha256 {self.sha256!r} is not 8 to 64 hexadecimal digits", remedy="give the digest sha256sum prints"
            )
        if (self.check_input is None) != (self.check_output is None):
            raise ConfigError("--check-input and --check-output belong together", remedy="give both or neither")
        if self.check_tolerance is not None and not 0 < self.check_tolerance < 1:
            raise ConfigError(f"--check-tolerance is {self.check_tolerance:g}, expected between 0 and 1")
        if self.check_tolerance is not None and self.check_input is None:
            raise ConfigError("--check-tolerance without --check-input", remedy="give both, or neither")
        if self.recompute_images < 1 or self.recompute_batch < 2:
            raise ConfigError(
                f"batch-norm statistics of {self.recompute_images} images in batches of {self.recompute_batch}: "
                "expected at least 1 and 2"
            )


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names from a text file, one on each line, in label order; blank lines at the end are left out.

    Raises:
        ConfigError: The file is missing, not UTF-8 text, empty, or has a blank line between names.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").rstrip().splitlines()]
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: no such file", remedy="--labels takes a text file, one name a line") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}", remedy="save the labels as UTF-8 text") from error
    if not all(lines) or not lines:
        where = f"line {lines.index('') + 1} is blank" if lines else "the file is empty"
        raise ConfigError(f"{path}: {where}, expected one class name on each line", remedy="name every class")
    return tuple(lines)
