"""`resnet-deploy bench`: latency of files, or of whole networks in every precision on every backend here."""

from __future__ import annotations

__all__ = ["command"]

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError


def command(
    files: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="[[BACKEND:]FILE]...",
            help="Files to time, e.g. torch-compile:net.safetensors (`doctor` lists the backends); none: networks, "
            "made in --folder.",
        ),
    ] = None,
    depth: Annotated[
        Optional[list[int]],
        typer.Option("--depth", help="ImageNet ResNet of that depth; repeat for more. Default all."),
    ] = None,
    net: Annotated[Optional[list[str]], typer.Option("--net", help="Any net by name; repeat for more.")] = None,
    checkpoint: Annotated[
        Optional[Path], typer.Option("--checkpoint", help="Trained weights of the one net, else random ones are timed.")
    ] = None,
    batches: Annotated[str, typer.Option("--batches", help="Images per pass, e.g. 1,8,32.")] = "1",
    seconds: Annotated[float, typer.Option("--seconds", help="Least sampling time of one row.", min=0.01)] = 0.5,
    size: Annotated[
        Optional[str],
        typer.Option("--size", help="Images of 224, or 480x640 (height x width), for files that take any size."),
    ] = None,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs/--no-cuda-graphs", help="Replay the passes of engines as CUDA graphs.")
    ] = True,
    folder: Annotated[Path, typer.Option("--folder", help="Where network files are made and kept.")] = Path(
        "out/bench"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; its manifest goes beside it.")] = Path(
        "out/bench.json"
    ),
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Time files on their backends; without a file, the five depths in FP32, FP16 and INT8 on what is here."""
    from resnet_deploy.bench.run import BenchOptions, BenchTarget, bench
    from resnet_deploy.bench.timing import Sampling
    from resnet_deploy.engine.open import parse_runner

    sizes = _parse_batches(batches)
    sampling = Sampling(min_seconds=seconds, max_seconds=max(4 * seconds, 0.1))
    if size is not None and not files:
        raise ConfigError(
            "--size was given without a file", remedy="name the files to time: networks have their own size"
        )
    if files and (depth or net or checkpoint):
        raise ConfigError("files and networks were both named", remedy="give files, or --depth, --net, --checkpoint")
    with ProgressBar() as progress:
        if files:
            pairs = [parse_runner(text) for text in files]
            targets = [BenchTarget(file=file, backend=backend) for backend, file in pairs]
        else:
            targets = _make_networks(depth or [], net or [], checkpoint, folder, threads, progress)
        options = BenchOptions(
            targets=tuple(targets),
            out=out,
            batches=sizes,
            sampling=sampling,
            size_px=_parse_size(size),
            num_threads=threads,
            cuda_graphs=cuda_graphs,
        )
        result = bench(options, progress)
    if json:
        print_json(result)
    else:
        _show(result)
    note(f"written to {result.file}")


def _parse_batches(text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"--batches {text}: not a list of numbers", remedy="write e.g. --batches 1,8,32") from error


def _parse_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    sides = text.split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise ConfigError(f"--size {text}: not a size", remedy="write --size 224, or --size 480x640 (height x width)")
    return int(sides[0]), int(sides[-1])


def _make_networks(depths, nets, checkpoint, folder, threads, progress) -> list:
    from resnet_deploy.engine.availability import available_backends
    from resnet_deploy.nets.catalogue import IMAGENET_DEPTHS, find_net, net_of_depth
    from resnet_deploy.pipeline.artifacts import make_files
    from resnet_deploy.pipeline.many import make_untrained
    from resnet_deploy.pipeline.targets import bench_targets

    specs = [*(net_of_depth(depth) for depth in depths), *(find_net(name) for name in nets)]
    if checkpoint is not None:
        from resnet_deploy.nets.checkpoint import load_checkpoint

        spec = load_checkpoint(checkpoint).spec
        if specs and specs != [spec]:
            raise ConfigError(
                f"{checkpoint} is a {spec.name}, asked for was {', '.join(s.name for s in specs)}",
                remedy="leave --depth and --net away, or name that one network",
            )
        if checkpoint.resolve().parent == folder.resolve():
            raise ConfigError(
                f"{checkpoint} lies in --folder, where its INT8 file would be made anew from noise",
                remedy="name another --folder, or name the files to time: resnet-deploy bench FILE...",
            )
        specs = [spec]
    if checkpoint is not None:
        made = [make_files(specs[0], folder=folder, checkpoint=checkpoint, num_threads=threads, progress=progress)]
    else:
        specs = specs or [net_of_depth(depth) for depth in IMAGENET_DEPTHS]
        made = make_untrained(specs, folder=folder, num_processes=os.cpu_count() or 1, progress=progress)
    statuses = available_backends()
    return [target for files in made for target in bench_targets(files, statuses)]


def _show(result) -> None:
    nets = {row.net: row for row in result.rows}
    counts = (
        (name, *(("-", "-") if r.parameters is None else (f"{r.parameters:,}", f"{r.multiply_adds:,}")), r.weights)
        for name, r in nets.items()
    )
    print_data(table("Networks", ("net", "parameters", "multiply-adds", "weights"), counts))
    timed = [row for row in result.rows if row.timing is not None]
    if timed:
        columns = ("net", "precision", "backend", "batch", "p50 ms", "p99 ms", "images/s", "GMAC/s", "MiB", "")
        print_data(table("Latency of one pass", columns, map(_cells, timed), left=3))
    _show_not_run([row for row in result.rows if row.timing is None])
    environment = result.environment
    gpus = "".join(f"; {gpu.name}" for gpu in environment.gpus)
    print_data(f"Measured on {environment.cpu}, {environment.num_cpus} processors{gpus}.")
    if environment.is_busy:
        print_data(
            f"The load was {environment.load_1min} on {environment.num_cpus} processors when timing began: "
            "other work was running, compare rows with care."
        )
    noisy = sum(bool(row.timing.noise) for row in timed)
    if noisy:
        print_data(
            f"{noisy} rows are noisy (`noise` in {result.file} says why): a busy machine, or --seconds too small."
        )
    for backend in sorted({row.backend for row in timed if row.cuda_graphs}):
        print_data(f"{backend}: passes were replayed as CUDA graphs.")
    for name, text in sorted({(Path(row.file).name, row.note) for row in timed if row.note}):
        print_data(f"{name}: {text}.")
    if any(row.weights.startswith("random") for row in result.rows):
        print_data("Networks with random weights: their latency is real, their outputs mean nothing.")
    if any(row.is_emulated for row in timed):
        print_data(
            "ONNX Runtime on a processor runs FP16 operations, those inside int8 files too, in FP32 between casts."
        )


def _cells(row) -> tuple:
    rate = "-" if row.gmacs_per_second is None else f"{row.gmacs_per_second:.1f}"
    times = f"{row.timing.p50_ms:.2f}", f"{row.timing.p99_ms:.2f}", f"{row.timing.images_per_second:.1f}"
    backend = row.backend if row.device == "cpu" else f"{row.backend}, {row.device}"
    state = "noisy" if row.timing.noise else ""
    return (row.net, row.precision or "-", backend, row.batch, *times, rate, f"{row.file_mib:.1f}", state)


def _show_not_run(rows) -> None:
    files: dict = {}
    for row in rows:
        files.setdefault((row.file, row.backend, row.reason), []).append(row)
    cells = (
        (
            Path(file).name,
            backend,
            ",".join(str(row.batch) for row in same),
            f"{same[0].file_mib:.1f}",
            "-" if same[0].build_seconds is None else f"{same[0].build_seconds:.1f}",
            reason,
        )
        for (file, backend, reason), same in files.items()
    )
    if rows:
        print_data(table("Not run", ("file", "backend", "batch", "MiB", "built in s", "reason"), cells, left=2))
