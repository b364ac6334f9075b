"""`resnet-deploy nets`: the catalogue."""

from __future__ import annotations

__all__ = ["command"]

from typing import TYPE_CHECKING, Annotated, Any

import typer

from resnet_deploy.cli.options import JSON
from resnet_deploy.cli.render import ProgressBar, print_data, print_json, table

if TYPE_CHECKING:
    from resnet_deploy.nets.catalogue import NetSpec
    from resnet_deploy.nets.cost import NetCost
    from resnet_deploy.nets.paper import PaperComparison

command = typer.Typer(help="List the known networks, or show one.", no_args_is_help=True)

_COLUMNS = ("net", "data", "depth", "shortcut", "variant", "parameters", "mult-adds", "paper err %")
_DATA_SETS = {"imagenet": "ImageNet", "cifar": "CIFAR-10"}


@command.command("list")
def list_nets(json: JSON = False) -> None:
    """The usual networks with their parameters, multiply-adds and the error the paper prints."""
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
        "paper err %: top-1, where the paper prints one for exactly this net; see `nets show NET --paper`.\n"
        "Further nets: CIFAR's of any depth 6n+2 (resnet8, plain14); -a, -b, -c for a shortcut option that\n"
        "is not the usual one (resnet20-b, resnet50-v1-c); -v1-caffe for the original Caffe models."
    )


@command.command("show")
def show_net(
    net: Annotated[str, typer.Argument(help="Name, e.g. resnet50, resnet34-a, plain20 or vgg16.")],
    classes: Annotated[
        int | None, typer.Option("--classes", help="Number of classes, if not the usual one.", min=1)
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", help="Side of the square input in pixels, if not the usual one.", min=1)
    ] = None,
    paper: Annotated[
        bool, typer.Option("--paper", help="The paper's figures beside ours, and why they differ.")
    ] = False,
    json: JSON = False,
) -> None:
    """One network: totals, its stages, and every convolution and linear layer."""
    from resnet_deploy.core.errors import ConfigError
    from resnet_deploy.nets.catalogue import find_net
    from resnet_deploy.nets.cost import net_cost
    from resnet_deploy.nets.paper import compare_with_paper

    spec = find_net(net)
    if paper and (classes or size):
        option = "--classes" if classes else "--size"
        raise ConfigError(
            f"--paper and {option} were both given, the paper's figures are of its own input and classes",
            remedy=f"leave {option} away",
        )
    cost = net_cost(spec, num_classes=classes, size_px=size)
    compared = compare_with_paper(spec) if paper else ()
    row = _row(spec, cost)
    shape = [3, size, size] if size else [*spec.preprocess.input_shape]
    if json:
        document = {**row, "input_shape": shape, "stages": cost.stages, "layers": cost.layers}
        print_json({**document, "paper": [_comparison(item) for item in compared]} if paper else document)
        return
    if paper:
        _print_paper(spec, compared)
        return
    _print_cost(f"{spec.name}, input {' x '.join(map(str, shape))}", cost)
    print_data(table("Totals", _COLUMNS, [_cells(row)], left=2))


def _print_cost(title: str, cost: NetCost) -> None:
    columns = ("layer", "parameters", "multiply-adds", "output values")
    layers = ((c.name, f"{c.parameters:,}", f"{c.multiply_adds:,}", f"{c.output_elements:,}") for c in cost.layers)
    stages = [
        (s.name, s.num_convs, f"{s.parameters:,}", f"{s.multiply_adds:,}", f"{s.output_elements:,}")
        for s in cost.stages
    ]
    outputs = sum(stage.output_elements for stage in cost.stages)
    total = ("all", cost.num_convs, f"{cost.parameters:,}", f"{cost.multiply_adds:,}", f"{outputs:,}")
    print_data(
        table(title, columns, layers),
        table("Stages", ("stage", "convs", *columns[1:]), [*stages, total]),
        f"Convolutions {cost.conv_multiply_adds:,} multiply-adds, linear layers "
        f"{cost.multiply_adds - cost.conv_multiply_adds:,}; parameters after BN is folded: "
        f"{cost.folded_parameters:,}.",
    )


def _print_paper(spec: NetSpec, compared: tuple[PaperComparison, ...]) -> None:
    if not compared:
        print_data(f"The paper prints no figure for {spec.name}.")
        return
    rows = [(c.figure.quantity, c.figure.where, c.figure.printed, _ours(c)) for c in compared]
    print_data(table(f"{spec.name} and the paper", ("quantity", "where", "paper", "ours"), rows, left=2))
    for why in dict.fromkeys(c.why for c in compared if c.why):
        about = dict.fromkeys(c.figure.quantity for c in compared if c.why == why)
        print_data(f"{', '.join(about)}: {why}.")
    if any(item.ours is None for item in compared):
        print_data("Errors are the paper's: only a trained net has one, which `evaluate` measures.")


def _comparison(item: PaperComparison) -> dict[str, Any]:
    figure = item.figure
    return {
        "net": figure.net,
        "quantity": figure.quantity,
        "where": figure.where,
        "printed": figure.printed,
        "value": figure.value,
        "ours": item.ours,
        "why": item.why,
    }


def _ours(item: PaperComparison) -> str:
    if item.ours is None:
        return "-"
    return f"{item.ours:,}" if isinstance(item.ours, int) else f"{item.ours:.2f} %"


def _row(spec: NetSpec, cost: NetCost) -> dict[str, Any]:
    from resnet_deploy.nets.paper import paper_error_percent

    return {
        "net": spec.name,
        "data_set": _DATA_SETS[spec.family],
        "depth": spec.depth,
        "shortcut": spec.shortcut,
        "variant": spec.variant,
        "parameters": cost.parameters,
        "folded_parameters": cost.folded_parameters,
        "multiply_adds": cost.multiply_adds,
        "conv_multiply_adds": cost.conv_multiply_adds,
        "num_convs": cost.num_convs,
        "paper_error_percent": paper_error_percent(spec),
    }


def _cells(row: dict[str, Any]) -> tuple:
    error = "-" if row["paper_error_percent"] is None else f"{row['paper_error_percent']:.2f}"
    counts = _short(row["parameters"]), _short(row["multiply_adds"])
    return (row["net"], row["data_set"], row["depth"], row["shortcut"], row["variant"], *counts, error)


def _short(count: int) -> str:
    """Three figures or more, as the nets are spoken of: 25.56 M, 4.09 G."""
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M"
