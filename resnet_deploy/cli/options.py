"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

__all__ = [
    "BATCH",
    "DATA",
    "DEPTH",
    "EXACT_INPUT",
    "FORCE",
    "JSON",
    "NET",
    "OUT",
    "SKIP_BAD",
    "SPLIT",
    "TABLE",
    "THREADS",
    "chosen_net",
]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.core.errors import ConfigError

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
