"""The part of `resnet-deploy import` that takes ONNX files."""

from __future__ import annotations

__all__ = ["import_onnx_file"]

from pathlib import Path
from typing import Any

import typer

from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

_SHOWN = 3


def import_onnx_file(file: Path, *, json: bool, **given: Any) -> None:
    """Import one ONNX file; `given` are the options of the command by name, None where not given.

    Raises:
        ConfigError: An option is missing that an ONNX file does not answer by itself.
    """
    missing = [f"--{name}" for name in ("size", "mean", "std") if given[name] is None]
    if missing:
        raise ConfigError(
            f"{file} does not say which pixels it wants: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} "
            "missing",
            remedy="give them as in training, e.g. --size 224 --resize 256 --mean 0.485 0.456 0.406 "
            "--std 0.229 0.224 0.225",
        )
    from resnet_deploy.export.foreign_onnx import ForeignOnnxOptions, import_onnx
    from resnet_deploy.export.import_options import read_labels

    stem = file.name.removesuffix(".onnx").removesuffix(".fp32")
    options = ForeignOnnxOptions(
        file=file,
        out=given["out"] or Path("out") / f"{stem}.fp32.onnx",
        size_px=given["size"],
        resize_px=given["resize"],
        mean=given["mean"],
        std=given["std"],
        labels=read_labels(given["labels"]) if given["labels"] else None,
        num_classes=given["classes"],
        output=given["output"],
        sha256=given["sha256"],
        license=given["license"],
        force=given["force"],
    )
    with ProgressBar() as progress:
        result = import_onnx(options, progress)
    if json:
        from resnet_deploy.core.config import to_plain

        print_json({"passed": result.passed, **to_plain(result)})
    else:
        _show(result)
    if not result.passed:
        note("the imported network does not compute what the original does, so nothing was written")
        raise typer.Exit(ExitCode.CHECK_FAILED)
    if not json:
        note(f"next: resnet-deploy evaluate {result.file} --data FOLDER proves labels and preprocessing")


def _show(result) -> None:
    done, parity, pixels = result.normalised, result.parity, result.preprocess
    shown = ", ".join(result.labels[:_SHOWN]) + (", ..." if len(result.labels) > _SHOWN else "")
    state = "up to date, not written again" if result.skipped else "" if result.written else "NOT written"
    resize = f"shorter side to {pixels.resize_shorter_px} px, " if pixels.resize_shorter_px else ""
    verdict = "as the original" if result.passed else "NOT as the original"
    rows = [
        ("source", f"{result.source}, opset {done.opset}, SHA-256 {result.source_sha256[:16]}..."),
        ("input", f"{done.input} -> images, {resize}{pixels.width_px} x {pixels.height_px} px"),
        ("output", f"{done.output} -> logits{', softmax taken off' if done.softmax else ''}"),
        ("classes", f"{result.num_classes} ({shown})"),
        ("batch", "any" if done.batch is None else f"{done.batch} only: {done.batch_note}"),
        ("batch normalisations", f"{done.folded} folded, {len(done.not_folded)} left"),
        ("nodes", f"{result.num_nodes}; {done.tidied.removed + done.folded_constants} taken out that did nothing new"),
        *(("rewritten", what) for what in _abridged(done.rewritten)),
        ("computes", f"{verdict}: {parity.compared} of {parity.num_images} random images in ONNX Runtime"),
        ("largest difference", f"{parity.max_abs_difference:.3g}; {_relative(parity)}"),
        ("same top-1", f"{parity.num_same_top1} of {parity.num_images}"),
        ("file", f"{result.file}" + (f" ({state})" if state else "")),
    ]
    print_data(table("Import", ("", "value"), rows, left=2))
    if done.not_folded:
        left = ((item.node, item.tensor, item.reason) for item in done.not_folded)
        print_data(table("Not folded", ("batch normalisation", "tensor", "why"), left, left=3))


def _abridged(items: tuple[str, ...]) -> list[str]:
    more = [f"and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return [*items[:_SHOWN], *more]


def _relative(parity) -> str:
    return f"{parity.relative_error:.3g} of the largest output, at most {parity.tolerance:.3g}"
