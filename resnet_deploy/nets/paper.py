"""What the paper prints of each network, and why a count of ours may differ from it.

A figure belongs to the net the paper measured: 50 layers and more are `-v1` there, and 18 layers option A in
Table 2. A net of the same depth that is usual today is shown the figure with that difference named.

Source: He et al., arXiv:1512.03385, Tables 1 to 4 and 6, Fig. 3 and section 3.3.
"""

from __future__ import annotations

__all__ = ["PaperComparison", "PaperFigure", "compare_with_paper", "paper_error_percent", "paper_figures"]

from dataclasses import dataclass

from resnet_deploy.nets.catalogue import NetSpec, find_net
from resnet_deploy.nets.cost import NetCost, net_cost

MULTIPLY_ADDS, PARAMETERS, VGG_SHARE = "multiply-adds", "parameters", "share of VGG-19's multiply-adds"


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperFigure:
    """One number of the paper that concerns one network.

    Attributes:
        net: Our name of the network that the paper measured.
        quantity: "multiply-adds", "parameters", "share of VGG-19's multiply-adds", "top-1 error", "top-5 error"
            or "error" (CIFAR).
        value: In units of one (counts) or percent.
        printed: As the paper writes it.
        where: Table or figure, and the protocol of an error.
    """

    net: str
    quantity: str
    value: float
    printed: str
    where: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperComparison:
    """A figure of the paper beside ours.

    Attributes:
        ours: The same quantity, counted exactly; None for an error, which only a trained net has.
        why: Why they differ, or how the paper rounded.
    """

    figure: PaperFigure
    ours: float | None
    why: str


_TEN_CROP = "ImageNet val, 10-crop"
_MULTI_SCALE = "ImageNet val, multi-scale"
_VALIDATION = {  # net: (Table, top-1, top-5); None where the paper prints none
    "plain18": [("Table 2", 27.94, None)],
    "resnet18-a": [("Table 2", 27.88, None)],
    "plain34": [("Tables 2 and 3", 28.54, 10.02)],
    "resnet34-a": [("Tables 2 and 3", 25.03, 7.76)],
    "resnet34": [("Table 3", 24.52, 7.46), ("Table 4", 21.84, 5.71)],
    "resnet34-c": [("Table 3", 24.19, 7.40), ("Table 4", 21.53, 5.60)],
    "resnet50-v1": [("Table 3", 22.85, 6.71), ("Table 4", 20.74, 5.25)],
    "resnet101-v1": [("Table 3", 21.75, 6.05), ("Table 4", 19.87, 4.60)],
    "resnet152-v1": [("Table 3", 21.43, 5.71), ("Table 4", 19.38, 4.49)],
    "vgg16": [("Table 3", 28.07, 9.33)],
}
_FLOPS = {  # net: (billions as printed, where)
    "plain18": ("1.8", "Table 1"),
    "resnet18-a": ("1.8", "Table 1"),
    "plain34": ("3.6", "Table 1, Fig. 3"),
    "resnet34-a": ("3.6", "Table 1, Fig. 3"),
    "resnet34": ("3.6", "Table 1"),
    "resnet50-v1": ("3.8", "Table 1"),
    "resnet101-v1": ("7.6", "Table 1"),
    "resnet152-v1": ("11.3", "Table 1"),
    "vgg16": ("15.3", "section 4.1"),
    "vgg19": ("19.6", "Fig. 3"),
}
_CIFAR = {  # net: (error, note, millions of parameters as printed)
    "resnet20": (8.75, "", "0.27"),
    "resnet32": (7.51, "", "0.46"),
    "resnet44": (7.17, "", "0.66"),
    "resnet56": (6.97, "", "0.85"),
    "resnet110": (6.43, "; the best of 5 runs, mean 6.61 +- 0.16", "1.7"),
    "resnet1202": (7.93, "; training error below 0.1 %", "19.4"),
}
_VGG_SHARE_NETS = ("plain34", "resnet34-a")


def paper_figures(spec: NetSpec) -> tuple[PaperFigure, ...]:
    """What the paper prints of this net, or of the one of its depth that the paper measured."""
    net = _papers_net(spec)
    figures = []
    if net in _FLOPS:
        billions, where = _FLOPS[net]
        figures.append(_figure(net, MULTIPLY_ADDS, float(billions) * 1e9, f"{billions} x 10^9", where))
    if net in _VGG_SHARE_NETS:
        figures.append(_figure(net, VGG_SHARE, 18.0, "18 %", "section 3.3"))
    for table, top1, top5 in _VALIDATION.get(net, ()):
        protocol = _MULTI_SCALE if table == "Table 4" else _TEN_CROP
        for quantity, error in (("top-1 error", top1), ("top-5 error", top5)):
            if error is not None:
                where = table.removeprefix("Tables 2 and ") if quantity == "top-5 error" else table
                where = f"Table {where}" if where.isdigit() else where
                figures.append(_figure(net, quantity, error, f"{error:.2f} %", f"{where}; {protocol}"))
    if net in _CIFAR:
        error, note, millions = _CIFAR[net]
        figures.append(_figure(net, PARAMETERS, float(millions) * 1e6, f"{millions} M", "Table 6"))
        figures.append(_figure(net, "error", error, f"{error:.2f} %", f"Table 6; CIFAR-10 test, single view{note}"))
    if spec.name == "plain110":
        figures.append(_figure(spec.name, "error", 60.0, "> 60 %", "Fig. 6, caption; CIFAR-10 test"))
    return tuple(figures)


