"""`resnet-deploy evaluate`: top-1 and top-5 of one file, or of several that vote, on a data set."""

from __future__ import annotations

__all__ = ["command"]

from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.options import BATCH, DATA, JSON, LABELS, PREPROCESS, SKIP_BAD, SPLIT, THREADS, given_labels
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_deploy.verify.accuracy import Accuracy, MemberAccuracy
    from resnet_deploy.verify.protocols import Protocol


def command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="[BACKEND:]FILE...", help="Checkpoint, ONNX file or engine; several are an ensemble."),
    ],
    data: DATA = None,
    split: SPLIT = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="What a network sees of an image: single, ten-crop or multi-scale.")
    ] = "single",
    resize: Annotated[
        Optional[int],
        typer.Option("--resize", help="Shorter side for ten-crop; 256/224 of the input if not given.", min=1),
    ] = None,
    sides: Annotated[
        Optional[str],
        typer.Option("--sides", help="Shorter sides for multi-scale; 224,256,384,480,640 for nets of 224 px."),
    ] = None,
    images: Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)] = 0,
    batch: BATCH = 64,
    preprocess: PREPROCESS = None,
    labels: LABELS = None,
    skip_bad: SKIP_BAD = 0,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show every class.")] = False,
    threads: THREADS = 0,
    json: JSON = False,
) -> None:
    """Measure top-1 and top-5 on labelled images, with their 95 % interval.

    Where there are several views of an image (ten-crop, multi-scale) or several files, their softmax is averaged.
    """
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.verify.evaluate import EvaluateOptions, evaluate

    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    parsed = [parse_runner(file) for file in files]
    options = EvaluateOptions(
        files=tuple(path for _, path in parsed),
        backends=tuple(backend for backend, _ in parsed),
        data=data,
        protocol=_protocol(protocol),
        resize_px=resize,
        sides=_sides(sides),
        split=split,
        batch_size=batch,
        num_images=images,
        preprocess=preprocess,
        labels=given_labels(labels),
        num_threads=threads,
        skip_bad=skip_bad,
    )
    with ProgressBar() as progress:
        result = evaluate(options, progress)
    if result.note:
        note(result.note)
    for bad in result.skipped:
        note(f"left out: {bad}")
    if json:
        print_json(result)
    else:
        _show(result, per_class)


def _show(result: Accuracy, per_class: bool) -> None:
    rows = [
        ("file", result.file),
        ("backend", f"{result.backend} on {result.device}"),
        ("images", _images(result)),
        ("protocol", f"{result.protocol}: {result.views}"),
        ("top-1", _top1(result)),
        ("top-5", _top5(result)),
        ("images with NaN or infinity", result.num_nonfinite_rows),
        ("images/s (no benchmark)", f"{result.images_per_second:.1f}"),
    ]
    if result.skipped:
        rows.insert(3, ("images left out", len(result.skipped)))
    print_data(table("Accuracy", ("", ""), rows, left=2))
    if result.members:
        cells = [(m.file, m.backend, _top1(m), _top5(m)) for m in result.members]
        cells.append(("ensemble (mean of softmax)", "", _top1(result), _top5(result)))
        print_data(table("By network", ("file", "backend", "top-1", "top-5"), cells, left=2))
    if per_class:
        cells = [
            (c.name, c.num_images, f"{100 * c.num_hits / c.num_images:.2f}" if c.num_images else "-")
            for c in result.per_class
        ]
        print_data(table("By class", ("class", "images", "top-1 %"), cells))


def _images(result: Accuracy) -> str:
    """A sample's description says already how many there are."""
    count = str(result.num_images)
    return result.data if result.data.startswith(f"{count} of ") else f"{count} ({result.data})"


def _top1(result: Accuracy | MemberAccuracy) -> str:
    return f"{result.top1_percent:.2f} % (95 %: {result.top1_low:.2f} .. {result.top1_high:.2f})"


def _top5(result: Accuracy | MemberAccuracy) -> str:
    return "-" if result.top5_percent is None else f"{result.top5_percent:.2f} %"


def _protocol(text: str) -> Protocol:
    from resnet_deploy.verify.protocols import Protocol

    try:
        return Protocol(text.lower())
    except ValueError:
        known = ", ".join(Protocol)
        raise ConfigError(f"--protocol is {text!r}, expected one of {known}", remedy=f"take one of {known}") from None


def _sides(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        sides = tuple(int(part) for part in text.split(","))
    except ValueError:
        sides = ()
    if not sides or min(sides) < 1:
        raise ConfigError(
            f"--sides is {text!r}, expected whole numbers with commas between", remedy="for example --sides 224,256,384"
        )
    return sides
