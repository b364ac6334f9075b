"""The accuracy budget of `quantize`: its options, and how its outcome is shown."""

from __future__ import annotations

__all__ = ["CONFIDENT", "COST", "IMAGES", "MAX_DROP", "MIN_AGREEMENT", "budget_of", "show_budget"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from resnet_deploy.cli.render import note, print_data, table
from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_deploy.core.score import Score
    from resnet_deploy.quant.budget import BudgetOptions, BudgetResult

MAX_DROP = Annotated[
    Optional[float],
    typer.Option("--max-drop", help="Budget: points of top-1 that may be lost on --data; layers go to float for it."),
]
MIN_AGREEMENT = Annotated[
    Optional[float],
    typer.Option("--min-agreement", help="Budget: share of --data on which FP32 must be followed, e.g. 0.99."),
]
CONFIDENT = Annotated[
    bool, typer.Option("--confident", help="Hold the budget at the unfavourable end of the 95 % interval.")
]
IMAGES = Annotated[int, typer.Option("--images", help="Budget: a stratified sample of that many; 0 takes all.", min=0)]
COST = Annotated[
    Optional[str],
    typer.Option(
        "--cost",
        help="Budget: what float layers cost: multiply-adds (default), roofline, or a JSON file of measured times.",
    ),
]


def budget_of(
    *,
    max_drop: float | None,
    min_agreement: float | None,
    confident: bool,
    data: str | None,
    split: str | None,
    images: int,
    cost: str | None,
    threads: int,
) -> BudgetOptions | None:
    """The budget that was asked for; None where there is no limit.

    Raises:
        ConfigError: Images without a limit, a limit without images, or a limit out of range.
    """
    if max_drop is None and min_agreement is None:
        given = {"--confident": confident, "--data": data, "--split": split, "--images": images, "--cost": cost}
        if idle := [name for name, value in given.items() if value]:
            raise ConfigError(
                f"{', '.join(idle)} belong to an accuracy budget, and no limit was given",
                remedy="add --max-drop POINTS or --min-agreement SHARE",
            )
        return None
    if data is None:
        raise ConfigError(
            "an accuracy budget needs images to hold on",
            remedy="add --data FOLDER (and --split), images that were not used for calibration",
        )
    from resnet_deploy.quant.budget import BudgetOptions
    from resnet_deploy.quant.budget_search import Limits

    return BudgetOptions(
        limits=Limits(max_drop=max_drop, min_agreement=min_agreement, confident=confident),
        data=data,
        split=split,
        num_images=images,
        cost=cost or "multiply-adds",
        num_threads=threads,
    )


def show_budget(result: BudgetResult) -> None:
    """Scores before and after, what stays in float, and whether the budget is met."""
    rows = [
        ("all int8", *_cells(result.int8), "0.0", "0.0"),
        (
            Path(result.file).name,
            *_cells(result.delivered),
            f"{100 * result.cost:.1f}",
            f"{100 * result.multiply_adds_in_float:.1f}",
        ),
    ]
    columns = ("", "agreement (95 %)", "top-1 %", "drop in points (95 %)", "SQNR dB", "cost %", "float multiply-adds %")
    print_data(table(f"Accuracy budget on {result.num_images:,} images, {result.images}", columns, rows))
    print_data(
        f"budget {'met' if result.met else 'NOT MET'}: {len(result.float_nodes)} nodes in float, "
        f"{result.num_additions_in_float} of them residual additions; cost is the {_unit(result)}"
    )
    if not result.met:
        note("no set of float layers that was tried holds the limits; the file is the nearest to them")
    note(f"written: {result.picture}, {result.report}")


def _cells(score: Score) -> tuple[str, ...]:
    agreement = f"{score.agreement:.4f} ({score.agreement_low:.4f}..{score.agreement_high:.4f})"
    top1 = "-" if score.top1_percent is None else f"{score.top1_percent:.2f}"
    drop = "-" if score.drop is None else f"{score.drop:+.2f} ({score.drop_low:+.2f}..{score.drop_high:+.2f})"
    return agreement, top1, drop, "-" if score.sqnr_db is None else f"{score.sqnr_db:.1f}"


def _unit(result: BudgetResult) -> str:
    from resnet_deploy.quant.cost import COST_UNITS

    return COST_UNITS[result.cost_unit]