def paper_error_percent(spec: NetSpec) -> float | None:
    """The first error the paper prints of exactly this net: top-1 10-crop on ImageNet, CIFAR-10 test error."""
    errors = [f for f in paper_figures(spec) if f.quantity in ("top-1 error", "error") and f.net == spec.name]
    return errors[0].value if errors and not errors[0].printed.startswith(">") else None


def compare_with_paper(spec: NetSpec) -> tuple[PaperComparison, ...]:
    """Each figure of the paper beside our count at the net's own input size and class count."""
    cost = net_cost(spec)
    return tuple(_compare(spec, cost, figure) for figure in paper_figures(spec))


def _figure(net: str | None, quantity: str, value: float, printed: str, where: str) -> PaperFigure:
    return PaperFigure(net=str(net), quantity=quantity, value=value, printed=printed, where=where)


def _papers_net(spec: NetSpec) -> str | None:
    """The net of that depth and shortcut option which the paper measured; None where it measured none."""
    if spec.name in _VALIDATION or spec.name in _FLOPS or spec.name in _CIFAR:
        return spec.name
    if spec.shortcut != "B" or spec.family != "imagenet":
        return None
    return "resnet18-a" if spec.depth == 18 else f"resnet{spec.depth}-v1"


def _compare(spec: NetSpec, cost: NetCost, figure: PaperFigure) -> PaperComparison:
    if figure.quantity == MULTIPLY_ADDS:
        return PaperComparison(figure=figure, ours=cost.multiply_adds, why=_why_multiply_adds(spec, cost, figure))
    if figure.quantity == PARAMETERS:
        return PaperComparison(
            figure=figure, ours=cost.parameters, why=_rounding(cost.parameters / 1e6, figure.value / 1e6)
        )
    if figure.quantity == VGG_SHARE:
        share = 100 * cost.multiply_adds / net_cost(find_net("vgg19")).multiply_adds
        return PaperComparison(figure=figure, ours=share, why=_rounding(share, figure.value))
    return PaperComparison(figure=figure, ours=None, why=_other_net(spec, figure))


def _why_multiply_adds(spec: NetSpec, cost: NetCost, figure: PaperFigure) -> str:
    printed = figure.value / 1e9
    if spec.architecture == "vgg":
        return _vgg_conventions(cost, printed)
    papers = net_cost(find_net(figure.net)).multiply_adds
    if spec.variant == "v1.5":
        more = cost.multiply_adds - papers
        return (
            f"v1.5 moves the stride from the first 1x1 to the 3x3, {more:+,}; the paper's net, {figure.net}, has "
            f"{papers:,}: {_rounding(papers / 1e9, printed)}"
        )
    if spec.shortcut == "B" and spec.depth in (18, 34):
        option_a = net_cost(find_net(f"resnet{spec.depth}-a")).multiply_adds
        return (
            f"{_rounding(cost.multiply_adds / 1e9, printed)}; option A, whose shortcuts multiply nothing, has "
            f"{option_a:,}: {_rounding(option_a / 1e9, printed)}"
        )
    return _rounding(cost.multiply_adds / 1e9, printed)


def _vgg_conventions(cost: NetCost, printed: float) -> str:
    """The paper gives VGG-16's convolutions alone and the whole of VGG-19."""
    totals = {"convolutions alone": cost.conv_multiply_adds, "with the linear layers": cost.multiply_adds}
    meant = [name for name, count in totals.items() if round(count / 1e9, 1) == printed]
    said = ", ".join(f"{name} {count:,}" for name, count in totals.items())
    return f"{said}; the paper counts {' and '.join(meant) or 'neither'}"


def _rounding(exact: float, printed: float) -> str:
    """How a figure of the paper comes from an exact one: by rounding, by cutting off, or not at all."""
    text = f"{printed:g}"
    decimals = len(text.partition(".")[2])
    shown = f"{exact:.{decimals + 2}f}"
    if round(exact, decimals) == printed:
        return f"{shown} rounds to {text}"
    if int(exact * 10**decimals) == round(printed * 10**decimals):
        return f"{shown} is cut off to {text}, it would round to {exact:.{decimals}f}"
    return f"{shown} does not give {text}"


def _other_net(spec: NetSpec, figure: PaperFigure) -> str:
    if figure.net == spec.name:
        return ""
    if spec.depth == 18:
        return "the paper's net has option A"
    if spec.variant == "v1-caffe":
        return "the paper's net, as it was released"
    return f"the paper's net is {figure.net}, the stride in the first 1x1"
