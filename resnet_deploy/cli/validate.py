"""`resnet-deploy validate`: the verdict on a candidate."""

from __future__ import annotations

__all__ = ["command"]

from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import (
    BATCH,
    DATA,
    FORCE,
    JSON,
    LABELS,
    OUT,
    PREPROCESS,
    SKIP_BAD,
    SPLIT,
    THREADS,
    given_labels,
)
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode


def command(
    candidate: Annotated[
        str, typer.Argument(metavar="[BACKEND:]FILE", help="The file to judge; `doctor` lists the backends.")
    ],
    reference: Annotated[
        Optional[str],
        typer.Option(
            "--reference", "-r", metavar="[BACKEND:]FILE", help="What it is held against, e.g. the checkpoint."
        ),
    ] = None,
    data: DATA = None,
    split: SPLIT = None,
    images: Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)] = 0,
    max_drop: Annotated[float, typer.Option("--max-drop", help="Points of top-1 it may lose.", min=0)] = 0.5,
    min_agreement: Annotated[
        Optional[float],
        typer.Option("--min-agreement", help="Share of images with the same top-1 (default 0.995, int8 0.97)."),
    ] = None,
    min_cosine: Annotated[
        Optional[float],
        typer.Option("--min-cosine", help="Of the logits (default fp32 0.9999, fp16 0.9995, int8 0.95)."),
    ] = None,
    min_sqnr: Annotated[
        Optional[float], typer.Option("--min-sqnr", help="Of the logits, in dB (default fp32 40, fp16 30, int8 10).")
    ] = None,
    batch: BATCH = 64,
    preprocess: PREPROCESS = None,
    labels: LABELS = None,
    skip_bad: SKIP_BAD = 0,
    threads: THREADS = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Compare two files on a data set and write the verdict; exit code 1 where a check failed."""
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.verify.thresholds import Thresholds
    from resnet_deploy.verify.verdict import ValidateOptions, validate

    if reference is None:
        raise ConfigError(
            "no reference was named", remedy="give --reference FILE, e.g. the checkpoint or the FP32 ONNX"
        )
    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    candidate_backend, candidate_file = parse_runner(candidate)
    reference_backend, reference_file = parse_runner(reference)
    options = ValidateOptions(
        reference=reference_file,
        candidate=candidate_file,
        data=data,
        reference_backend=reference_backend,
        candidate_backend=candidate_backend,
        split=split,
        thresholds=Thresholds(
            max_top1_drop=max_drop, min_agreement=min_agreement, min_cosine=min_cosine, min_sqnr_db=min_sqnr
        ),
        num_images=images,
        batch_size=batch,
        skip_bad=skip_bad,
        preprocess=preprocess,
        labels=given_labels(labels),
        num_threads=threads,
        out=out,
        force=force,
    )
    with ProgressBar() as progress:
        verdict = validate(options, progress)
    if verdict.skipped:
        note(f"{verdict.file} is up to date; --force measures again")
    for bad in verdict.bad_images:
        note(f"left out: {bad}")
    for text in verdict.notes:
        note(text)
    if json:
        print_json(verdict)
    else:
        _show(verdict)
    if not verdict:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _show(verdict) -> None:
    def accuracy(side) -> tuple:
        a = side.accuracy
        scores = ("-", "-") if a is None else (f"{a.top1_percent:.2f}", f"{a.top1_low:.2f} .. {a.top1_high:.2f}")
        return side.file, side.precision or "-", f"{side.backend} {side.version}", side.device, *scores

    print_data(
        table(
            f"{verdict.num_images} images of {verdict.data}",
            ("", "file", "precision", "backend", "device", "top-1 %", "95 %"),
            (("reference", *accuracy(verdict.reference)), ("candidate", *accuracy(verdict.candidate))),
            left=5,
        )
    )
    cells = (
        (
            c.name,
            "-" if c.value is None else f"{c.value:.5g}",
            f"{c.relation} {c.limit:g}",
            "ok" if c.passed else "FAILED",
        )
        for c in verdict.checks
    )
    print_data(table("Checks", ("check", "measured", "wanted", ""), cells))
    if verdict.top1_drop is not None:
        print_data(
            f"Top-1 drop: {verdict.top1_drop:+.2f} points (95 %: {verdict.drop_low:+.2f} .. {verdict.drop_high:+.2f}; "
            f"{verdict.num_only_reference} images only the reference has right, "
            f"{verdict.num_only_candidate} only the candidate)."
        )
    print_data(f"Verdict: {'PASSED' if verdict else 'FAILED'}; written to {verdict.file}")
