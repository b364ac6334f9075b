"""`resnet-deploy advise`: which network, image size, precision and batch size to take on a target."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON, OUT
from resnet_deploy.cli.render import ProgressBar, note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from resnet_deploy.bench.advisor.advice import Advice, Option


def command(
    target: Annotated[
        str, typer.Option("--target", help="A GPU, e.g. l4, orin-agx (`estimate` lists them); here; or cpu.")
    ],
    max_latency_ms: Annotated[
        Optional[float], typer.Option("--max-latency-ms", help="Need: the median of one pass, in milliseconds.")
    ] = None,
    min_throughput: Annotated[
        Optional[float], typer.Option("--min-throughput", help="Need: images per second.")
    ] = None,
    min_top1: Annotated[Optional[float], typer.Option("--min-top1", help="Need: top-1 in percent.")] = None,
    max_watts: Annotated[Optional[float], typer.Option("--max-watts", help="Need: power while it runs.")] = None,
    depth: Annotated[
        Optional[list[int]],
        typer.Option("--depth", help="ImageNet ResNet of that depth; repeat for more. Default all, and all measured."),
    ] = None,
    net: Annotated[Optional[list[str]], typer.Option("--net", help="Any net by name; repeat for more.")] = None,
    size: Annotated[
        Optional[str], typer.Option("--size", help="Sides of the images in px [default: 160,192,224,256,288].")
    ] = None,
    precision: Annotated[
        Optional[str], typer.Option("--precision", help="Of fp32, fp16, bf16, int8, fp8 [default: fp32,fp16,int8].")
    ] = None,
    batches: Annotated[Optional[str], typer.Option("--batches", help="Images per pass [default: 1,8,32].")] = None,
    folder: Annotated[
        Optional[Path], typer.Option("--from", help="Folder whose benchmarks and verdicts count, subfolders too.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option("--weights", help="Whose published top-1 counts: torchvision-v1, torchvision-v2 or timm-a1."),
    ] = "torchvision-v1",
    catalogue: Annotated[
        Optional[Path], typer.Option("--catalogue", help="TOML file with GPUs of your own, as for `estimate`.")
    ] = None,
    out: OUT = None,
    picture: Annotated[
        Optional[Path], typer.Option("--picture", help="Draw top-1 against latency, .png or .svg.")
    ] = None,
    show_all: Annotated[bool, typer.Option("--all", help="List every option, not the Pareto set alone.")] = False,
    json: JSON = False,
) -> int:
    """Say which network, image size, precision and batch size to take; exit code 1 where none can meet the needs.

    Speed is measured where --from holds a run on the target, else the roofline's bound, which is optimistic. Top-1 is
    measured where --from holds a verdict, else published, else unknown.
    """
    from resnet_deploy.bench.advisor.advice import Needs
    from resnet_deploy.bench.advisor.advise import AdviseOptions, advise
    from resnet_deploy.nets.catalogue import net_of_depth

    options = AdviseOptions(
        target=target,
        needs=Needs(
            max_latency_ms=max_latency_ms, min_throughput=min_throughput, min_top1=min_top1, max_watts=max_watts
        ),
        nets=(*(net_of_depth(number).name for number in depth or []), *(net or [])),
        sizes_px=_numbers("--size", size),
        precisions=_precisions(precision),
        batches=_numbers("--batches", batches),
        folder=folder,
        weights=weights,
        catalogue=catalogue,
        out=out,
    )
    with ProgressBar() as progress:
        advice = advise(options, progress)
    if json:
        print_json(advice)
    else:
        _show(advice, show_all)
    if out is not None:
        note(f"written to {out}")
    if picture is not None:
        _draw(advice, picture)
        note(f"written to {picture}")
    return ExitCode.DONE if advice else ExitCode.CHECK_FAILED


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(","))) if text else ()
    except ValueError as error:
        raise ConfigError(f"{option} {text}: not a list of numbers", remedy=f"write e.g. {option} 1,8,32") from error


def _precisions(text: str | None) -> tuple:
    from resnet_deploy.core.specs import Precision

    try:
        return tuple(dict.fromkeys(Precision(part.strip()) for part in text.split(","))) if text else ()
    except ValueError as error:
        known = ", ".join(Precision)
        raise ConfigError(f"--precision {text}: {error}", remedy=f"known precisions: {known}") from error


def _show(advice: Advice, show_all: bool) -> None:
    choice = advice.choice
    rows = [o for o in advice.options if show_all or _is_shown(o, advice)]
    columns = (
        "",
        "net",
        "precision",
        "px",
        "batch",
        "ms",
        "likely ms",
        "images/s",
        "top-1 %",
        "speed",
        "top-1",
        "needs",
    )
    what = (
        "All options" if show_all else "Pareto set" if choice is None or not choice.checks else "Pareto set that may do"
    )
    print_data(table(f"{what} on {advice.target_name}", columns, (_cells(o, o is choice) for o in rows), left=3))
    hidden = len(advice.options) - len(rows)
    if hidden:
        note(f"{hidden} other options: beaten by one of these, or out of the question; --all lists them")
    print_data("")
    print_data(f"Recommended: {choice.name}" if choice else "No option can meet the needs.")
    for reason in advice.reasons:
        print_data(f"- {reason}.")
    if advice.steps:
        print_data("\nNext:")
        for step in advice.steps:
            print_data(f"    {step}")
    print_data("\nNotes:")
    for remark in advice.notes:
        print_data(f"- {remark}.")


def _is_shown(option: Option, advice: Advice) -> bool:
    """The front as far as it may meet the needs, all of it where nothing does; and the choice in any case."""
    from resnet_deploy.bench.advisor.advice import Standing

    may_do = advice.choice is None or option.standing is not Standing.FAILS
    return option is advice.choice or (option.on_front and may_do)


def _cells(option: Option, is_choice: bool) -> tuple:
    speed, accuracy = option.speed, option.accuracy
    net = f"{option.net} ({option.backend})" if option.backend else option.net
    return (
        "->" if is_choice else "",
        net,
        option.precision,
        option.size_px,
        option.batch,
        f"{speed.latency_ms:.3g}",
        "-" if speed.likely_ms is None else f"{speed.likely_ms:.3g}",
        f"{speed.images_per_second:,.0f}",
        "-" if accuracy.top1_percent is None else f"{accuracy.top1_percent:.2f}",
        speed.label,
        accuracy.label,
        option.standing if option.checks else "-",
    )


def _draw(advice: Advice, file: Path) -> None:
    from resnet_deploy.bench.advisor.advice import SpeedBasis
    from resnet_deploy.draw.accuracy_latency import OptionPoint, draw_accuracy_latency
    from resnet_deploy.draw.figure import save_picture

    known = [option for option in advice.options if option.accuracy.top1_percent is not None]
    if not known:
        raise ConfigError(
            "no top-1 is known, so there is nothing to draw against latency",
            remedy="validate a network on labelled images and name the folder with --from",
        )
    points = [
        OptionPoint(
            latency_ms=option.speed.latency_ms,
            top1_percent=option.accuracy.top1_percent,
            precision=str(option.precision),
            label=f"{option.net} {option.precision} {option.size_px} px b{option.batch}",
            is_measured=option.speed.basis in (SpeedBasis.MEASURED, SpeedBasis.NOT_VALID),
            is_on_front=option.on_front,
            is_recommended=option is advice.choice,
        )
        for option in known
    ]
    needs = advice.needs
    title = f"What to run on {advice.target_name}"
    figure = draw_accuracy_latency(
        points,
        max_latency_ms=needs.max_latency_ms,
        min_top1=needs.min_top1,
        title=title,
        num_unknown=len(advice.options) - len(known),
    )
    save_picture(figure, file)
