"""`resnet-deploy nets`: the catalogue."""

from __future__ import annotations

__all__ = ["command"]

from typing import Annotated

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import ProgressBar, print_data, print_json, table

command = typer.Typer(help="List the known networks, or show one.", no_args_is_help=True)

_COLUMNS = ("net", "data set", "depth", "shortcut", "variant", "parameters", "multiply-adds", "paper error %")


@command.command("list")
def list_nets(json: JSON = False) -> None:
    """Every named network with its parameters, multiply-adds and the error the paper prints."""
    from resnet_deploy.nets.catalogue import known_nets
    from resnet_deploy.nets.cost import net_cost

    specs = known_nets()
    with ProgressBar() as progress:
        progress.start("counting", len(specs))
        rows = []
        for spec in specs:
            rows.append(_row(spec, net_cost(spec)))
            progress.advance(note=spec.name)
    if json:
        print_json(rows)
        return
    print_data(table("Networks", _COLUMNS, (_cells(row) for row in rows), left=2))
    print_data(
        "CIFAR nets exist for every depth 6n+2. Errors are the paper's top-1; `nets show NET` says which protocol."
    )


@command.command("show")
def show_net(
    net: Annotated[str, typer.Argument(help="Name, e.g. resnet50 or resnet20.")],
    classes: Annotated[
        int | None, typer.Option("--classes", help="Number of classes, if not the usual one.", min=1)
    ] = None,
    json: JSON = False,
) -> None:
    """One network: totals, the paper's figures, and every convolution and linear layer."""
    from resnet_deploy.nets.catalogue import find_net
    from resnet_deploy.nets.cost import net_cost

    spec = find_net(net)
    cost = net_cost(spec, num_classes=classes)
    row = _row(spec, cost)
    if json:
        print_json({**row, "layers": cost.layers})
        return
    print_data(
        table(
            f"{spec.name}, input 3 x {spec.preprocess.height_px} x {spec.preprocess.width_px}",
            ("layer", "parameters", "multiply-adds", "output values"),
            ((c.name, f"{c.parameters:,}", f"{c.multiply_adds:,}", f"{c.output_elements:,}") for c in cost.layers),
        ),
        table("Totals", _COLUMNS, [_cells(row)], left=2),
    )
    if spec.paper_error_note:
        print_data(f"Paper: {spec.paper_error_percent} % top-1 error ({spec.paper_error_note}).")
    if spec.paper_multiply_adds:
        print_data(
            f"Paper's FLOPs (multiply-adds): {spec.paper_multiply_adds:.1e}; counted here: {cost.multiply_adds:,}."
        )


def _row(spec, cost) -> dict:
    return {
        "net": spec.name,
        "data_set": "ImageNet" if spec.family == "imagenet" else "CIFAR-10",
        "depth": spec.depth,
        "shortcut": spec.shortcut,
        "variant": spec.variant,
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "paper_error_percent": spec.paper_error_percent,
        "paper_error_note": spec.paper_error_note,
        "paper_multiply_adds": spec.paper_multiply_adds,
    }


def _cells(row: dict) -> tuple:
    error = "-" if row["paper_error_percent"] is None else f"{row['paper_error_percent']:.2f}"
    counts = f"{row['parameters']:,}", f"{row['multiply_adds']:,}"
    return (row["net"], row["data_set"], row["depth"], row["shortcut"], row["variant"], *counts, error)
