"""`resnet-deploy sensitivity`: which layers suffer from INT8."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import DATA, EXACT_INPUT, FORCE, JSON, TABLE, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError


def command(
    onnx: Annotated[Path, typer.Argument(help="FP32 ONNX file that `export` wrote.")],
    data: DATA = None,
    calibration: TABLE = None,
    split: Annotated[str, typer.Option("--split", help="Which part of --data: train, val or test.")] = "train",
    images: Annotated[
        int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)
    ] = 512,
    by: Annotated[str, typer.Option("--by", help="layer or block.")] = "layer",
    metric: Annotated[
        str, typer.Option("--metric", help="What ranks the measured ones: sqnr, agreement or top1.")
    ] = "sqnr",
    measure: Annotated[
        int, typer.Option("--measure", help="How many, the worst by prediction, are measured, too.", min=0)
    ] = 8,
    exact_input: EXACT_INPUT = True,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    threads: THREADS = 0,
    out: Annotated[
        Optional[Path], typer.Option("--out", "-o", help="Picture to write (.png); its numbers go beside it (.json).")
    ] = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Rank layers or blocks by what INT8 does to the network's decisions when only they are rounded, or only they not.

    All are predicted from one pass forward and backward; the worst are measured. A run that was interrupted goes on
    where it was.
    """
    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    from resnet_deploy.quant.sensitivity import SensitivityOptions, analyze_sensitivity

    options = SensitivityOptions(
        onnx=onnx,
        table=calibration,
        data=data,
        split=split,
        num_images=images,
        by=by,
        metric=metric,
        num_measured=measure,
        exact_input=exact_input,
        seed=seed,
        out=out,
        num_threads=threads,
        force=force,
    )
    with ProgressBar() as progress:
        report = analyze_sensitivity(options, progress)
    if exact_input and report.exact_input != "exact":
        note(f"the image is rounded as any other tensor: {report.exact_input}")
    if json:
        print_json(report)
        return
    rows = [
        (
            unit.name,
            f"{100 * unit.noise_share:.1f}",
            f"{100 * unit.multiply_adds_share:.1f}",
            f"{unit.predicted_alone:.4f}",
            *_cells(unit.alone),
            f"{unit.predicted_spared:.4f}",
            *_cells(unit.spared),
        )
        for unit in report.units
    ]
    columns = (
        report.by,
        "noise %",
        "multiply-adds %",
        *("alone: predicted", "agreement", "SQNR dB", "drop"),
        *("spared: predicted", "agreement", "SQNR dB", "drop"),
    )
    print_data(table(f"Sensitivity on {report.num_images:,} images, {report.images}", columns, rows))
    agreement, sqnr, drop = _cells(report.int8)
    print_data(
        f"everything int8: agreement {agreement} (95 %: {report.int8.agreement_low:.4f}..{report.int8.agreement_high:.4f}; "
        f"predicted {report.predicted_agreement:.4f}), SQNR {sqnr} dB, drop {drop} points",
        "alone: only this is int8; spared: only this is float. Agreement is with FP32, drop is in points of top-1.",
    )
    note(("up to date: " if report.skipped else "written: ") + f"{report.picture}, {report.file}")


def _cells(score) -> tuple[str, str, str]:
    if score is None:
        return "-", "-", "-"
    sqnr = "exact" if score.sqnr_db is None else f"{score.sqnr_db:.1f}"
    return f"{score.agreement:.4f}", sqnr, "-" if score.drop is None else f"{score.drop:+.2f}"
