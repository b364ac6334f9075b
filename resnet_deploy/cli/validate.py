"""`resnet-deploy validate`: the verdict on a candidate."""

from __future__ import annotations

__all__ = ["command"]

from collections.abc import Iterator
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

_SHOWN_FLIPS = 5


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
    max_drop: Annotated[
        Optional[float], typer.Option("--max-drop", help="Points of top-1 it may lose (default 0.5).", min=0)
    ] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Fail unless the drop is proven to be under --max-drop.")
    ] = False,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Images in random order; stop as soon as the verdict is certain.")
    ] = False,
    level: Annotated[
        float, typer.Option("--level", help="Chance of error of each test and one-sided bound, under 0.5.")
    ] = 0.05,
    min_agreement: Annotated[
        Optional[float],
        typer.Option(
            "--min-agreement",
            help="Share of images with the same top-1 (default 0.995, bf16 0.98, int8 0.97, fp8 0.95).",
        ),
    ] = None,
    min_cosine: Annotated[
        Optional[float],
        typer.Option("--min-cosine", help="Of the logits (default: what --min-sqnr's default leaves)."),
    ] = None,
    min_sqnr: Annotated[
        Optional[float],
        typer.Option(
            "--min-sqnr", help="Of the logits, in dB (default fp32 40, int8 and fp8 10, fp16 and bf16 by layers)."
        ),
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
    from resnet_deploy.verify.validate import ValidateOptions, validate

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
        level=level,
        prove=prove,
        sequential=sequential,
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
    seen = f"{verdict.num_images} images, {verdict.data}"
    columns = ("", "file", "precision", "backend", "device", "top-1 %", "interval", "top-5 %", "interval")
    rows = (
        (name, side.file, side.precision or "-", f"{side.backend} {side.version}", side.device, *_scores(verdict, name))
        for name, side in (("reference", verdict.reference), ("candidate", verdict.candidate))
    )
    print_data(table(seen, columns, rows, left=5))
    print_data(table("Errors of the candidate", ("output", *_ERRORS), _errors(verdict)))
    cells = (
        (
            c.name,
            c.source,
            "-" if c.value is None else f"{c.value:.5g}",
            f"{c.relation} {c.limit:g}",
            "ok" if c.passed else "FAILED",
        )
        for c in verdict.checks
    )
    print_data(table("Checks", ("check", "where the limit comes from", "measured", "wanted", ""), cells, left=2))
    if verdict.statistics is not None:
        print_data(table("Statistics", ("", "what it says"), _statistics(verdict), left=2))
        _show_flips(verdict.statistics.flips)
    print_data(f"Verdict: {'PASSED' if verdict else 'FAILED'}; written to {verdict.file}")


_ERRORS = ("max", "mean", "p50", "p90", "p99", "p99.9", "cosine", "SQNR dB", "gain")


def _errors(verdict) -> Iterator[tuple[str, ...]]:
    for name, p in (verdict.outputs or {"answers": verdict.parity}).items():
        found = (p.max_abs_error, p.mean_abs_error, p.abs_error_p50, p.abs_error_p90, p.abs_error_p99)
        values = (*found, p.abs_error_p999, p.cosine, p.sqnr_db, p.gain)
        yield name, *("-" if value is None else f"{value:.5g}" for value in values)


def _scores(verdict, side: str) -> Iterator[str]:
    for score in (verdict.statistics.top1, verdict.statistics.top5) if verdict.statistics else (None, None):
        share = getattr(score, side) if score else None
        yield f"{share.percent:.2f}" if share else "-"
        yield f"{share.low:.2f} .. {share.high:.2f}" if share else "-"


def _statistics(verdict) -> Iterator[tuple[str, str]]:
    found = verdict.statistics
    confidence = f"{100 * (1 - found.level):g} %"
    for name, score in (("top-1", found.top1), ("top-5", found.top5)):
        if score is not None:
            low, high = (verdict.drop_low, verdict.drop_high) if name == "top-1" else (score.drop_low, score.drop_high)
            sides = f"{score.num_only_reference} images only the reference has right, {score.num_only_candidate}"
            interval = f"{confidence}: {low:+.2f} .. {high:+.2f}"
            yield f"{name} drop", f"{score.drop:+.2f} points ({interval}); {sides} only the candidate"
            said = "they differ" if score.differs else "no difference shown"
            yield f"{name}, McNemar", f"p {score.p_mid:.3g} (mid-p, which decides; exact {score.p_exact:.3g}): {said}"
    if found.decision is not None:
        d = found.decision
        bounds = f"one-sided {confidence} bounds {d.low:+.2f} and {d.high:+.2f}"
        yield f"drop under {d.max_drop:g}", f"{d.conclusion}; {bounds}, {d.method}"
    for row in found.images_needed:
        needed = "no number of images" if row.num_images is None else f"{row.num_images:,} images"
        enough = "enough here" if row.suffices else f"{verdict.num_images:,} here"
        supposed = f"a true drop of {row.assumed_drop:.2f}, probability {100 * row.power:.0f} %"
        yield "to prove it", f"{needed} ({supposed}); {enough}"
    yield "flips", _flips(found.flips, confidence)
    if found.flips.flipped_margins is not None:
        ours, theirs = found.flips.all_margins, found.flips.flipped_margins
        yield (
            "reference's margin",
            (
                f"of flipped images {theirs.p50:.3f} in the middle, {theirs.largest:.3f} at most; of all {ours.p50:.3f} in the "
                f"middle"
            ),
        )
    if found.class_regressions is not None:
        yield "classes", _classes(found.class_regressions, found.level)
    if found.sequential is not None:
        run = found.sequential
        looks = "1 look" if run.num_looks == 1 else f"{run.num_looks} looks"
        yield "sequential", f"{run.num_images} of {run.num_available} images, {looks}: {run.reason}"


def _flips(flips, confidence: str) -> str:
    rate = flips.rate
    text = f"{rate.num_hits} images, {rate.percent:.2f} % ({confidence}: {rate.low:.2f} .. {rate.high:.2f})"
    if flips.num_right_to_wrong is None:
        return text
    return (
        f"{text}; {flips.num_right_to_wrong} right to wrong, {flips.num_wrong_to_right} wrong to right, "
        f"{flips.num_wrong_to_wrong} wrong to other wrong"
    )


def _classes(found, level: float) -> str:
    tested = f"of {found.num_tested}, Holm's correction, level {level:g}"
    if not found.num_significant:
        worst = found.worst[0] if found.worst else None
        named = f"; most: {worst.name} {worst.drop:.2f} points, p {worst.p_holm:.2g}" if worst else ""
        return f"none significantly worse ({tested}){named}"
    named = ", ".join(
        f"{one.name} {one.drop:.1f} points (p {one.p_holm:.2g})" for one in found.worst if one.significant
    )
    return f"{found.num_significant} significantly worse ({tested}): {named}"


def _show_flips(flips) -> None:
    rows = (
        (
            f.name,
            f.label or "-",
            f.reference_class,
            f.candidate_class,
            *map(_margin, (f.reference_margin, f.candidate_margin)),
        )
        for f in flips.suspicious[:_SHOWN_FLIPS]
    )
    if flips.suspicious:
        columns = ("image", "label", "reference", "candidate", "reference's margin", "candidate's margin")
        print_data(table("Flips on which the reference was surest", columns, rows, left=4))


def _margin(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
