"""`resnet-deploy bench`: latency of files, or of whole networks in every precision on every backend here."""

from __future__ import annotations

__all__ = ["command"]

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.bench_compare import compare
from resnet_deploy.cli.files_by_default import FILES, FilesByDefault
from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import ProgressBar, note, print_json
from resnet_deploy.core.errors import ConfigError, ExitCode

command = typer.Typer(cls=FilesByDefault)
command.command("compare")(compare)


@command.command(FILES, hidden=True)
def bench_files(
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
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="kernel: passes, data staying where the backend computes. application: requests, from JPEG bytes to "
            "the five best classes. Or both: kernel,application.",
        ),
    ] = "kernel",
    threads: Annotated[
        str, typer.Option("--threads", help="Processor threads of the backend, e.g. 1,2,4; 0 takes all.")
    ] = "0",
    workers: Annotated[
        str, typer.Option("--workers", help="Passes under way at a time, each in a thread of its own, e.g. 1,4.")
    ] = "1",
    seconds: Annotated[float, typer.Option("--seconds", help="Least sampling time of one row.", min=0.01)] = 0.5,
    samples: Annotated[int, typer.Option("--samples", help="Least number of samples of one row.", min=1)] = 10,
    repeats: Annotated[
        int, typer.Option("--repeats", help="Measure everything so many times, each file opened anew.", min=1)
    ] = 1,
    interleave: Annotated[
        bool, typer.Option("--interleave", help="Let the files take turns, and say which is faster, and how surely.")
    ] = False,
    images: Annotated[
        Optional[Path],
        typer.Option("--images", help="Folder of images for application mode [default: JPEGs made in memory]."),
    ] = None,
    decode_threads: Annotated[
        int,
        typer.Option("--decode-threads", help="That decode ahead in application mode; 0 takes all.", min=0),
    ] = 0,
    size: Annotated[
        Optional[str],
        typer.Option("--size", help="Images of 224, or 480x640 (height x width), for files that take any size."),
    ] = None,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs/--no-cuda-graphs", help="Replay the passes of engines as CUDA graphs.")
    ] = True,
    require_valid: Annotated[
        bool, typer.Option("--require-valid", help="End with 1 where a row is not valid: the machine was not steady.")
    ] = False,
    folder: Annotated[Path, typer.Option("--folder", help="Where network files are made and kept.")] = Path(
        "out/bench"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write; its manifest goes beside it.")] = Path(
        "out/bench.json"
    ),
    json: JSON = False,
) -> int:
    """Time files on their backends; without a file, the five depths in FP32, FP16 and INT8 on what is here."""
    from resnet_deploy.bench.measure.timing import Sampling
    from resnet_deploy.bench.run import BenchOptions, BenchTarget, bench
    from resnet_deploy.cli.bench_show import show
    from resnet_deploy.engine.open import parse_runner

    settings = {
        "out": out,
        "batches": _numbers("--batches", batches),
        "sampling": Sampling(min_seconds=seconds, min_samples=samples, max_seconds=max(4 * seconds, 0.1)),
        "size_px": _parse_size(size),
        "threads": (all_threads := _numbers("--threads", threads)),
        "modes": tuple(dict.fromkeys(part.strip() for part in mode.split(","))),
        "workers": _numbers("--workers", workers),
        "images": images,
        "decode_threads": decode_threads,
        "repeats": repeats,
        "interleave": interleave,
        "cuda_graphs": cuda_graphs,
    }
    if size is not None and not files:
        raise ConfigError(
            "--size was given without a file", remedy="name the files to time: networks have their own size"
        )
    if files and (depth or net or checkpoint):
        raise ConfigError("files and networks were both named", remedy="give files, or --depth, --net, --checkpoint")
    pairs = [parse_runner(text) for text in files or ()]
    targets = [BenchTarget(file=file, backend=backend) for backend, file in pairs]
    # before networks are made: what can not be timed is said at once
    BenchOptions(targets=tuple(targets or [BenchTarget(file=Path(""))] * 2), **settings)
    with ProgressBar() as progress:
        targets = targets or _make_networks(depth or [], net or [], checkpoint, folder, max(all_threads), progress)
        result = bench(BenchOptions(targets=tuple(targets), **settings), progress)
    if json:
        print_json(result)
    else:
        show(result)
    note(f"written to {result.file}")
    return ExitCode.CHECK_FAILED if require_valid and not result.is_valid else ExitCode.DONE


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: not a list of numbers", remedy=f"write e.g. {option} 1,8") from error


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
