"""`resnet-deploy import`: weights trained elsewhere become a checkpoint, ONNX files of elsewhere files of the chain."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated

import typer

from resnet_deploy.cli.options import DEPTH, FORCE, JSON, NET, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table

_TRIPLE = tuple[float, float, float]
_SHOWN_RULES = 8


def _channel(text: str) -> float:
    """One of the three numbers of --mean or --std."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"takes three numbers, R G B, with spaces between; got {text!r} as one") from None


def command(
    file: Annotated[
        Path,
        typer.Argument(
            help="State dict (.pth, .th, .pt, .safetensors, .npz), .caffemodel or FP32 .onnx. Its code is never run."
        ),
    ],
    net: NET = None,
    depth: DEPTH = None,
    entry: Annotated[
        str | None, typer.Option("--entry", help="Which state dict of a training checkpoint, e.g. model_ema.")
    ] = None,
    classes: Annotated[int | None, typer.Option("--classes", help="Number of classes to insist on.", min=1)] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Text file with one class name on each line, in label order.")
    ] = None,
    mean: Annotated[
        _TRIPLE | None,
        typer.Option(
            "--mean", metavar="R G B", parser=_channel, help="Mean used in training, in units of pixel / 255."
        ),
    ] = None,
    std: Annotated[
        _TRIPLE | None,
        typer.Option("--std", metavar="R G B", parser=_channel, help="Standard deviation, in units of pixel / 255."),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="ONNX only: height and width of the network's input in pixels.", min=1)
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option("--resize", help="ONNX only: shorter side before the centre crop; without it no resize.", min=1),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="ONNX only: the output that holds the logits, if it has several.")
    ] = None,
    mean_image: Annotated[
        Path | None,
        typer.Option("--mean-image", help="Caffe's mean image, .binaryproto or .npy: its mean a channel is taken."),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="The file's SHA-256, or its first 8 digits or more.")
    ] = None,
    check_input: Annotated[
        Path | None,
        typer.Option("--check-input", help="An input of the original network: .npy, .npz or an image."),
    ] = None,
    check_output: Annotated[
        Path | None, typer.Option("--check-output", help="What the original network gave for it: .npy or .npz.")
    ] = None,
    check_tolerance: Annotated[
        float | None,
        typer.Option("--check-tolerance", help="Largest difference over the largest output; derived if not given."),
    ] = None,
    recompute_bn: Annotated[
        str | None,
        typer.Option("--recompute-bn", help="Images to compute the batch-norm statistics anew from, as in --data."),
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Which part of --recompute-bn.")] = "train",
    images: Annotated[int, typer.Option("--images", help="How many images of --recompute-bn.", min=1)] = 1024,
    batch: Annotated[int, typer.Option("--batch", help="Images per forward pass of --recompute-bn.", min=2)] = 128,
    license: Annotated[str, typer.Option("--license", help="Licence and origin of the weights, kept on record.")] = "",
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file for the whole report: every key, every check.")
    ] = None,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Turn torchvision, timm, CIFAR or original Caffe weights into a checkpoint of a known net.

    An .onnx file of any exporter becomes an FP32 file that calibrate, quantize, build, validate and bench take; it
    does not say which pixels it wants, so --size, --mean and --std do. It must compute what it did, or nothing is
    written (exit code 1).

    Without --net or --depth the net is recognised by the names and shapes of its tensors. With --check-input and
    --check-output the net must give the output that its own framework gave, or nothing is written (exit code 1).
    """
    weights_only = {
        "--net": net,
        "--depth": depth,
        "--entry": entry,
        "--mean-image": mean_image,
        "--check-input": check_input,
        "--check-output": check_output,
        "--check-tolerance": check_tolerance,
        "--recompute-bn": recompute_bn,
        "--report": report,
    }
    if file.suffix.lower() == ".onnx":
        _refuse(weights_only, f"{file} is an ONNX file, which holds its network: ")
        from resnet_deploy.cli.import_onnx import import_onnx_file

        import_onnx_file(
            file,
            json=json,
            size=size,
            resize=resize,
            mean=mean,
            std=std,
            labels=labels,
            classes=classes,
            output=output,
            sha256=sha256,
            license=license,
            out=out,
            force=force,
        )
        return
    _refuse({"--size": size, "--resize": resize, "--output": output}, f"{file} is no ONNX file: ")
    from resnet_deploy.cli.options import chosen_net
    from resnet_deploy.core.errors import ExitCode
    from resnet_deploy.export.foreign import ImportOptions, import_weights, read_labels

    options = ImportOptions(
        file=file,
        out=out or Path("out") / f"{file.stem}.safetensors",
        net=chosen_net(net, depth).name if net or depth else None,
        entry=entry,
        num_classes=classes,
        labels=read_labels(labels) if labels else None,
        mean=mean,
        std=std,
        mean_image=mean_image,
        sha256=sha256,
        check_input=check_input,
        check_output=check_output,
        check_tolerance=check_tolerance,
        recompute_bn=recompute_bn,
        recompute_split=split,
        recompute_images=images,
        recompute_batch=batch,
        report=report,
        license=license,
        force=force,
    )
    with ProgressBar() as progress:
        result = import_weights(options, progress=progress)
    if json:
        print_json(result)
    else:
        _show(result)
        if report:
            note(f"every key and check: {report}")
    if not result.passed:
        note("the self-check failed, so no checkpoint was written")
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if not json:
        note(f"next: resnet-deploy evaluate {result.file} --data FOLDER proves labels and preprocessing")


def _refuse(options: dict[str, object], why: str) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        from resnet_deploy.core.errors import ConfigError

        has = "has" if len(given) == 1 else "have"
        raise ConfigError(f"{why}{', '.join(given)} {has} no effect", remedy="leave them away")


def _show(result) -> None:
    shown = ", ".join(result.labels[:3]) + (", ..." if len(result.labels) > 3 else "")
    agree = (
        "as in the catalogue"
        if result.num_parameters == result.catalogue_parameters
        else "the catalogue has " + (f"{result.catalogue_parameters:,}")
    )
    state = "up to date, not written again" if result.skipped else "" if result.written else "NOT written"
    rows = [
        ("net", result.net),
        *_recognition_rows(result),
        ("classes", f"{result.num_classes} ({shown})"),
        ("parameters", f"{result.num_parameters:,} in {result.num_tensors} tensors, {agree}"),
        ("mean", f"{_numbers(result.preprocess.mean)} ({result.mean_from})"),
        ("std", _numbers(result.preprocess.std)),
        ("source", f"{result.source}" + (f", entry {result.entry}" if result.entry else "")),
        ("SHA-256", f"{result.source_sha256[:16]}... {_checksum(result.checksum)}"),
        ("SHA-256 of the tensors", f"{result.tensors_sha256[:16]}..."),
        *_check_rows(result),
        ("checkpoint", f"{result.file}" + (f" ({state})" if state else "")),
    ]
    print_data(table("Import", ("", "value"), rows, left=2))
    print_data(table("Keys", ("rule", "keys"), _key_rows(result)))


def _recognition_rows(result) -> list[tuple[str, str]]:
    if not result.recognised:
        return [("chosen by", "--net or --depth")]
    rows = [("chosen by", "keys and shapes")]
    if result.alternatives:
        rows.append(("could also be", f"{', '.join(result.alternatives)}: same keys and shapes; say so with --net"))
    return rows


def _checksum(checksum) -> str:
    if checksum.expected:
        return f"(as {checksum.expected_by} says: {checksum.expected[:16]})"
    return f"({checksum.note or 'nothing to compare it with; --sha256 would'})"


def _check_rows(result) -> list[tuple[str, str]]:
    rows = []
    if (check := result.check) is None:
        rows.append(("self-check", "not asked for (--check-input, --check-output)"))
    else:
        verdict = "passed" if check.passed else "FAILED"
        relative = f"{check.max_relative_difference:.3g} of the largest output, at most {check.tolerance:.3g}"
        rows += [
            ("self-check", f"{verdict}: {check.num_rows} rows of {check.compared}; input: {check.read_as}"),
            ("largest difference", f"{check.max_abs_difference:.3g}; {relative}"),
            ("same top-1", f"{check.num_same_top1} of {check.num_rows}"),
        ]
    if (bn := result.bn_recomputed) is not None:
        rows.append(("batch-norm statistics", f"of {bn.num_images} images of {bn.data}, {bn.batch_size} at a time"))
    return rows


def _key_rows(result) -> list[tuple[str, int]]:
    unchanged = sum(not key.rules for key in result.keys)
    rows = [("taken as they are", unchanged)] if unchanged else []
    rows += list(result.renamed.items())
    if result.filled:
        rows.append(("not in the file, set to 0: num_batches_tracked", len(result.filled)))
    by_reason: dict[str, list[str]] = {}
    for ignored in result.ignored:
        by_reason.setdefault(ignored.reason, []).append(ignored.source)
    for reason, names in by_reason.items():
        shown = ", ".join(names[:_SHOWN_RULES]) + (", ..." if len(names) > _SHOWN_RULES else "")
        rows.append((f"left in the file, {reason}: {shown}", len(names)))
    return rows


def _numbers(values) -> str:
    return " ".join(f"{value:.4g}" for value in values)
