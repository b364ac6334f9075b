"""`resnet-deploy export`: PyTorch to ONNX."""

from __future__ import annotations

__all__ = ["command"]

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT, chosen_net
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.specs import Precision

if TYPE_CHECKING:
    from resnet_deploy.export.forms import ExportForm
    from resnet_deploy.export.onnx_export import ExportResult


class Where(str, Enum):
    """Where an image is resized, cut and normalised."""

    HOST = "host"
    IN_GRAPH = "in-graph"
    ONLY = "only"


def command(
    checkpoints: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="[CHECKPOINT...|FILE.onnx...]",
            help="What to export; without it, out/<net>.safetensors. ONNX files of ours with --preprocess in-graph.",
        ),
    ] = None,
    net: NET = None,
    depth: DEPTH = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", help="fp32, fp16, bf16, or several: fp32,fp16 (all keep the fp32 file beside them)."
        ),
    ] = "fp32",
    io: Annotated[
        str, typer.Option("--io", help="Type of input and output of the fp16 and bf16 files: fp32, fp16 or bf16.")
    ] = "fp32",
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="All checkpoints as one file, which averages their softmax.")
    ] = False,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            metavar="WHAT",
            help="What the file gives out: logits; softmax; topk, scores and classes of the best; features, what the "
            "classifier reads; or maps of stages by their stride, e.g. c2,c3,c4,c5 (strides 4 to 32).",
        ),
    ] = "logits",
    top: Annotated[
        Optional[int], typer.Option("--top", help="Classes that topk gives an image; 5 if not given.", min=1)
    ] = None,
    batch: Annotated[
        Optional[int],
        typer.Option("--batch", help="Fix the number of images at a time; any number if not given.", min=1),
    ] = None,
    dynamic_size: Annotated[
        bool,
        typer.Option(
            "--dynamic-size",
            help="Height and width are free: maps grow with the image, and the classifier pools over all of them.",
        ),
    ] = False,
    protocol: Annotated[
        str,
        typer.Option("--protocol", help="single; or ten-crop: a square input, of which the file averages ten crops."),
    ] = "single",
    resize: Annotated[
        Optional[int],
        typer.Option("--resize", help="Side of ten-crop's input; 256/224 of a crop if not given.", min=1),
    ] = None,
    any_size: Annotated[
        bool,
        typer.Option(
            "--fully-convolutional",
            help="Another classifier for images of any size: scores every window of the usual size, averages softmax.",
        ),
    ] = False,
    out: OUT = None,
    preprocessing: Annotated[
        str,
        typer.Option(
            "--preprocess",
            metavar="WHERE",
            help="host; in-graph: another file, NAME.pixels.onnx, takes uint8 pixels of any size and prepares them itself; "
            "only: the preprocessing alone, NAME.preprocess.onnx.",
        ),
    ] = "host",
    seed: Annotated[int, typer.Option("--seed", help="Of an untrained network's weights.", min=0)] = 0,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Write a network as ONNX: batch norm folded, every output checked against PyTorch.

    Without a checkpoint, `--depth` and `--net` take `out/<net>.safetensors` if it is there; else the network
    is untrained, which is good for measuring latency and nothing else.
    """
    where = _where(preprocessing)
    given = checkpoints or []
    if any(file.suffix == ".onnx" for file in given):
        others = (
            net,
            depth,
            precision,
            io,
            ensemble,
            output,
            top,
            batch,
            dynamic_size,
            protocol,
            resize,
            any_size,
            seed,
        )
        _check_onnx(given, where, others, out)
        with ProgressBar() as progress:
            _show(_prepared(given, where, out, force, progress), json)
        return
    precisions = _precisions(precision)
    edge = _io(io, precisions)
    if out is not None and len(precisions) > 1:
        raise ConfigError(
            f"--out {out} names one file, --precision {precision} makes {len(precisions)}",
            remedy="leave --out away, or export one precision at a time",
        )
    source = _source(given, net, depth, ensemble)
    form = _form(protocol, any_size)
    from resnet_deploy.export.onnx_export import ExportOptions, export_onnx
    from resnet_deploy.export.outputs import read_output

    chosen = read_output(output, top)

    with ProgressBar() as progress:
        results = [
            export_onnx(
                ExportOptions(
                    **source,
                    form=form,
                    output=chosen,
                    batch=batch,
                    any_size=dynamic_size,
                    resize_px=resize,
                    precision=p,
                    io=Precision.FP32 if p is Precision.FP32 else edge,
                    out=out if where is Where.HOST else None,
                    seed=seed,
                    force=force,
                ),
                progress,
            )
            for p in precisions
        ]
        if where is not Where.HOST:
            results = [*results, *_prepared([result.file for result in results], where, out, force, progress)]
    _show(results, json)


def _prepared(
    files: list[Path], where: Where, out: Path | None, force: bool, progress: ProgressBar
) -> list[ExportResult]:
    """What --preprocess makes of ONNX files."""
    from resnet_deploy.export.in_graph import InGraphOptions, export_in_graph, export_preprocess

    asked = [InGraphOptions(onnx=file, out=out, force=force) for file in files]
    if where is Where.IN_GRAPH:
        return [export_in_graph(options, progress) for options in asked]
    return [export_preprocess(asked[0], progress)]  # of all precisions of a network, the same


def _show(results: list[ExportResult], json: bool) -> None:
    for result in results:
        for text in filter(None, (result.note, result.parity.note)):
            note(f"{result.file}: {text}")
    if json:
        print_json(results)
        return
    columns = ("file", "net", "weights", "precision", "nodes", "MiB", "error vs reference", "tolerance", "seconds")
    print_data(table("Export", columns, (_cells(result) for result in results), left=4))


def _where(text: str) -> Where:
    try:
        return Where(text.lower())
    except ValueError:
        raise ConfigError(f"--preprocess is {text!r}, expected {', '.join(where.value for where in Where)}") from None


def _check_onnx(files: list[Path], where: Where, others: tuple, out: Path | None) -> None:
    """Raises ConfigError where ONNX files are given with anything but --preprocess."""
    first = next(file for file in files if file.suffix == ".onnx")
    if where is Where.HOST:
        raise ConfigError(
            f"{first} is exported already",
            remedy="give a checkpoint; or --preprocess in-graph, which puts the preprocessing into the file",
        )
    if others != (None, None, "fp32", "fp32", False, "logits", None, None, False, "single", None, False, 0):
        raise ConfigError(
            f"{first} keeps its network, precision, outputs and axes: with an ONNX file only --preprocess, --out and "
            "--force have a meaning",
            remedy="give the checkpoint to export it otherwise",
        )
    if any(file.suffix != ".onnx" for file in files):
        raise ConfigError("checkpoints and ONNX files were given together", remedy="give one kind at a time")
    if len(files) > 1 and (out is not None or where is Where.ONLY):
        raise ConfigError(f"{len(files)} files were given, --out and --preprocess only take one", remedy="give one")


def _source(checkpoints: list[Path], net: str | None, depth: int | None, ensemble: bool) -> dict:
    """The fields of `ExportOptions` that say what is exported."""
    if checkpoints and (net is not None or depth is not None):
        raise ConfigError(
            f"{checkpoints[0]} says itself which network it is, --net and --depth are for exports without a checkpoint",
            remedy="leave --net and --depth away",
        )
    if ensemble:
        if len(checkpoints) < 2:
            raise ConfigError(
                f"--ensemble got {len(checkpoints)} checkpoints, an ensemble needs two or more",
                remedy="name its members: resnet-deploy export A.safetensors B.safetensors --ensemble",
            )
        return {"ensemble": tuple(checkpoints)}
    if len(checkpoints) > 1:
        raise ConfigError(
            f"{len(checkpoints)} checkpoints were given",
            remedy="export one at a time, or say --ensemble for one file that averages them",
        )
    if checkpoints:
        return {"checkpoint": checkpoints[0]}
    name = chosen_net(net, depth).name
    usual = Path("out") / f"{name}.safetensors"
    if usual.is_file():
        note(f"exporting {usual}")
        return {"checkpoint": usual}
    note(f"{usual} is not there: exporting random weights, good for measuring latency only")
    return {"net": name}


def _form(protocol: str, any_size: bool) -> ExportForm:
    from resnet_deploy.export.forms import ExportForm

    if protocol.lower() not in ("single", "ten-crop"):
        raise ConfigError(
            f"--protocol is {protocol!r}, expected single or ten-crop",
            remedy="for multi-scale, `export --fully-convolutional` and `evaluate --protocol multi-scale`",
        )
    is_ten_crop = protocol.lower() == "ten-crop"
    if is_ten_crop and any_size:
        raise ConfigError(
            "--protocol ten-crop has an input of one size, --fully-convolutional one of any size",
            remedy="choose one of them",
        )
    if any_size:
        return ExportForm.FULLY_CONVOLUTIONAL
    return ExportForm.TEN_CROP if is_ten_crop else ExportForm.CLASSIFIER


def _precisions(text: str) -> list[Precision]:
    known = [Precision.FP32, Precision.FP16, Precision.BF16]
    try:
        asked = {Precision(part.strip().lower()) for part in text.split(",")}
    except ValueError:
        asked = set()
    if not asked or asked - set(known):
        raise ConfigError(
            f"--precision is {text!r}, expected fp32, fp16, bf16 or several of them with commas between",
            remedy="int8 and fp8 are made by `resnet-deploy calibrate` and `resnet-deploy quantize`",
        )
    return [p for p in known if p in asked]


def _io(text: str, precisions: list[Precision]) -> Precision:
    known = {str(p): p for p in (Precision.FP32, Precision.FP16, Precision.BF16)}
    if text.lower() not in known:
        raise ConfigError(f"--io is {text!r}, expected {', '.join(known)}")
    io = known[text.lower()]
    if io is not Precision.FP32 and precisions == [Precision.FP32]:
        raise ConfigError(
            f"--io {io} is for fp16 and bf16 files, --precision is fp32: calibration and validation start from that file",
            remedy=f"add --precision {io}",
        )
    return io


def _cells(result: ExportResult) -> tuple:
    return (
        result.file,
        result.net,
        result.weights,
        result.precision,
        result.num_nodes,
        f"{result.size_bytes / 2**20:.1f}",
        f"{result.parity.relative_error:.2g}",
        f"{result.parity.tolerance:.2g}",
        "up to date" if result.skipped else f"{result.seconds:.1f}",
    )
