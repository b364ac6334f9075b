"""The roofline plot of an estimate: its layers and, where there are some, its measured networks."""

from __future__ import annotations

__all__ = ["roofline_panels"]

from resnet_deploy.bench.roofline.bound import IDEAL, LayerBound
from resnet_deploy.bench.roofline.catalogue import Gpu
from resnet_deploy.bench.roofline.estimate import Estimate
from resnet_deploy.core.specs import Precision
from resnet_deploy.draw.roofline import RooflineDot, RooflinePanel

_LEAST_SHARE = 1e-3
"""Layers that take less of the time are not drawn; the classifier at batch 1 would stretch the axes."""


def roofline_panels(result: Estimate) -> tuple[RooflinePanel, ...]:
    """One panel a GPU that has layers, those of the first network and size at the smallest batch.

    Args:
        result: With `layers`.
    """
    layers = [layer for layer in result.layers if layer.fusion == IDEAL and layer.operations]
    if not layers:
        return ()
    first, batch = layers[0], min(layer.batch for layer in layers)
    shown = [
        layer
        for layer in layers
        if (layer.net, layer.size_px, layer.batch) == (first.net, first.size_px, batch)
    ]  # fmt: skip
    panels = (_panel(gpu, [layer for layer in shown if layer.target == gpu.name], result) for gpu in result.gpus)
    return tuple(panel for panel in panels if panel.dots)


def _panel(gpu: Gpu, layers: list[LayerBound], result: Estimate) -> RooflinePanel:
    precisions = list(dict.fromkeys(layer.precision for layer in layers))
    tf32 = any(network.tf32 for network in result.networks)
    peaks = {p.value: gpu.peak(p, tf32=tf32) for p in precisions}
    dots = []
    for precision in precisions:
        own = [layer for layer in layers if layer.precision is precision]
        total_us = sum(layer.dram_latency_us for layer in own)
        dots += [_dot(layer, total_us) for layer in own if layer.dram_latency_us >= _LEAST_SHARE * total_us]
        dots += _measured(gpu, own, result, precision)
    return RooflinePanel(
        title=gpu.title,
        gb_per_s=gpu.gb_per_s.value,
        roofs={label: peak.value for label, peak in peaks.items() if peak is not None},
        dots=tuple(dots),
    )


def _dot(layer: LayerBound, total_us: float) -> RooflineDot:
    return RooflineDot(
        group=layer.stage.split(".")[0],
        roof=layer.precision.value,
        intensity=layer.intensity,
        tera_operations=layer.operations / layer.dram_latency_us / 1e6,
        share=layer.dram_latency_us / total_us,
    )


def _measured(gpu: Gpu, layers: list[LayerBound], result: Estimate, precision: Precision) -> list[RooflineDot]:
    """The whole network at its own intensity and the rate it was measured at."""
    operations = sum(layer.operations for layer in layers)
    num_bytes = sum(
        layer.read_bytes + layer.residual_bytes + layer.weight_bytes + layer.written_bytes for layer in layers
    )
    return [
        RooflineDot(
            group="measured",
            roof=precision.value,
            intensity=operations / num_bytes,
            tera_operations=operations / row.p50_ms / 1e9,
            is_measured=True,
        )
        for row in result.measured
        if row.p50_ms and (row.target, row.net, row.precision, row.batch)
        == (gpu.name, layers[0].net, precision.value, layers[0].batch)
    ]  # fmt: skip
