"""Gradient norms layer by layer: does the training signal reach the first layers?

The paper verifies that a 34-layer plain net with BN has gradients of healthy norms, so that vanishing gradients do
not explain why it trains worse than an 18-layer one. Source: arXiv:1512.03385, section 4.1 and its footnote.
"""

from __future__ import annotations

__all__ = ["GradientOptions", "GradientReport", "LayerGradient", "NetGradients", "analyze_gradients", "layer_gradients"]

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from resnet_deploy.analyze.drawing import draw_gradients
from resnet_deploy.analyze.networks import (
    AnalyzedNet,
    computing,
    distinct_labels,
    fresh_net_for,
    has_shortcuts,
    open_net,
    run_device,
)
from resnet_deploy.analyze.report import check_common, json_file_of, picture_file, write_report
from resnet_deploy.core.errors import ConfigError, DataError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.batches import input_batches
from resnet_deploy.data.source import ImageSource, Subset, open_images, stratified_sample

GRADIENTS_SCHEMA = "resnet-deploy/layer-gradients/1"
_PROJECTION = ".downsample."


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientOptions:
    """What to measure.

    Attributes:
        files: Checkpoints, at their weights.
        nets: Catalogue names, at the He initialisation of `seed`.
        fresh: Measure the networks of `files` at initialisation too, in place of their weights.
        data, split: What `data.source.open_images` takes; with labels.
        num_images: A stratified sample of that many; 0 takes all.
        batch_size: Images of one forward pass, over which BN normalises, as in training.
        out: The picture (.png), with the numbers beside it (.json); None puts it beside the checkpoint, or in out/.
        num_threads: Processor threads; 0 takes PyTorch's choice.
        seed: Of the sample, of fresh weights, and of dropout where a network has it.
    """

    files: tuple[Path, ...] = ()
    nets: tuple[str, ...] = ()
    fresh: bool = False
    data: str
    split: str | None = "train"
    num_images: int = 256
    batch_size: int = 64
    out: Path | None = None
    num_threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.files and not self.nets:
            raise ConfigError("no network was given", remedy="name NET.safetensors, or a fresh one with --net NAME")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size is {self.batch_size}, expected at least 2 (BN normalises over the batch)")
        check_common(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerGradient:
    """The weight of one convolution or linear layer.

    Attributes:
        index: Place in order of execution, from 1.
        kind: "convolution" or "linear".
        is_projection: A shortcut's 1x1 convolution, which the paper does not count as a layer.
        gradient_norm: L2 norm of the gradient of the mean loss over all images.
        relative_norm: That over `weight_norm`; None where the weights are zero.
    """

    index: int
    name: str
    kind: str
    is_projection: bool
    num_weights: int
    weight_norm: float
    gradient_norm: float
    relative_norm: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NetGradients:
    """One network's layers in order.

    Attributes:
        weights: "trained" or "fresh, seed N".
        loss: Mean cross-entropy over the images, BN in training mode.
        first_to_last: Geometric mean of the norms of the first quarter of the convolutions over that of the last
            quarter: far below 1 where gradients vanish on their way back, far above where they explode; None where
            a norm is zero or not finite.
        num_dead: Layers whose gradient is zero or not finite.
    """

    label: str
    file: str | None
    net: str
    residual: bool
    weights: str
    loss: float
    first_to_last: float | None
    num_dead: int
    layers: tuple[LayerGradient, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientReport:
    """All networks on the same images; `num_images` are those that filled a batch."""

    data: str
    num_images: int
    batch_size: int
    nets: tuple[NetGradients, ...]
    picture: str
    file: str
    schema: str = GRADIENTS_SCHEMA


def analyze_gradients(options: GradientOptions, *, progress: Progress = NO_PROGRESS) -> GradientReport:
    """Measure every network on the same images, and write the picture and the numbers.

    The loss is the cross-entropy on unchanged images (no augmentation, no weight decay), with BN in training mode.

    Raises:
        ArtifactError: A checkpoint is missing or broken.
        ConfigError: Unknown net.
        DataError: The images have no labels, or other classes than a network.
    """
    picture = picture_file(options.out, [*options.files, *(Path("out") / name for name in options.nets)], "gradients")
    source, batch_size = _whole_batches(options)
    labels = distinct_labels(options.files, suffix=".safetensors")
    fresh_seed = options.seed if options.fresh else None
    nets = []
    with computing(options.num_threads, seed=options.seed):
        for file, label in zip(options.files, labels, strict=True):
            opened = open_net(file, label=label, fresh_seed=fresh_seed)
            nets.append(_gradients_of(opened, file, source, batch_size, progress))
        for name in options.nets:
            made = fresh_net_for(name, data=options.data, classes=source.classes, seed=options.seed)
            nets.append(_gradients_of(made, None, source, batch_size, progress))
    report = GradientReport(
        data=source.description,
        num_images=len(source),
        batch_size=batch_size,
        nets=tuple(nets),
        picture=str(picture),
        file=str(json_file_of(picture)),
    )
    write_report(
        report,
        draw_gradients(report),
        picture=picture,
        stage="analyze gradients",
        inputs={
            **{f"checkpoint {net.label}": Path(net.file) for net in nets if net.file is not None},
            "images": (source.description, source.fingerprint()),
        },
        options={
            "nets": list(options.nets),
            "fresh": options.fresh,
            "split": options.split,
            "num_images": options.num_images,
            "batch_size": batch_size,
            "seed": options.seed,
        },
    )
    return report


def layer_gradients(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[float, tuple[LayerGradient, ...]]:
    """The gradient of the mean loss over all batches, as norms by layer.

    Args:
        net: Is put into training mode; its BN statistics move, its weights do not.
        batches: Images [N, 3, H, W] and class numbers [N], on the network's device.
    Returns:
        The mean loss, and one entry for each convolution and linear layer in order of execution.
    Raises:
        ConfigError: There is no batch.
    """
    net.train()
    net.zero_grad(set_to_none=True)
    order: dict[str, nn.Module] = {}

    def executed(name: str) -> Callable:
        def hook(module: nn.Module, _inputs: tuple, _output: Tensor) -> None:
            order.setdefault(name, module)

        return hook

    hooks = [
        module.register_forward_hook(executed(name))
        for name, module in net.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    ]
    count, total = 0, 0.0
    try:
        for images, labels in batches:
            # the sum, not the mean: batches then count by their images
            loss = functional.cross_entropy(net(images), labels, reduction="sum")
            loss.backward()
            total, count = total + float(loss.detach()), count + len(labels)
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise ConfigError("no image was given", remedy="give a data set that is not empty")
    layers = tuple(_layer(index, name, order[name], count) for index, name in enumerate(order, start=1))
    net.zero_grad(set_to_none=True)
    return total / count, layers


def _layer(index: int, name: str, module: nn.Module, num_images: int) -> LayerGradient:
    weight_norm = float(module.weight.detach().double().norm())
    gradient = module.weight.grad
    gradient_norm = 0.0 if gradient is None else float(gradient.double().norm()) / num_images
    return LayerGradient(
        index=index,
        name=name,
        kind="linear" if isinstance(module, nn.Linear) else "convolution",
        is_projection=_PROJECTION in f".{name}.",
        num_weights=module.weight.numel(),
        weight_norm=weight_norm,
        gradient_norm=gradient_norm,
        relative_norm=gradient_norm / weight_norm if weight_norm else None,
    )


def first_to_last(layers: Sequence[LayerGradient]) -> float | None:
    """See `NetGradients.first_to_last`; projections take no part."""
    norms = [layer.gradient_norm for layer in layers if layer.kind == "convolution" and not layer.is_projection]
    if not norms or not all(norm > 0 and math.isfinite(norm) for norm in norms):
        return None
    logs, quarter = np.log(norms), max(1, len(norms) // 4)
    return float(np.exp(logs[:quarter].mean() - logs[-quarter:].mean()))


def _gradients_of(
    analyzed: AnalyzedNet, file: Path | None, source: ImageSource, batch_size: int, progress: Progress
) -> NetGradients:
    device = run_device()
    net = analyzed.net.to(device, memory_format=torch.channels_last)
    to_output = _outputs_of_classes(analyzed, source)
    progress.start(f"{analyzed.label} ({analyzed.weights}) on {source.description}", len(source) // batch_size)

    def on_device() -> Iterable[tuple[Tensor, Tensor]]:
        for batch in input_batches(source, analyzed.preprocess, batch_size=batch_size):
            images = torch.from_numpy(batch.images).to(device, memory_format=torch.channels_last)
            yield images, torch.from_numpy(to_output[batch.labels]).to(device)
            progress.advance()

    loss, layers = layer_gradients(net, on_device())
    norms = [layer.gradient_norm for layer in layers]
    return NetGradients(
        label=analyzed.label,
        file=None if file is None else str(file),
        net=analyzed.spec.name,
        residual=has_shortcuts(analyzed.spec),
        weights=analyzed.weights,
        loss=loss,
        first_to_last=first_to_last(layers),
        num_dead=sum(not (norm > 0 and math.isfinite(norm)) for norm in norms),
        layers=layers,
    )


def _whole_batches(options: GradientOptions) -> tuple[ImageSource, int]:
    """The sample, cut to whole batches as in training, because BN over a remainder of one image means nothing."""
    source = open_images(options.data, split=options.split)
    if not source.classes or int(source.labels.min()) < 0:
        raise DataError(
            f"{source.description} has no labels, and the training loss needs them",
            remedy="give a folder or .tar with one subfolder per class, or `digits`",
        )
    indices = np.arange(len(source))
    if options.num_images:
        indices = stratified_sample(source, options.num_images, seed=options.seed).indices
    batch_size = min(options.batch_size, len(indices))
    if batch_size < 2:
        raise DataError(f"{source.description}: {batch_size} image, BN needs 2", remedy="take more with --images")
    # mixed, as in training: a folder lists its images class by class, and a batch of one class has other statistics
    mixed = np.random.default_rng(options.seed).permutation(indices)
    return Subset(source, mixed[: len(mixed) // batch_size * batch_size]), batch_size


def _outputs_of_classes(analyzed: AnalyzedNet, source: ImageSource) -> np.ndarray:
    """Class of the data set -> output of the network, by name; [K] int64."""
    place = {name: index for index, name in enumerate(analyzed.labels or source.classes)}
    unknown = [name for name in source.classes if name not in place]
    if unknown:
        raise DataError(
            f"{source.description} has the class {unknown[0]!r}, which {analyzed.label} does not have "
            f"(it has {', '.join(list(place)[:10])}{', ...' if len(place) > 10 else ''})",
            remedy="give images of the classes the network was trained for",
        )
    return np.array([place[name] for name in source.classes], dtype=np.int64)
