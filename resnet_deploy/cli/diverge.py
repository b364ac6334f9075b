"""`resnet-deploy diverge`: the first layer at which two files part."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import DATA, FORCE, JSON, OUT, PREPROCESS, SPLIT, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

_MOST_ROWS = 12


def command(
    candidate: Annotated[str, typer.Argument(metavar="[BACKEND:]FILE", help="The file in which a fault is suspected.")],
    reference: Annotated[
        Optional[str],
        typer.Option(
            "--reference", "-r", metavar="[BACKEND:]FILE", help="A sound form of the same network, or the same file."
        ),
    ] = None,
    data: DATA = None,
    split: SPLIT = None,
    images: Annotated[
        int, typer.Option("--images", help="A stratified sample of that many; without --data, of noise.", min=1)
    ] = 32,
    by: Annotated[
        Optional[str],
        typer.Option(
            "--by",
            help="layer: mark every layer. block: mark the ends of blocks, then the layers of the first block at "
            "fault, so that the rest is fused as it is (the default for engines).",
        ),
    ] = None,
    preprocess: PREPROCESS = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    threads: THREADS = 0,
    every: Annotated[bool, typer.Option("--all", help="Show every layer, not only those around faults.")] = False,
    picture: Annotated[Optional[Path], typer.Option("--picture", help="Also draw the layers, as .png or .svg.")] = None,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Find the first layer that computes something else than the reference does; exit code 1 where there is one.

    Every layer is judged on the reference's own tensors, so that what it inherits is not held against it.
    """
    if reference is None:
        raise ConfigError(
            "no reference was named", remedy="give --reference FILE, e.g. the FP32 ONNX or the checkpoint"
        )
    if picture is not None and picture.suffix not in (".png", ".svg"):
        raise ConfigError(f"{picture}: pictures are written as .png or .svg", remedy="choose one of these endings")
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.pipeline.faults.divergence import DivergeOptions, diverge

    candidate_backend, candidate_file = parse_runner(candidate)
    reference_backend, reference_file = parse_runner(reference)
    options = DivergeOptions(
        reference=reference_file,
        candidate=candidate_file,
        reference_backend=reference_backend,
        candidate_backend=candidate_backend,
        data=data,
        split=split,
        num_images=images,
        by=by,
        preprocess=preprocess,
        num_threads=threads,
        seed=seed,
        out=out,
        force=force,
    )
    with ProgressBar() as progress:
        found = diverge(options, progress)
    if found.skipped:
        note(f"{found.file} is up to date; --force measures again")
    for text in found.notes:
        note(text)
    if json:
        print_json(found)
    else:
        _show(found, every)
    if picture is not None:
        _draw(found, picture)
        note(f"written: {picture}")
    if not found:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _show(found, every: bool) -> None:
    shown = found.layers if every else _around_faults(found.layers)
    rows = [
        (
            layer.layer,
            layer.op_type,
            _db(layer.accumulated.sqnr_db),
            _db(layer.introduced.sqnr_db),
            _db(layer.explained_db, absent="-"),
            _number(layer.introduced.cosine, ".4f"),
            _number(layer.introduced.gain, ".3f"),
            _number(layer.introduced.max_abs_error, ".3g"),
            f"{100 * layer.introduced.differing_share:.1f}",
            layer.reason or "ok",
        )
        for layer in shown
    ]
    columns = (
        *("layer", "", "accumulated dB", "introduced dB", "its bits allow"),
        *("cosine", "gain", "max error", "differing %", ""),
    )
    left_out = len(found.layers) - len(shown)
    title = f"{found.candidate.file} against {found.reference.file}, {found.num_images} images, {found.images}"
    print_data(table(title, columns, rows, left=2))
    if left_out:
        print_data(f"{left_out} sound layers are not shown; --all shows them.")
    print_data(
        "accumulated: SQNR in the whole network; introduced: of the layer alone, on the reference's tensors, as are the "
        f"columns behind it. A layer is at fault under {found.limit_db:g} dB.",
        f"Output: SQNR {_db(found.output.sqnr_db)} dB, {found.candidate.precision} on {found.candidate.backend} against "
        f"{found.reference.precision} on {found.reference.backend}.",
    )
    if found.first is None:
        print_data(f"No layer is at fault; written to {found.file}")
    else:
        first = next(layer for layer in found.layers if layer.layer == found.first)
        others = len(found.at_fault) - 1
        print_data(
            f"First layer at fault: {found.first} (block {first.block}): {first.reason}"
            + (f"; {others} more" if others else "")
            + f"; written to {found.file}"
        )


def _around_faults(layers) -> list:
    """The layers at fault, the first of them, with their neighbours; else those that add most."""
    bad = [place for place, layer in enumerate(layers) if layer.is_divergent][: _MOST_ROWS // 2]
    if bad:
        return [layers[i] for i in sorted({j for i in bad for j in (i - 1, i, i + 1) if 0 <= j < len(layers)})]
    worst = sorted(layers, key=lambda layer: (layer.introduced.sqnr_db is None, layer.introduced.sqnr_db))[:_MOST_ROWS]
    return [layer for layer in layers if layer in worst]


def _draw(found, picture: Path) -> None:
    from resnet_deploy.draw.divergence import DrawnLayer, draw_divergence
    from resnet_deploy.draw.figure import save_picture

    drawn = [
        DrawnLayer(layer.layer, layer.accumulated.sqnr_db, layer.introduced.sqnr_db, layer.is_divergent)
        for layer in found.layers
    ]
    title = f"{Path(found.candidate.file).name} against {Path(found.reference.file).name}"
    save_picture(draw_divergence(drawn, limit_db=found.limit_db, title=title), picture)


def _db(value: float | None, *, absent: str = "not finite") -> str:
    if value is None:
        return absent
    return "equal" if value >= 300 else f"{value:.1f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
