"""`resnet-deploy bisect`: which layers to keep in float for a file to hold its limit."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import DATA, FORCE, JSON, OUT, PREPROCESS, SPLIT, THREADS
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode


def command(
    candidate: Annotated[
        str, typer.Argument(metavar="[BACKEND:]FILE", help="ONNX file that does not hold its limit, e.g. INT8.")
    ],
    reference: Annotated[
        Optional[str],
        typer.Option("--reference", "-r", metavar="[BACKEND:]FILE", help="A sound form: FP32 ONNX or checkpoint."),
    ] = None,
    data: DATA = None,
    split: SPLIT = None,
    images: Annotated[int, typer.Option("--images", help="A stratified sample of that many; 0 takes all.", min=0)] = 0,
    metric: Annotated[
        Optional[str],
        typer.Option(
            "--metric", help="agreement with the reference (the default; needs no labels), or top1, points lost."
        ),
    ] = None,
    min_agreement: Annotated[
        Optional[float],
        typer.Option("--min-agreement", help="Share of images with the same top-1 (default 0.995, int8 0.97)."),
    ] = None,
    max_drop: Annotated[
        Optional[float], typer.Option("--max-drop", help="Points of top-1 that may be lost (default 0.5).")
    ] = None,
    max_evaluations: Annotated[
        int, typer.Option("--max-evaluations", help="Hybrids to score at most; one fault takes about 20.", min=2)
    ] = 100,
    requantize: Annotated[
        bool,
        typer.Option(
            "--requantize/--no-requantize",
            help="Write a Q/DQ file of ours anew without the layers found, <name>.bisected.onnx, and score it.",
        ),
    ] = True,
    preprocess: PREPROCESS = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses the images.", min=0)] = 0,
    threads: THREADS = 0,
    out: OUT = None,
    force: FORCE = False,
    json: JSON = False,
) -> None:
    """Find the fewest layers that must come from the reference for the candidate to hold its limit on a data set.

    Blocks are exchanged first, then layers inside the blocks that matter; several faults at once are found, too. An
    interrupted run goes on where it was. Exit code 1 where the limit is not held even with all layers exchanged.
    """
    if reference is None:
        raise ConfigError(
            "no reference was named", remedy="give --reference FILE, e.g. the FP32 ONNX or the checkpoint"
        )
    if data is None:
        raise ConfigError("no images were named", remedy="give --data FOLDER, --data FILE.tar or --data digits")
    from resnet_deploy.engine.open import parse_runner
    from resnet_deploy.pipeline.faults.bisection import BisectOptions, bisect

    candidate_backend, candidate_file = parse_runner(candidate)
    reference_backend, reference_file = parse_runner(reference)
    chosen, limit = _metric(metric, min_agreement, max_drop)
    options = BisectOptions(
        reference=reference_file,
        candidate=candidate_file,
        reference_backend=reference_backend,
        candidate_backend=candidate_backend,
        data=data,
        split=split,
        num_images=images,
        metric=chosen,
        limit=limit,
        max_evaluations=max_evaluations,
        requantize=requantize,
        preprocess=preprocess,
        num_threads=threads,
        seed=seed,
        out=out,
        force=force,
    )
    with ProgressBar() as progress:
        found = bisect(options, progress)
    if found.skipped:
        note(f"{found.file} is up to date; --force searches again")
    for text in found.notes:
        note(text)
    if json:
        print_json(found)
    else:
        _show(found)
    if not found:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _metric(metric: str | None, min_agreement: float | None, max_drop: float | None) -> tuple[str, float | None]:
    """The metric that was named, or that the limit belongs to; and the limit."""
    limits = {"agreement": ("--min-agreement", min_agreement), "top1": ("--max-drop", max_drop)}
    given = [name for name, (_, value) in limits.items() if value is not None]
    chosen = metric or (given[0] if given else "agreement")
    if others := [limits[name][0] for name in given if name != chosen]:
        raise ConfigError(f"{' and '.join(others)} does not limit {chosen}", remedy="give one metric and its own limit")
    return chosen, limits[chosen][1] if chosen in limits else None


def _show(found) -> None:
    from collections import Counter

    rows = [("candidate", 0, *_cells(found.candidate_score))]
    if found.layers:
        rows.append(("hybrid", len(found.layers), *_cells(found.hybrid_score)))
    if found.requantized_score is not None:
        rows.append((Path(found.requantized).name, len(found.layers), *_cells(found.requantized_score)))
    columns = ("", "layers exchanged", "agreement (95 %)", "top-1 %", "drop in points (95 %)", "SQNR dB")
    print_data(table(f"{found.candidate} against {found.reference}, {found.num_images:,} images", columns, rows))
    tried = Counter(evaluation.phase for evaluation in found.evaluations)
    wanted = f">= {found.limit:g}" if found.metric == "agreement" else f"<= {found.limit:g} points of top-1 lost"
    print_data(
        f"Limit: {found.metric} {wanted}. {found.num_evaluations} hybrids scored ({tried['block']} over "
        f"{found.num_units['blocks']} blocks, {tried['layer']} over layers; {found.num_reused} from an earlier run)."
    )
    if found.layers:
        print_data(
            f"Blocks: {', '.join(found.blocks)}",
            f"Layers: {', '.join(found.layers)}",
            "For `quantize`: " + " ".join(f"--exclude {name}" for name in found.layers),
        )
        least = "no one of them can be left out" if found.is_irreducible else "some may not be needed"
        print_data(f"With these from the reference the limit is {'held' if found.met else 'NOT HELD'}; {least}.")
    print_data(f"written to {found.file}")


def _cells(score) -> tuple[str, ...]:
    agreement = f"{score.agreement:.4f} ({score.agreement_low:.4f}..{score.agreement_high:.4f})"
    top1 = "-" if score.top1_percent is None else f"{score.top1_percent:.2f}"
    drop = "-" if score.drop is None else f"{score.drop:+.2f} ({score.drop_low:+.2f}..{score.drop_high:+.2f})"
    return agreement, top1, drop, "-" if score.sqnr_db is None else f"{score.sqnr_db:.1f}"
