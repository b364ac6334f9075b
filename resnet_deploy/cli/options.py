"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

__all__ = [
    "BATCH",
    "DATA",
    "DEPTH",
    "EXACT_INPUT",
    "FORCE",
    "JSON",
    "LABELS",
    "NET",
    "OUT",
    "PREPROCESS",
    "SKIP_BAD",
    "SPLIT",
    "TABLE",
    "THREADS",
    "chosen_net",
    "chosen_network",
    "given_labels",
]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
DEPTH = Annotated[Optional[int], typer.Option("--depth", help="ImageNet ResNet of that depth: 18, 34, 50, 101, 152.")]
NET = Annotated[
    Optional[str], typer.Option("--net", help="Any net by name, e.g. resnet20; see `resnet-deploy nets list`.")
]
DATA = Annotated[
    Optional[str],
    typer.Option(
        "--data",
        help="Folder or .tar of class folders, CIFAR binary files, WebDataset shards, or `digits` (bundled).",
    ),
]
SPLIT = Annotated[Optional[str], typer.Option("--split", help="Which part of --data: train, val or test.")]
OUT = Annotated[Optional[Path], typer.Option("--out", "-o", help="File to write; its manifest goes beside it.")]
PREPROCESS = Annotated[
    Optional[str],
    typer.Option("--preprocess", help="imagenet, cifar, digits or FILE.json; for a file without a manifest."),
]
LABELS = Annotated[
    Optional[Path],
    typer.Option(
        "--labels", help="Text file of class names, one a line in label order; for a file without a manifest."
    ),
]
BATCH = Annotated[int, typer.Option("--batch", help="Images per forward pass.", min=1)]
THREADS = Annotated[int, typer.Option("--threads", help="Processor threads; 0 takes all.", min=0)]
SKIP_BAD = Annotated[
    int, typer.Option("--skip-bad", help="Leave out up to N images that can not be decoded, and list them.", min=0)
]
TABLE = Annotated[
    Optional[Path],
    typer.Option(
        "--table",
        help="Calibration table, or a TensorRT calibration cache; without it, the table beside the ONNX file.",
    ),
]
EXACT_INPUT = Annotated[
    bool,
    typer.Option(
        "--exact-input/--rounded-input",
        help="int8: the first layer reads the pixels as whole numbers, for two small operators in front of it.",
    ),
]
FORCE = Annotated[bool, typer.Option("--force", help="Do the work again even where the file is up to date.")]


def chosen_net(net: str | None, depth: int | None, *, default: str | None = None):
    """The catalogue row that --net or --depth names.

    Raises:
        ConfigError: Both were given, neither was and there is no default, or the name is unknown.
    """
    from resnet_deploy.nets.catalogue import find_net, net_of_depth

    if net is not None and depth is not None:
        raise ConfigError(f"--net {net} and --depth {depth} were both given", remedy="give one of them")
    if depth is not None:
        return net_of_depth(depth)
    if net is None and default is None:
        raise ConfigError("no network was named", remedy="give --depth 18|34|50|101|152 or --net NAME")
    return find_net(net or default)


def chosen_network(
    onnx: Path, *, preprocess: str | None = None, labels: Path | None = None, progress: Progress = NO_PROGRESS
) -> Path:
    """The file of the chain that an ONNX argument stands for; see `pipeline.foreign_network.network_of_chain`."""
    from resnet_deploy.pipeline.foreign_network import network_of_chain

    pixels = None
    if preprocess is not None:
        from resnet_deploy.verify.subject import named_preprocess

        pixels = named_preprocess(preprocess)
    return network_of_chain(onnx, preprocess=pixels, labels=given_labels(labels), progress=progress)


def given_labels(file: Path | None) -> tuple[str, ...] | None:
    """The class names in a --labels file; see `export.import_options.read_labels`."""
    if file is None:
        return None
    from resnet_deploy.export.import_options import read_labels

    return read_labels(file)
