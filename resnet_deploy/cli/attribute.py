"""`resnet-deploy attribute`: which stage lost the accuracy."""

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
    SKIP_BAD,
    SPLIT,
    THREADS,
    given_labels,
)
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError

_PIXEL_PATH = "imagenet, cifar, digits or FILE.json"


def command(
    candidate: Annotated[
        str, typer.Argument(metavar="[BACKEND:]FILE", help="The delivered file: an ONNX file or an engine.")
    ],
    data: DATA = None,
    split: SPLIT = None,
    reference: Annotated[
        Optional[str],
        typer.Option(
            "--reference",
            "-r",
            metavar="[BACKEND:]FILE",
            help="The original network; without it, where the manifests of FILE begin.",
        ),
    ] = None,
    preprocess: Annotated[
        Optional[str],
        typer.Option("--preprocess", help=f"How the application prepares images, if not as FILE says: {_PIXEL_PATH}."),
    ] = None,
    reference_preprocess: Annotated[
        Optional[str],
        typer.Option("--reference-preprocess", help=f"The same of the original network: {_PIXEL_PATH}."),
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Also measure what common mistakes in preparing images would cost.")
    ] = False,
    images: Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)] = 0,
    batch: BATCH = 64,
    labels: LABELS = None,
    skip_bad: SKIP_BAD = 0,
    threads: THREADS = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Split the top-1 drop of FILE into preprocessing, export, quantisation, precision conversion and the engine."""
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.pipeline.attribution.attribute import AttributeOptions, attribute

    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    candidate_backend, candidate_file = parse_runner(candidate)
    reference_backend, reference_file = (None, None) if reference is None else parse_runner(reference)
    options = AttributeOptions(
        candidate=candidate_file,
        data=data,
        reference=reference_file,
        candidate_backend=candidate_backend,
        reference_backend=reference_backend,
        split=split,
        preprocess=preprocess,
        reference_preprocess=reference_preprocess,
        pixels=pixels,
        num_images=images,
        batch_size=batch,
        labels=given_labels(labels),
        num_threads=threads,
        skip_bad=skip_bad,
        out=out,
        force=force,
    )
    with ProgressBar() as progress:
        found = attribute(options, progress)
    if found.skipped:
        note(f"{found.file} is up to date; --force measures again")
    for bad in found.bad_images:
        note(f"left out: {bad}")
    if json:
        print_json(found)
        return
    _show(found)


def _show(found) -> None:
    files = (
        (
            file.name,
            f"{file.file} (made)" if file.made else file.file,
            f"{file.backend} {file.version}",
            file.device,
            f"{file.top1_percent:.2f}",
            f"{file.top1_low:.2f} .. {file.top1_high:.2f}",
        )
        for file in found.files
    )
    columns = ("network", "file", "backend", "device", "top-1 %", "95 %")
    print_data(table(f"{found.num_images} images, {found.data}", columns, files, left=4))
    columns = ("cause", "points lost", "95 %", "lost", "gained", "flips", "agreement %", "McNemar p", "SQNR dB", "")
    print_data(table("Top-1, by cause", columns, (_step_row(step) for step in (*found.steps, found.total))))
    if found.pixel_alternatives:
        _show_pixels(found.pixel_alternatives)
    for missing in found.not_run:
        print_data(f"Not run: {missing.cause} ({missing.file}): {missing.reason}")
    for text in found.notes:
        note(text)
    print_data(found.sentence)
    print_data(f"Written to {found.file}")


def _step_row(step) -> tuple[str, ...]:
    if step.identical:
        return (step.cause, "0.00", "", "0", "0", "0", "100.00", "", "", "the same by construction")
    return (
        step.cause,
        f"{step.drop:+.2f}",
        f"{step.drop_low:+.2f} .. {step.drop_high:+.2f}",
        str(step.num_lost),
        str(step.num_gained),
        str(step.num_flips),
        f"{100 * step.agreement:.2f}",
        f"{step.mcnemar_p:.2g}",
        "-" if step.sqnr_db is None else f"{step.sqnr_db:.1f}",
        "" if step.distinguishable else "not distinguishable from none",
    )


def _show_pixels(alternatives) -> None:
    rows = (
        (
            one.name,
            one.mistake,
            one.num_changed,
            f"{one.top1_percent:.2f}",
            f"{one.drop:+.2f}",
            f"{one.drop_low:+.2f} .. {one.drop_high:+.2f}",
            one.num_flips,
        )
        for one in alternatives
        if one.num_changed
    )
    columns = ("mistake", "what the application does", "images changed", "top-1 %", "points lost", "95 %", "flips")
    print_data(table("What a mistake in preparing images would cost", columns, rows, left=2))
    if harmless := [one.name for one in alternatives if not one.num_changed]:
        print_data(f"Changes none of these images: {', '.join(harmless)}")
