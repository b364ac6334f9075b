"""`resnet-deploy estimate`: how fast a network can be at best on a GPU, without one."""

from __future__ import annotations

__all__ = ["command"]

from pathlib import Path
from typing import Annotated, Optional

import typer

from resnet_deploy.cli.options import JSON, OUT
from resnet_deploy.cli.render import note, print_data, print_json, table
from resnet_deploy.core.errors import ConfigError


def command(
    files: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="[ONNX]...", help="ONNX files, estimated in the types their tensors have (Q/DQ, casts)."
        ),
    ] = None,
    depth: Annotated[
        Optional[list[int]], typer.Option("--depth", help="ImageNet ResNet of that depth; repeat for more.")
    ] = None,
    net: Annotated[Optional[list[str]], typer.Option("--net", help="Any net by name; repeat for more.")] = None,
    target: Annotated[
        Optional[str], typer.Option("--target", help="GPUs, e.g. l4,orin-agx,rtx4090; --list shows all.")
    ] = None,
    precision: Annotated[
        str, typer.Option("--precision", help="Of --depth and --net: fp32, fp16, bf16, int8, fp8.")
    ] = "fp32,fp16,int8",
    batches: Annotated[str, typer.Option("--batches", help="Images per pass, e.g. 1,8,32.")] = "1,8,32",
    size: Annotated[
        Optional[str],
        typer.Option("--size", help="Sides of the images in px, e.g. 160,224,288; default the net's own."),
    ] = None,
    tf32: Annotated[bool, typer.Option("--tf32", help="FP32 may run in TF32 on the tensor units.")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="Show every layer, and keep them in --out.")] = False,
    published: Annotated[bool, typer.Option("--published", help="Published measurements beside their bounds.")] = False,
    measured: Annotated[
        Optional[Path], typer.Option("--measured", help="A bench.json: its rows on a GPU beside their bounds.")
    ] = None,
    catalogue: Annotated[
        Optional[Path], typer.Option("--catalogue", help="A TOML file that describes GPUs of your own.")
    ] = None,
    list_gpus: Annotated[bool, typer.Option("--list", help="Show the GPUs that are known.")] = False,
    out: OUT = None,
    csv: Annotated[Optional[Path], typer.Option("--csv", help="Write every layer as a table to this file.")] = None,
    picture: Annotated[
        Optional[Path], typer.Option("--picture", help="Draw the roofline of the first network to this .png or .svg.")
    ] = None,
    json: JSON = False,
) -> None:
    """The least time a network can take on a GPU (roofline), and which layers are bound by what; needs no GPU."""
    from resnet_deploy.bench.roofline.catalogue import load_catalogue
    from resnet_deploy.bench.roofline.estimate import EstimateOptions, estimate, write_estimate
    from resnet_deploy.core.files import check_writable

    if list_gpus:
        _list(load_catalogue(catalogue), json)
        return
    if picture is not None and picture.suffix not in (".png", ".svg"):
        raise ConfigError(f"{picture}: pictures are written as .png or .svg", remedy="choose one of these endings")
    if (csv or picture) and not (files or depth or net):
        raise ConfigError("--csv and --picture show the layers of a network", remedy="name one, e.g. --depth 50")
    for file in (out, csv, picture):
        if file is not None:
            check_writable(file)
    options = EstimateOptions(
        nets=_nets(depth or [], net or []),
        files=tuple(files or ()),
        targets=_names(target),
        precisions=_precisions(precision),
        batches=_numbers("--batches", batches),
        sizes_px=() if size is None else _numbers("--size", size),
        tf32=tf32,
        layers=layers or csv is not None or picture is not None,
        published=published,
        measured=measured,
        catalogue=catalogue,
    )
    result = estimate(options)
    if json:
        print_json(result)
    else:
        _show(result, with_layers=layers)
    _write(result, out, csv, picture, lambda path: write_estimate(result, path, options))


