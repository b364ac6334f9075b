"""A look at a network before anything is quantised: its outliers, and plain advice with the figures it rests on."""

from __future__ import annotations

__all__ = ["THRESHOLDS", "Advice", "PrescanOptions", "PrescanResult", "ScanThresholds", "advise", "prescan"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from resnet_deploy.core.artifacts import read_manifest, refuse_pixels
from resnet_deploy.core.errors import ArtifactError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.core.specs import Precision
from resnet_deploy.data.bad_images import BadImages
from resnet_deploy.graph.index import GraphIndex
from resnet_deploy.quant.collect import collect_statistics
from resnet_deploy.quant.network import read_network
from resnet_deploy.quant.outliers import (
    ActivationProfile,
    ChannelStatistics,
    WeightProfile,
    activation_profile,
    weight_profile,
)
from resnet_deploy.quant.placement import Placement, find_placement
from resnet_deploy.quant.sample import SampleOptions, open_sample


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanThresholds:
    """When a figure becomes advice.

    Attributes:
        outlier_ratio: Largest value over the 99.99 percentile: at 4, two of seven bits are spent on values rarer than
            1 in 10,000.
        max_loss_db: Where the scale of a method (max, entropy) costs so much SQNR against the best scale, another
            method is advised: 3 dB is half of a bit.
        low_activation_db: Below it a tensor is named for FP16 even with its best scale. The rounding of int8 gives
            10 log10(12 * 127^2) = 52.9 dB less the peak-to-rms ratio in dB; 25 dB is a ratio of 25, when the common
            values are left with 5 of 127 steps.
        low_weight_db: The same for a weight, with a scale per channel.
        channel_spread: Largest channel over the median one: at 16, half of the channels have lost 4 of 7 bits.
        share_to_zero: Of a layer's weights that become 0.
    """

    outlier_ratio: float = 4.0
    max_loss_db: float = 3.0
    low_activation_db: float = 25.0
    low_weight_db: float = 25.0
    channel_spread: float = 16.0
    share_to_zero: float = 0.25


THRESHOLDS = ScanThresholds()


@dataclass(frozen=True, kw_only=True, slots=True)
class PrescanOptions:
    """What to scan.

    Attributes:
        onnx: FP32 file that `export` wrote.
        sample: Images for the activations; None looks at the weights alone.
    """

    onnx: Path
    sample: SampleOptions | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """One thing to do.

    Attributes:
        action: "method", "keep-float", "equalise" or "note", which asks for nothing.
        where: The tensor, the node or the network that it concerns.
        text: What to do, as a user would type it where it is a command.
        figures: What it rests on, and the threshold.
    """

    action: str
    where: str
    text: str
    figures: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PrescanResult:
    """Everything seen. `images` is "" and `activations` empty where no images were given."""

    file: Path
    images: str
    num_images: int
    weights: tuple[WeightProfile, ...]
    activations: tuple[ActivationProfile, ...]
    advice: tuple[Advice, ...]
    bad_images: tuple[str, ...] = ()


def prescan(options: PrescanOptions, progress: Progress = NO_PROGRESS) -> PrescanResult:
    """Profile every weight and, with images, every activation that int8 would round; writes nothing.

    Raises:
        ArtifactError: The ONNX file is missing, changed, or not FP32 of ours.
        DataError: The images can not be used.
        CalibrationError: A weight or an activation is NaN or infinite; names it.
        GraphError: The graph is quantised already, or has nothing that could be.
    """
    manifest = read_manifest(options.onnx, kind="onnx")
    refuse_pixels(options.onnx, manifest)
    if manifest.precision is not Precision.FP32:
        raise ArtifactError(
            f"{options.onnx} is {manifest.precision}, a scan looks at the FP32 file",
            remedy="make one with `resnet-deploy export`",
        )
    model = read_network(options.onnx, manifest).model
    placement = find_placement(model)
    index = GraphIndex(model.graph)
    weights = tuple(
        weight_profile(index.constant(use.weight), axis=use.axis, node=use.node, name=use.weight)
        for use in placement.weights
    )
    images, num_images, bad = "", 0, BadImages()
    activations: tuple[ActivationProfile, ...] = ()
    if options.sample is not None:
        sample = open_sample(options.sample)
        bad = BadImages(options.sample.skip_bad)
        seen = collect_statistics(
            model,
            placement.tensors,
            sample.images,
            sample.manifest.preprocess,
            make=ChannelStatistics,
            num_threads=options.sample.num_threads,
            bad=bad,
            progress=progress,
        )
        images, num_images = sample.images.description, seen.num_images
        activations = tuple(activation_profile(name, seen.tensors[name]) for name in placement.tensors)
    return PrescanResult(
        file=Path(options.onnx),
        images=images,
        num_images=num_images,
        weights=weights,
        activations=activations,
        advice=advise(model, placement, weights, activations),
        bad_images=tuple(map(str, bad)),
    )


def advise(
    model: onnx.ModelProto,
    placement: Placement,
    weights: Sequence[WeightProfile],
    activations: Sequence[ActivationProfile],
    thresholds: ScanThresholds = THRESHOLDS,
) -> tuple[Advice, ...]:
    """Plain recommendations, those for the whole network first."""
    advice = [
        *_method(activations, thresholds),
        *_float_tensors(placement, activations, thresholds),
        *_equalisation(model, activations, thresholds),
    ]
    for weight in weights:
        advice += _of_weight(weight, thresholds)
    dead = [a for a in activations if a.num_dead_channels == a.num_channels]
    for activation in dead:
        figures = f"all {activation.num_channels} channels were 0"
        advice.append(
            Advice(action="note", where=activation.tensor, text="always zero on these images", figures=figures)
        )
    return tuple(advice)


def _method(activations: Sequence[ActivationProfile], limits: ScanThresholds) -> list[Advice]:
    """Another method than max, or than entropy, where that does badly on some tensor.

    Where a tensor has a rare outlier, its SQNR says little: one huge value holds the energy, and clipping it costs no
    decision. So there the ratio to the percentile decides.
    """
    outliers = [a for a in activations if a.outlier_ratio > limits.outlier_ratio]
    choice = "percentile:99.99" if outliers else "mse"  # mse has the best SQNR of every tensor by construction
    advice = []
    for name, loss in (("max", lambda a: _loss(a.sqnr_max_db, a)), ("entropy", lambda a: _loss(a.sqnr_entropy_db, a))):
        losing = [a for a in activations if a not in outliers and loss(a) > limits.max_loss_db]
        parts = []
        if name == "max" and outliers:
            worst = max(outliers, key=lambda a: a.outlier_ratio)
            parts.append(
                f"max is more than {limits.outlier_ratio:g} x the 99.99 percentile in {len(outliers)} of "
                f"{len(activations)} tensors, worst {worst.tensor}: {worst.outlier_ratio:.1f} x"
            )
        if losing:
            worst = max(losing, key=loss)
            parts.append(
                f"{len(losing)} of {len(activations)} tensors lose more than {limits.max_loss_db:g} dB with {name}, worst "
                f"{worst.tensor}: {worst.sqnr_mse_db - loss(worst):.1f} dB against {worst.sqnr_mse_db:.1f} dB"
            )
        if parts:
            text = f"calibrate with --method {choice} rather than {name}"
            advice.append(Advice(action="method", where="network", text=text, figures="; ".join(parts)))
    return advice


def _float_tensors(
    placement: Placement, activations: Sequence[ActivationProfile], limits: ScanThresholds
) -> list[Advice]:
    advice = []
    for activation in activations:
        if activation.sqnr_mse_db is None or activation.sqnr_mse_db >= limits.low_activation_db:
            continue
        readers = list(dict.fromkeys(r.node for r in placement.reads if r.scale_of == activation.tensor))
        figures = (
            f"at most {activation.sqnr_mse_db:.1f} dB with any scale (threshold {limits.low_activation_db:g} dB); "
            f"read by {', '.join(readers)}"
        )
        text = f"keep it in FP16: quantize --keep-float {activation.tensor}"
        advice.append(Advice(action="keep-float", where=activation.tensor, text=text, figures=figures))
    return advice


def _equalisation(
    model: onnx.ModelProto, activations: Sequence[ActivationProfile], limits: ScanThresholds
) -> list[Advice]:
    """Only where it can help: the tensor is made by one convolution (and a ReLU), and one convolution reads it."""
    index = GraphIndex(model.graph)
    advice = []
    for activation in activations:
        maker = index.producer(activation.tensor, "Relu", "Conv")
        if maker is not None and maker.op_type == "Relu":
            maker = index.producer(maker.input[0], "Conv")
        readers = index.readers[activation.tensor]
        if activation.channel_spread < limits.channel_spread or maker is None or len(readers) != 1:
            continue
        if readers[0].node.op_type == "Conv":
            figures = (
                f"its largest channel is {activation.channel_spread:.0f} x its median one "
                f"(threshold {limits.channel_spread:g}), {activation.num_channels} channels"
            )
            text = f"equalise {maker.name} with {readers[0].node.name}"
            advice.append(Advice(action="equalise", where=activation.tensor, text=text, figures=figures))
    return advice


def _of_weight(weight: WeightProfile, limits: ScanThresholds) -> list[Advice]:
    advice = []
    if weight.sqnr_db is not None and weight.sqnr_db < limits.low_weight_db:
        figures = (
            f"weight SQNR {weight.sqnr_db:.1f} dB (threshold {limits.low_weight_db:g} dB), worst channel "
            f"max / rms {weight.worst_peak:.1f}"
        )
        text = f"keep it in FP16: quantize --exclude {weight.node}"
        advice.append(Advice(action="keep-float", where=weight.node, text=text, figures=figures))
    if weight.share_to_zero > limits.share_to_zero:
        figures = f"{100 * weight.share_to_zero:.1f} % of its weights become 0"
        advice.append(
            Advice(action="note", where=weight.node, text="watch it: sensitivity --by layer", figures=figures)
        )
    if weight.num_zero_channels:
        figures = f"{weight.num_zero_channels} of {weight.num_channels} output channels have no weight but 0"
        text = "nothing to do: such a channel gets scale 1 and stays exact"
        advice.append(Advice(action="note", where=weight.node, text=text, figures=figures))
    return advice


def _loss(sqnr_db: float | None, activation: ActivationProfile) -> float:
    return 0.0 if sqnr_db is None or activation.sqnr_mse_db is None else activation.sqnr_mse_db - sqnr_db
