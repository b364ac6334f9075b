"""`resnet-deploy analyze`: what goes on inside networks and training runs, as pictures and numbers."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import BATCH, DATA, JSON, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError

command = typer.Typer(
    help="Layer responses, gradient norms and training curves, each as a picture (PNG) and its numbers (JSON).",
    no_args_is_help=True,
)

_OUT = Annotated[
    Optional[Path],
    typer.Option("--out", "-o", help="Picture to write (.png); its numbers go beside it (.json)."),
]
_SPLIT = Annotated[str, typer.Option("--split", help="Which part of --data: train, val or test.")]
_IMAGES = Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)]
_PER_LAYER = Annotated[bool, typer.Option("--per-layer", help="Show every layer.")]
_SEED = Annotated[int, typer.Option("--seed", help="Of the sample, and of fresh weights.", min=0)]


@command.command("responses", short_help="How strongly each 3x3 layer answers (Fig. 7).")
def responses(
    files: Annotated[list[Path], typer.Argument(metavar="NET.safetensors", help="Checkpoints.")],
    data: DATA = None,
    split: _SPLIT = "val",
    images: _IMAGES = 512,
    batch: BATCH = 64,
    seed: _SEED = 0,
    threads: THREADS = 0,
    out: _OUT = None,
    per_layer: _PER_LAYER = False,
    json: JSON = False,
) -> None:
    """How strongly each 3x3 convolution answers: the standard deviation after BN, before the ReLU (paper, Fig. 7)."""
    from resnet_deploy.analyze.responses import ResponseOptions, analyze_responses

    options = ResponseOptions(
        files=tuple(files),
        data=_named_data(data),
        split=split,
        num_images=images,
        batch_size=batch,
        out=out,
        num_threads=threads,
        seed=seed,
    )
    with ProgressBar() as progress:
        report = analyze_responses(options, progress=progress)
    if json:
        print_json(report)
        return
    rows = []
    for net in report.nets:
        stds = [layer.std for layer in net.layers]
        rows.append((net.label, net.net, len(stds), *(f"{x:.4f}" for x in (net.mean_std, min(stds), max(stds)))))
    columns = ("name", "net", "3x3 layers", "mean std", "smallest", "largest")
    print_data(table(f"Layer responses on {report.num_images} images", columns, rows, left=2))
    if per_layer:
        for net in report.nets:
            cells = ((layer.index, layer.name, f"{layer.std:.4f}", f"{layer.mean:+.4f}") for layer in net.layers)
            print_data(table(net.label, ("", "layer", "std", "mean"), cells, left=2))
    _written(report)


@command.command("gradients", short_help="Gradient norms, layer by layer.")
def gradients(
    files: Annotated[
        Optional[list[Path]], typer.Argument(metavar="[NET.safetensors]", help="Checkpoints, at their weights.")
    ] = None,
    net: Annotated[
        Optional[list[str]], typer.Option("--net", help="A net by name, freshly initialised; repeat for more.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="The checkpoints' nets, too, at initialisation in place of their weights.")
    ] = False,
    data: DATA = None,
    split: _SPLIT = "train",
    images: _IMAGES = 256,
    batch: Annotated[int, typer.Option("--batch", help="Images that BN normalises over.", min=2)] = 64,
    seed: _SEED = 0,
    threads: THREADS = 0,
    out: _OUT = None,
    per_layer: _PER_LAYER = False,
    json: JSON = False,
) -> None:
    """The gradient of the training loss, layer by layer: does the signal reach the first ones? (paper, section 4.1)"""
    from resnet_deploy.analyze.gradients import GradientOptions, analyze_gradients

    options = GradientOptions(
        files=tuple(files or ()),
        nets=tuple(net or ()),
        fresh=fresh,
        data=_named_data(data),
        split=split,
        num_images=images,
        batch_size=batch,
        out=out,
        num_threads=threads,
        seed=seed,
    )
    with ProgressBar() as progress:
        report = analyze_gradients(options, progress=progress)
    if json:
        print_json(report)
        return
    columns = ("name", "weights", "loss", "layers", "smallest", "largest", "first/last", "dead")
    title = f"Gradient norms on {report.num_images} images, {report.batch_size} a batch"
    print_data(table(title, columns, map(_gradient_cells, report.nets), left=2))
    print_data(
        "first/last: norms of the first quarter of the convolutions over those of the last; far below 1 they vanish, far above they explode."
    )
    if per_layer:
        for one in report.nets:
            print_data(table(one.label, ("", "layer", "gradient", "relative"), map(_layer_cells, one.layers), left=2))
    _written(report)


@command.command("curves", short_help="Errors against iterations (Figs. 1 and 6).")
def curves(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="RUN.metrics.jsonl, the checkpoint it lies beside, or their folder."),
    ],
    panels: Annotated[
        bool, typer.Option("--panels", help="Plain nets on the left, residual ones on the right, on the same axes.")
    ] = False,
    out: _OUT = None,
    json: JSON = False,
) -> None:
    """Training and test error against iterations, several runs in one picture (paper, Figs. 1 and 6)."""
    from resnet_deploy.analyze.curves import CurveOptions, analyze_curves

    report = analyze_curves(CurveOptions(files=tuple(files), panels=panels, out=out))
    for run in report.runs:
        for remark in run.notes:
            note(remark)
    if json:
        print_json(report)
        return
    rows = [
        (
            run.label,
            run.net or "-",
            f"{run.steps[-1]:,}",
            *(_percent(error) for error in (run.final_train_error_percent, run.final_test_error_percent)),
            "-" if run.best_test_step is None else f"{run.best_test_error_percent:.2f} ({run.best_test_step:,})",
        )
        for run in report.runs
    ]
    columns = ("name", "net", "steps", "train error %", "test error %", "best test % (step)")
    print_data(table("Training runs, after the last step", columns, rows, left=2))
    print_data("Training errors are of augmented images, as they were trained on; test errors of the held-out ones.")
    _written(report)


def _named_data(data: str | None) -> str:
    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    return data


def _gradient_cells(net) -> tuple:
    norms = [layer.gradient_norm for layer in net.layers]
    ratio = "-" if net.first_to_last is None else f"{net.first_to_last:.3g}"
    spread = f"{min(norms):.3g}", f"{max(norms):.3g}"
    return (net.label, net.weights, f"{net.loss:.4f}", len(norms), *spread, ratio, net.num_dead)


def _layer_cells(layer) -> tuple:
    relative = "-" if layer.relative_norm is None else f"{layer.relative_norm:.3g}"
    return (layer.index, layer.name, f"{layer.gradient_norm:.3g}", relative)


def _percent(error: float | None) -> str:
    return "-" if error is None else f"{error:.2f}"


def _written(report) -> None:
    note(f"written: {report.picture}, {report.file}")
