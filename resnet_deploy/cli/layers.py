"""The `--layers` of `inspect`: what an ONNX file asks of its engine, beside what the engine does."""

from __future__ import annotations

__all__ = ["LayerOptions", "realised_precision", "save_layer_picture", "show_realised", "why_not_as_asked"]

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_deploy.cli.render import note, print_data, table
from resnet_deploy.core.errors import ConfigError

if TYPE_CHECKING:
    from resnet_deploy.pipeline.realised_result import Realised

_SHOWN = 3
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerOptions:
    """What `--layers` was given with."""

    layers_from: Path | None
    onnx: Path | None
    picture: Path | None
    float_ok: tuple[str, ...]
    strict: bool
    trust: bool

    def __post_init__(self) -> None:
        if self.picture is not None and self.picture.suffix not in (".png", ".svg"):
            raise ConfigError(f"--picture {self.picture}: expected a name that ends in .png or .svg")


def realised_precision(file: Path, options: LayerOptions) -> tuple[Realised, Path]:
    """The comparison for an engine, or the request alone for an ONNX file; and the ONNX file.

    Raises:
        ConfigError: Neither an engine nor an ONNX file, or two ONNX files.
    """
    from resnet_deploy.graph.external_data import read_onnx_with_data
    from resnet_deploy.pipeline.layer_source import LayerSource, find_layers, find_onnx
    from resnet_deploy.pipeline.realised import compare_precision

    if file.suffix not in (".engine", ".onnx"):
        raise ConfigError(f"{file}: --layers is for an engine (.engine) or an ONNX file (.onnx)")
    if file.suffix == ".onnx":
        if options.onnx is not None:
            raise ConfigError(f"--onnx {options.onnx} and {file} are both ONNX files", remedy="leave --onnx away")
        onnx = file
        source = find_layers(file, layer_file=options.layers_from) if options.layers_from else None
        source = source or LayerSource(layers=None, note="no engine was named")
    else:
        onnx = options.onnx or find_onnx(file)
        source = find_layers(file, layer_file=options.layers_from, trust=options.trust)
    if source.note:
        note(source.note)
    model, _ = read_onnx_with_data(onnx)
    return compare_precision(model, source.layers, float_ok=options.float_ok), onnx


def show_realised(realised: Realised, name: str) -> None:
    """Tables of counts, of what is not as asked, and of conversions; then the summary."""
    where = f"by {realised.source}" if realised.source else "expected by TensorRT's rules, no engine was asked"
    columns = ("operator", "number", "multiply-adds %", "asked", "reads", "weight", "asked to write", "writes")
    print_data(table(f"Layers of {name}, {where}", columns, _count_rows(realised)))
    if rows := _deviation_rows(realised):
        print_data(table("Not as asked", ("what", "number", "at", "why"), rows, left=4))
    if realised.conversions:
        per = "an image" if realised.batch == 1 else f"batch {realised.batch}"
        rows = _conversion_rows(realised)
        print_data(table("Conversions", ("from", "to", "number", f"MiB moved ({per})"), rows, left=2))
    print_data(realised.summary)
    if realised.moved_bytes is not None:
        moved = realised.moved_bytes / realised.batch / _MIB
        print_data(f"activations moved by all kernels: {moved:.1f} MiB an image")


def why_not_as_asked(realised: Realised, *, strict: bool) -> str:
    """One line for the terminal; empty where it passed."""
    found = {("layer multiplies", "layers multiply"): ("in another type", [layer.node for layer in realised.missed])}
    if strict:
        wide, alone = ([item.node for item in items] for items in (realised.widened, realised.alone))
        found["result is", "results are"] = ("wider", wide)
        found["addition is", "additions are"] = ("not fused", alone)
    texts = [
        f"{len(nodes)} {one if len(nodes) == 1 else many} {what}: {_first(nodes)}"
        for (one, many), (what, nodes) in found.items()
        if nodes
    ]
    return "not as asked: " + "; ".join(texts) if texts else ""


def save_layer_picture(realised: Realised, path: Path, name: str) -> None:
    """Draw the layers in order; PNG or SVG by the name's ending."""
    from resnet_deploy.draw.figure import save_picture
    from resnet_deploy.draw.layer_strip import DrawnAddition, DrawnConversion, DrawnLayer, draw_layer_strip

    known = all(layer.multiply_adds is not None for layer in realised.layers)
    layers = [
        DrawnLayer(
            name=layer.node,
            size=(layer.multiply_adds or 0) / 1e6 if known else 1.0,
            asked_in=layer.asked_in,
            reads=layer.reads,
            asked_out=layer.asked_out,
            writes=layer.writes,
            is_missed=bool(layer.reason) and not layer.accepted,
        )
        for layer in realised.layers
    ]
    conversions = [
        DrawnConversion(
            position=c.position,
            num_bytes=round((c.num_bytes or 0) / realised.batch),
            writes=c.writes,
            changes_type=c.changes_type,
        )
        for c in realised.conversions
    ]
    additions = [DrawnAddition(position=a.position, asked=a.asked, fused=a.fused) for a in realised.additions]
    what = "as the engine runs it" if realised.source else "as the file asks (expected, no engine was asked)"
    figure = draw_layer_strip(
        layers,
        conversions=conversions,
        additions=additions,
        size_label="million multiply-adds" if known else "layers",
        title=f"{name}: {len(layers)} layers, {what}",
    )
    save_picture(figure, path)
    note(f"written: {path}")


def _count_rows(realised: Realised) -> list[tuple[Any, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    products: dict[tuple[str, ...], int] = defaultdict(int)
    for layer in realised.layers:
        key = (layer.op_type, layer.asked_in, layer.reads, layer.weights, layer.asked_out, layer.writes)
        counts[key] += 1
        products[key] += layer.multiply_adds or 0
    total = sum(products.values())
    return [
        (
            key[0],
            count,
            f"{100 * products[key] / total:.1f}" if total else "-",
            key[1] or "any",
            key[2] or "-",
            key[3] or "-",
            key[4] or "any",
            key[5] or "-",
        )
        for key, count in counts.most_common()
    ]


def _deviation_rows(realised: Realised) -> list[tuple[Any, ...]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for layer in realised.missed:
        found["multiplies in another type", layer.reason].append(layer.node)
    for layer in realised.widened:
        told = f"it is written in {layer.writes}" if layer.writes else "the engine does not tell its type"
        found[f"result not in {layer.asked_out}", f"{told}, and converted by another kernel"].append(layer.node)
    for addition in realised.alone:
        why = (
            f"computed by {_kernel_name(addition.engine_layer)}"
            if addition.engine_layer
            else "no layer of the engine names it"
        )
        found["addition not fused", why].append(addition.node)
    if realised.tf32:
        found["rounds to TF32", "its kernel multiplies FP32 in TF32"] = list(realised.tf32)
    return [(what, len(nodes), _first(nodes), why) for (what, why), nodes in found.items()]


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _kernel_name(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


def _conversion_rows(realised: Realised) -> list[tuple[Any, ...]]:
    numbers: Counter[tuple[str, str]] = Counter()
    sizes: dict[tuple[str, str], list[int | None]] = defaultdict(list)
    for conversion in realised.conversions:
        key = (conversion.reads or "-", conversion.writes or "-")
        numbers[key] += 1
        sizes[key].append(conversion.num_bytes)
    return [
        (
            before,
            f"{after} (layout only)" if before == after else after,
            number,
            "-" if None in sizes[before, after] else f"{sum(sizes[before, after]) / _MIB:.2f}",
        )
        for (before, after), number in numbers.most_common()
    ]
