"""Weights trained elsewhere: a `.pth`, `.th` or `.safetensors` state dict becomes a checkpoint with a manifest."""

from __future__ import annotations

__all__ = ["CIFAR10_LABELS", "ImportOptions", "ImportResult", "import_weights", "read_labels"]

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from resnet_deploy.core.artifacts import find_manifest, is_up_to_date, read_manifest
from resnet_deploy.core.config import to_plain
from resnet_deploy.core.errors import ArtifactMismatchError, ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Preprocess
from resnet_deploy.export.state_dict import read_state_dict
from resnet_deploy.nets.catalogue import NetSpec, build_net, find_net, known_nets
from resnet_deploy.nets.checkpoint import check_finite, check_state_fits, save_checkpoint

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""CIFAR-10's classes in label order, which is alphabetical."""

_MANY_CLASSES = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportOptions:
    """Which file to import, and what it does not say about itself.

    Attributes:
        file: torch.save'd or safetensors state dict, bare or wrapped.
        out: The checkpoint to write.
        net: Name in the catalogue; None recognises it by its keys and shapes.
        num_classes: None takes the rows of the classifier.
        labels: Class names in label order; None gives CIFAR-10's names to a CIFAR net of ten classes, and
            `class_0000` ... to any other.
        mean, std: Per channel, RGB, in units of pixel / 255, as in training; None takes the net's usual ones.
        license: A note on the weights' licence and origin, kept in the manifest.
    """

    file: Path
    out: Path
    net: str | None = None
    num_classes: int | None = None
    labels: tuple[str, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    license: str = ""
    force: bool = False

    def __post_init__(self) -> None:
        if self.out.suffix != ".safetensors":
            raise ConfigError(
                f"checkpoint {self.out} must end in .safetensors", remedy=f"for example {self.out.stem}.safetensors"
            )
        if self.out.resolve() == self.file.resolve():
            raise ConfigError(f"{self.out} would overwrite the file it is made from", remedy="name another --out")
        if self.num_classes is not None and self.num_classes < 1:
            raise ConfigError(f"num_classes is {self.num_classes}, expected at least 1")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise ConfigError(f"label {twice!r} occurs {self.labels.count(twice)} times, expected once")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """A finished import.

    Attributes:
        recognised: Whether the net was found from the weights rather than named.
        num_tensors: Tensors taken over.
        renamed: How many keys had another name in the file, by the rule that changed them.
    """

    file: Path
    source: Path
    source_sha256: str
    net: str
    num_classes: int
    recognised: bool
    num_tensors: int
    num_parameters: int
    renamed: dict[str, int]
    labels: tuple[str, ...]
    skipped: bool


def import_weights(options: ImportOptions, *, progress: Progress = NO_PROGRESS) -> ImportResult:
    """Read foreign weights, prove that they fit a known net, and write them as a checkpoint.

    Nothing in the file is executed. Labels and preprocessing are what the options say: a state dict does not
    hold them, so `evaluate` on labelled images is the proof that they are right.

    Raises:
        ArtifactError: Not a state dict, truncated, needs code to load, or holds NaN.
        ArtifactMismatchError: Not the net that was named, or none that is known.
        ConfigError: Class count or labels do not fit the classifier, or the file was made by this package.
    """
    inputs = {"weights": options.file}
    recorded = {k: v for k, v in to_plain(options).items() if k not in ("file", "out", "force")}
    if not options.force and is_up_to_date(options.out, stage="import", inputs=inputs, options=recorded):
        manifest = read_manifest(options.out)
        return _result(options, manifest.details, manifest.input_sha256("weights"), manifest.labels, skipped=True)
    if find_manifest(options.file) is not None:
        raise ConfigError(
            f"{options.file} has a manifest already, so its net, labels and preprocessing are known",
            remedy="use the file as it is: import is for weights from elsewhere",
        )
    progress.start(f"importing {options.file.name}", 3)
    state, renamed = read_state_dict(options.file)
    check_finite(state, source=str(options.file))
    progress.advance(note="recognising")
    num_classes = _num_classes(state, options)
    spec = find_net(options.net) if options.net else _recognise(state, num_classes, source=str(options.file))
    net = build_net(spec, num_classes=num_classes)
    check_state_fits(net, state, net_name=spec.name, source=str(options.file))
    labels = _labels(options.labels, spec, num_classes)
    net.load_state_dict(state, strict=False)  # strict but for num_batches_tracked, which old files lack
    progress.advance(note=spec.name)
    details = {
        "net": spec.name,
        "num_classes": num_classes,
        "recognised": options.net is None,
        "num_tensors": len(state),
        "num_parameters": sum(p.numel() for p in net.parameters()),
        "renamed": renamed,
    }
    manifest = save_checkpoint(
        options.out,
        net,
        spec=spec,
        preprocess=_preprocess(spec.preprocess, options),
        labels=labels,
        stage="import",
        inputs=inputs,
        options=recorded,
        details=details,
    )
    progress.advance()
    return _result(options, details, manifest.input_sha256("weights"), labels, skipped=False)


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


def _num_classes(state: Mapping[str, Tensor], options: ImportOptions) -> int:
    weight = state.get("fc.weight")
    if weight is None or weight.ndim != 2:
        found = "there is none" if weight is None else f"it has shape {list(weight.shape)}"
        raise ArtifactMismatchError(
            f"{options.file}: a residual net's classifier 'fc.weight' [classes, channels] was expected, {found} "
            f"(first keys: {', '.join(list(state)[:3])})",
            remedy="import a ResNet of the catalogue; see `resnet-deploy nets list`",
        )
    rows = weight.shape[0]
    if options.num_classes is not None and options.num_classes != rows:
        raise ConfigError(
            f"{options.num_classes} classes were asked for, the classifier in {options.file} has {rows}",
            remedy="leave --classes away",
        )
    if not 1 <= rows <= _MANY_CLASSES:
        raise ArtifactMismatchError(f"{options.file}: 'fc.weight' has {rows} rows, expected 1 to {_MANY_CLASSES}")
    return rows


def _recognise(state: Mapping[str, Tensor], num_classes: int, *, source: str) -> NetSpec:
    """The one net whose keys and shapes these are; the stem tells the family, the number of blocks the depth."""
    stem = state.get("conv1.weight")
    family = "imagenet" if stem is not None and stem.shape[-1] == 7 else "cifar"
    candidates = [spec for spec in known_nets() if spec.family == family]
    if family == "cifar":
        blocks = {key.split(".")[1] for key in state if key.startswith("layer1.") and key.count(".") > 1}
        candidates = [find_net(f"resnet{6 * len(blocks) + 2}")] if blocks else []
    reasons = []
    for spec in candidates:
        try:
            with torch.device("meta"):
                net = build_net(spec, num_classes=num_classes)
            check_state_fits(net, state, net_name=spec.name, source=source)
            return spec
        except ArtifactMismatchError as error:
            reasons.append(error.message.removeprefix(f"{source} is not a "))
    tried = "; ".join(reasons) or "it has no 'layer1.' blocks"
    raise ArtifactMismatchError(
        f"{source} is none of the known nets: {tried}",
        remedy="name the net with --net or --depth to see what differs; pre-activation, wide and SE nets do not fit",
    )


def _labels(given: tuple[str, ...] | None, spec: NetSpec, num_classes: int) -> tuple[str, ...]:
    if given is None and spec.family == "cifar" and num_classes == len(CIFAR10_LABELS):
        return CIFAR10_LABELS
    if given is None:
        return tuple(f"class_{index:04d}" for index in range(num_classes))
    if len(given) != num_classes:
        raise ConfigError(
            f"{len(given)} labels were given, the classifier has {num_classes} classes",
            remedy="give one label for each class, in label order",
        )
    return given


def _preprocess(usual: Preprocess, options: ImportOptions) -> Preprocess:
    return Preprocess(
        height_px=usual.height_px,
        width_px=usual.width_px,
        resize_shorter_px=usual.resize_shorter_px,
        mean=options.mean or usual.mean,
        std=options.std or usual.std,
    )


def _result(
    options: ImportOptions,
    details: Mapping[str, Any],
    source_sha256: str | None,
    labels: tuple[str, ...] | None,
    *,
    skipped: bool,
) -> ImportResult:
    return ImportResult(
        file=options.out,
        source=options.file,
        source_sha256=source_sha256 or "",
        labels=labels or (),
        skipped=skipped,
        **details,
    )
