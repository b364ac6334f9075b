"""`resnet-deploy calibrate`: activation ranges for INT8."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from resnet_deploy.cli.options import BATCH, FORCE, JSON, LABELS, OUT, PREPROCESS, SKIP_BAD, THREADS, chosen_network
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_deploy.quant.calibrate import CalibrateResult
    from resnet_deploy.quant.shards import ShardResult

_OF_SAMPLE = ("split", "images", "seed", "shard", "preprocess", "labels", "skip_bad", "batch", "force")
_OF_TABLE = ("method", "keep_statistics", "cache", "trt_version")


def command(
    context: typer.Context,
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote, or one from elsewhere.")],
    statistics: Annotated[
        Optional[list[Path]], typer.Argument(metavar="STATS", help="With --merge: the files of all shards.")
    ] = None,
    data: Annotated[
        Optional[str],
        typer.Option(
            "--data",
            help="Folder or .tar with one subfolder per class, CIFAR binary files, WebDataset shards, `digits` "
            "(bundled), or `noise` (latency only). With --merge: that of the shards, for --method auto.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="Part of --data; never calibrate on what you evaluate on.")
    ] = "train",
    images: Annotated[int, typer.Option("--images", help="At most so many, spread over the classes.", min=1)] = 512,
    method: Annotated[
        Optional[str],
        typer.Option(
            "--method",
            help="auto (least effect on the answer; the default), entropy, max, mse, or percentile:P such as "
            "percentile:99.99. auto looks at the images again, so --merge without --data takes entropy.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    out: OUT = None,
    shard: Annotated[
        Optional[str],
        typer.Option(
            "--shard", metavar="K/N", help="Only the K-th of N parts of the images; writes <stem>.KofN.stats."
        ),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Make the table from the shards' files STATS.")] = False,
    keep_statistics: Annotated[
        bool, typer.Option("--keep-statistics", help="Keep <stem>.calib.stats: another --method then needs no images.")
    ] = False,
    cache: Annotated[
        Optional[Path],
        typer.Option("--cache", help="Also write a calibration cache for implicit INT8 on TensorRT 8 and 10."),
    ] = None,
    trt_version: Annotated[str, typer.Option("--trt-version", help="TensorRT that will read the --cache.")] = "8.6.1",
    preprocess: PREPROCESS = None,
    labels: LABELS = None,
    skip_bad: SKIP_BAD = 0,
    batch: BATCH = 1,
    threads: THREADS = 0,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Find the range of every activation that INT8 needs; writes a calibration table.

    The table holds the same bytes for the same network, images and method, whatever the threads, the batch and the
    shards. An interrupted run goes on where it was.
    """
    chosen = method or ("entropy" if merge and data is None else "auto")
    of_table = {"method": chosen, "keep_statistics": keep_statistics, "cache": cache, "trt_version": trt_version}
    if cache is None:
        _refuse(context, ("trt_version",), why="without --cache", remedy="name the --cache file to write")
    if merge:
        _refuse(context, _OF_SAMPLE, why="with --merge", remedy="give it where the shards are made")
        if data is None:
            _refuse(context, ("threads",), why="with --merge and no --data", remedy="leave it out")
        if method is None and data is None:
            note("method entropy: auto, the default elsewhere, looks at the images again; name them with --data")
        shards = {"onnx": onnx, "statistics": tuple(statistics or ()), "data": data, "num_threads": threads, "out": out}
        _show_table(_merge({**shards, **of_table}), json=json)
        return
    if statistics:
        raise ConfigError(f"{statistics[0]} was given without --merge", remedy="add --merge, or leave the file out")
    if data is None:
        raise ConfigError("no images were named", remedy="give --data, or --merge and the shards' files")
    foreign = {"preprocess": preprocess, "labels": labels}
    sample = {
        "onnx": onnx,
        "data": data,
        "split": split,
        "num_images": images,
        "seed": seed,
        "skip_bad": skip_bad,
        "out": out,
        "num_threads": threads,
        "batch": batch,
        "force": force,
    }
    if shard is None:
        _show_table(_calibrate({**sample, **of_table}, foreign), json=json)
        return
    _refuse(context, _OF_TABLE, why="with --shard", remedy="give it to --merge, which makes the table")
    _show_shard(_collect_shard(sample, shard, foreign), json=json)


def _refuse(context: typer.Context, names: Sequence[str], *, why: str, remedy: str) -> None:
    """Raise ConfigError where the user gave one of these options: it would do nothing."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ConfigError(f"--{name.replace('_', '-')} has no effect {why}", remedy=remedy)


def _calibrate(given: dict[str, Any], foreign: dict[str, Any]) -> CalibrateResult:
    from resnet_deploy.quant.calibrate import CalibrateOptions, calibrate

    options = CalibrateOptions(**given)  # what is wrong with them is said before anything is imported
    with ProgressBar() as progress:
        onnx = chosen_network(options.onnx, **foreign, progress=progress)
        return calibrate(replace(options, onnx=onnx), progress)


def _merge(given: dict[str, Any]) -> CalibrateResult:
    from resnet_deploy.quant.shards import MergeOptions, merge_shards

    options = MergeOptions(**given)
    with ProgressBar() as progress:
        return merge_shards(replace(options, onnx=chosen_network(options.onnx)), progress)


def _collect_shard(given: dict[str, Any], shard: str, foreign: dict[str, Any]) -> ShardResult:
    from resnet_deploy.quant.shards import Shard, ShardOptions, collect_shard

    options = ShardOptions(**given, shard=Shard.of(shard))
    with ProgressBar() as progress:
        onnx = chosen_network(options.onnx, **foreign, progress=progress)
        return collect_shard(replace(options, onnx=onnx), progress)


def _show_table(result: CalibrateResult, *, json: bool) -> None:
    _say_images(result)
    for warning in result.warnings:
        note(f"warning: {warning}")
    for tensor, text in result.notes.items():
        note(f"{tensor}: {text}")
    if result.cache is not None:
        note(f"calibration cache: {result.cache}")
    if result.statistics is not None:
        note(f"statistics: {result.statistics}")
    if json:
        print_json(result)
        return
    columns = ("table", "method", "images", "distinct", "tensors", "seconds")
    cells = (result.file, result.method, result.images, result.num_distinct, result.num_tensors, _seconds(result))
    print_data(table("Calibration", columns, [cells], left=3))


def _show_shard(result: ShardResult, *, json: bool) -> None:
    _say_images(result)
    if json:
        print_json(result)
        return
    columns = ("statistics", "of", "images", "distinct", "tensors", "seconds")
    cells = (
        result.file,
        result.images,
        result.num_images,
        result.num_distinct,
        result.num_tensors,
        _seconds(result),
    )
    print_data(table("Calibration shard", columns, [cells], left=2))


def _say_images(result: CalibrateResult | ShardResult) -> None:
    images = "1 image" if result.num_images == 1 else f"{result.num_images} images"
    note(f"{images}, {result.num_distinct} distinct, {result.num_constant} of one colour")
    for bad in result.bad_images:
        note(f"left out: {bad}")


def _seconds(result: CalibrateResult | ShardResult) -> str:
    return "up to date" if result.skipped else f"{result.seconds:.1f}"
