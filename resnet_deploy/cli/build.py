"""`resnet-deploy build`: ONNX files to engines."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import FORCE, JSON, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError


def command(
    onnx: Annotated[list[Path], typer.Argument(help="ONNX files; each gives an engine beside it.", show_default=False)],
    target: Annotated[
        Optional[list[str]],
        typer.Option(
            help="GPUs to build for, e.g. sm86,sm89 (or the option once for each), or current for the GPU here. Without "
            "it TensorRT-RTX builds for sm80 and newer (FP8: sm89), TensorRT for the GPU here.",
            show_default=False,
        ),
    ] = None,
    product: Annotated[
        Optional[str],
        typer.Option(
            help="tensorrt-rtx (builds without a GPU) or tensorrt; without it, the one that fits this machine."
        ),
    ] = None,
    batch_profile: Annotated[str, typer.Option(help="Batch sizes min:opt:max the engine takes.")] = "1:8:32",
    tf32: Annotated[bool, typer.Option("--tf32", help="Let FP32 convolutions use TF32 (less exact, faster).")] = False,
    timing_cache: Annotated[
        Optional[Path], typer.Option(help="File of kernel times to read and extend (tensorrt only).")
    ] = None,
    optimization_level: Annotated[
        Optional[int], typer.Option(help="0 (quick build) to 5 (thorough) (tensorrt only).")
    ] = None,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Build TensorRT engines from ONNX files; TensorRT-RTX needs no GPU for it."""
    from resnet_deploy.engine.build import BuildOptions, build_engine

    if out is not None and len(onnx) > 1:
        raise ConfigError(f"--out names one engine, {len(onnx)} ONNX files were given", remedy="leave --out away")
    batch = _profile(batch_profile)
    jobs = [
        BuildOptions(
            onnx=file,
            product=product,
            targets=tuple(part.strip() for one in target or () for part in one.split(",") if part.strip()),
            batch=batch,
            tf32=tf32,
            timing_cache=timing_cache,
            optimization_level=optimization_level,
            out=out,
            force=force,
        )
        for file in onnx
    ]
    results = []
    with ProgressBar() as progress:
        for job in jobs:
            results.append(build_engine(job, progress))
    if json:
        print_json(results)
        return
    print_data(
        table(
            "Engines",
            ("file", "precision", "product", "runs on", "MiB", "seconds"),
            (
                (
                    result.file,
                    result.precision,
                    f"{result.product} {result.product_version}",
                    " ".join(result.targets),
                    f"{result.size_bytes / 2**20:.2f}",
                    "up to date" if result.skipped else f"{result.seconds:.2f}",
                )
                for result in results
            ),
            left=4,
        )
    )
    for result in results:
        for warning in result.warnings:
            note(f"{result.file.name}: {result.product} warns: {warning}")


def _profile(text: str):
    from resnet_deploy.engine.build import BatchProfile

    try:
        smallest, usual, largest = (int(part) for part in text.split(":"))
    except ValueError as error:
        raise ConfigError(f"--batch-profile is {text!r}", remedy="write min:opt:max, e.g. 1:8:32") from error
    return BatchProfile(min=smallest, opt=usual, max=largest)