def _nets(depths: list[int], nets: list[str]) -> tuple[str, ...]:
    from resnet_deploy.nets.catalogue import find_net, net_of_depth

    return tuple(dict.fromkeys([*(net_of_depth(d).name for d in depths), *(find_net(name).name for name in nets)]))


def _names(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError as error:
        raise ConfigError(f"{option} {text}: not a list of numbers", remedy=f"write e.g. {option} 1,8,32") from error


def _precisions(text: str):
    from resnet_deploy.core.specs import Precision

    known = [precision.value for precision in Precision]
    if unknown := [name for name in _names(text) if name not in known]:
        raise ConfigError(f"unknown precision {unknown[0]!r}", remedy=f"--precision takes {', '.join(known)}")
    return tuple(Precision(name) for name in _names(text))


def _list(catalogue, as_json: bool) -> None:
    if as_json:
        print_json(catalogue)
        return
    peaks = ("fp32", "tf32", "fp16", "int8", "fp8")
    rows = (
        (
            gpu.name,
            gpu.title,
            gpu.sm,
            *(_figure(getattr(gpu.peaks, name)) for name in peaks),
            *(_figure(figure) for figure in (gpu.gb_per_s, gpu.memory_gb, gpu.l2_mib, gpu.watts)),
            ", ".join(gpu.products),
        )
        for gpu in catalogue.gpu
    )
    columns = ("name", "GPU", "", "FP32", "TF32", "FP16", "INT8", "FP8", "GB/s", "GB", "L2 MiB", "W", "products")
    print_data(table("GPUs (peaks in 1e12 operations a second, dense)", columns, rows, left=3))
    print_data("?: not confirmed by a source. docs/reference/gpu-catalogue.md has the source of each figure.")


def _figure(figure) -> str:
    return "-" if figure is None else f"{figure.value:g}{'' if figure.confirmed else ' ?'}"


def _show(result, *, with_layers: bool) -> None:
    if result.networks:
        print_data(table("Bounds", _BOUND_COLUMNS, map(_bound_cells, result.networks), left=5))
        print_data(
            "At best: no kernel is ever late and the L2 cache keeps what fits. Through memory: every tensor is "
            "written and read; the cache alone can beat that. Memory-bound: share of the time in such layers."
        )
        if any(row.fusion != "ideal" for row in result.networks):
            print_data(
                "tensorrt-rtx: the kernels that TensorRT-RTX 1.7 makes of an INT8 network today, sums in FP32 in between."
            )
        if not all(row.is_confirmed for row in result.networks):
            print_data("?: a figure of that GPU is not confirmed (--list).")
    for refused in result.not_estimated:
        print_data(f"Not estimated: {refused.net}, {refused.precision}, {refused.fusion}: {refused.reason}.")
    if with_layers:
        _show_layers(result.layers)
    if result.published:
        print_data(table("Published measurements", _PUBLISHED_COLUMNS, map(_published_cells, result.published), left=5))
        for item in result.published:
            if item.share > 1:
                print_data(
                    f"{item.measured.gpu}, {item.measured.what}: {item.measured.explanation or 'not explained'}."
                )
        beaten = sum(item.share > 1 for item in result.published)
        print_data(
            f"{beaten} of {len(result.published)} beat their bound. Over 100 % through memory: the cache helped. "
            "(): not stated by the source, the most favourable is taken."
        )
    if result.measured:
        print_data(table("Measured", _MEASURED_COLUMNS, map(_measured_cells, result.measured), left=4))


_BOUND_COLUMNS = (
    "net", "px", "target", "precision", "kernels of", "batch", "ms at best", "memory-bound", "images/s",
    "ms through memory", "memory-bound", "",
)  # fmt: skip


def _bound_cells(row) -> tuple:
    px = str(row.size_px) if row.size_px == row.width_px else f"{row.size_px}x{row.width_px}"
    return (
        row.net, px, row.target, row.precision, row.fusion, row.batch, _time(row.latency_ms),
        f"{row.memory_bound_share:.0%}", f"{row.images_per_second:,.0f}", _time(row.dram_latency_ms),
        f"{row.dram_memory_bound_share:.0%}", "" if row.is_confirmed else "?",
    )  # fmt: skip


def _time(value_ms: float) -> str:
    return f"{value_ms:.3g}" if value_ms < 100 else f"{value_ms:.0f}"


def _show_layers(layers) -> None:
    groups: dict = {}
    for layer in layers:
        key = (layer.net, layer.size_px, layer.target, layer.precision.value, layer.fusion, layer.batch)
        groups.setdefault(key, []).append(layer)
    columns = (
        "layer", "kind", "type", "operations", "bytes", "operations/byte", "us at best", "bound by", "us through memory",
        "bound by",
    )  # fmt: skip
    for (net, size, target, precision, fusion, batch), own in groups.items():
        title = f"{net}, {size} px, {target}, {precision}, {fusion}, batch {batch}"
        print_data(table(title, columns, map(_layer_cells, own), left=3))


def _layer_cells(layer) -> tuple:
    num_bytes = layer.read_bytes + layer.residual_bytes + layer.weight_bytes + layer.written_bytes
    in_memory = "memory" if layer.dram_us > layer.arithmetic_us else "arithmetic"
    return (
        layer.name, layer.kind, layer.type, f"{layer.operations:,}", f"{num_bytes:,}",
        "-" if layer.intensity is None else f"{layer.intensity:.1f}", f"{layer.latency_us:.3g}",
        layer.bound_by if layer.latency_us else "-", f"{layer.dram_latency_us:.3g}", in_memory,
    )  # fmt: skip


_PUBLISHED_COLUMNS = (
    "GPU", "net", "what", "precision", "batch", "published", "bound", "of the bound", "of the bound through memory",
)  # fmt: skip


def _published_cells(item) -> tuple:
    row = item.measured
    is_time = row.latency_ms is not None
    got = f"{row.latency_ms:g} ms" if is_time else f"{row.images_per_second:,.0f}/s"
    bound = f"{_time(item.bound_latency_ms)} ms" if is_time else f"{item.bound_images_per_second:,.0f}/s"
    precision = str(item.precision) if row.precision else f"({item.precision})"
    batch = str(item.batch) if row.batch else f"({item.batch})"
    return (row.gpu, row.net, row.what, precision, batch, got, bound, f"{item.share:.0%}", f"{item.dram_share:.0%}")


_MEASURED_COLUMNS = ("net", "precision", "backend", "target", "batch", "p50 ms", "of the bound", "through memory", "")


def _measured_cells(row) -> tuple:
    def percent(value):
        return "-" if value is None else f"{value:.0%}"

    p50 = "-" if row.p50_ms is None else f"{row.p50_ms:.3f}"
    shares = percent(row.latency_share), percent(row.dram_latency_share)
    return (row.net, row.precision or "-", row.backend, row.target or "-", row.batch, p50, *shares, row.reason)


def _write(result, out, csv, picture, write) -> None:
    if out is not None:
        write(out)
        note(f"written to {out}")
    if csv is not None:
        from resnet_deploy.bench.roofline.estimate import write_layers

        write_layers(result, csv)
        note(f"layers written to {csv}")
    if picture is not None:
        from resnet_deploy.draw.figure import save_picture
        from resnet_deploy.draw.roofline import draw_rooflines
        from resnet_deploy.report.roofline_panels import roofline_panels

        panels = roofline_panels(result)
        if not panels:
            raise ConfigError("there is no layer to draw", remedy="see the reasons above")
        first = result.layers[0]
        batch = min(layer.batch for layer in result.layers)
        save_picture(draw_rooflines(panels, title=f"{first.net}, {first.size_px} px, batch {batch}"), picture)
        note(f"picture written to {picture}")
