"""Layer responses: how strongly each 3x3 convolution of a trained network answers (the paper's Fig. 7).

A response is the output of a 3x3 convolution after its BN and before the ReLU or the addition; its strength is
the standard deviation over images, channels, rows and columns. Source: arXiv:1512.03385, section 4.2.
"""

from __future__ import annotations

__all__ = ["LayerResponse", "NetResponses", "ResponseOptions", "ResponseReport", "analyze_responses", "layer_responses"]

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from resnet_deploy.analyze.drawing import draw_responses
from resnet_deploy.analyze.networks import AnalyzedNet, computing, distinct_labels, has_shortcuts, open_net, run_device
from resnet_deploy.analyze.report import check_common, json_file_of, picture_file, write_report
from resnet_deploy.core.errors import ConfigError
from resnet_deploy.core.progress import NO_PROGRESS, Progress
from resnet_deploy.data.batches import count_batches, input_batches
from resnet_deploy.data.source import ImageSource, open_images, stratified_sample

RESPONSES_SCHEMA = "resnet-deploy/layer-responses/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseOptions:
    """What to measure.

    Attributes:
        files: Checkpoints.
        data, split: What `data.source.open_images` takes; labels are not needed.
        num_images: A stratified sample of that many; 0 takes all.
        out: The picture (.png), with the numbers beside it (.json); None puts `responses.png` beside the checkpoint.
        num_threads: Processor threads; 0 takes PyTorch's choice.
        seed: Of the sample.
    """

    files: tuple[Path, ...]
    data: str
    split: str | None = "val"
    num_images: int = 512
    batch_size: int = 64
    out: Path | None = None
    num_threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.files:
            raise ConfigError("no checkpoint was given", remedy="name one or more NET.safetensors")
        check_common(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerResponse:
    """One 3x3 convolution.

    Attributes:
        index: Place among the net's 3x3 convolutions from input to output, from 1.
        name: Of the convolution.
        measured_at: The module whose output was measured: its BN, or itself where the net has none.
        std, mean: Over images, channels, rows and columns, in float64.
        num_values: How many values that is.
    """

    index: int
    name: str
    measured_at: str
    std: float
    mean: float
    num_values: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NetResponses:
    """One network's layers in order; `mean_std` is the mean of their standard deviations."""

    label: str
    file: str
    net: str
    residual: bool
    mean_std: float
    layers: tuple[LayerResponse, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ResponseReport:
    """All networks on the same images."""

    data: str
    num_images: int
    nets: tuple[NetResponses, ...]
    picture: str
    file: str
    schema: str = RESPONSES_SCHEMA


def analyze_responses(options: ResponseOptions, *, progress: Progress = NO_PROGRESS) -> ResponseReport:
    """Measure every network on the same images, and write the picture and the numbers.

    Raises:
        ArtifactError: A checkpoint is missing or broken.
        ConfigError: A network has no 3x3 convolution.
        DataError: The images can not be used.
    """
    picture = picture_file(options.out, options.files, "responses")
    source = open_images(options.data, split=options.split)
    if options.num_images:
        source = stratified_sample(source, options.num_images, seed=options.seed)
    labels = distinct_labels(options.files, suffix=".safetensors")
    nets = []
    with computing(options.num_threads, seed=options.seed):
        for file, label in zip(options.files, labels, strict=True):
            nets.append(_responses_of(open_net(file, label=label), file, source, options.batch_size, progress))
    report = ResponseReport(
        data=source.description,
        num_images=len(source),
        nets=tuple(nets),
        picture=str(picture),
        file=str(json_file_of(picture)),
    )
    write_report(
        report,
        draw_responses(report),
        picture=picture,
        stage="analyze responses",
        inputs={
            **{f"checkpoint {net.label}": Path(net.file) for net in nets},
            "images": (source.description, source.fingerprint()),
        },
        options={"split": options.split, "num_images": options.num_images, "seed": options.seed},
    )
    return report


def layer_responses(net: nn.Module, batches: Iterable[Tensor]) -> tuple[LayerResponse, ...]:
    """Run `net` in evaluation mode over all batches and take the responses of its 3x3 convolutions.

    The values are taken inside the forward pass, at the BN itself, because a ReLU may overwrite them in place.

    Args:
        batches: [N, 3, H, W] each, on the network's device; at least one.
    Raises:
        ConfigError: There is no 3x3 convolution, or no batch.
    """
    net.eval()
    spreads: dict[str, _Spread] = {}
    places: dict[str, str] = {}
    hooks = []
    try:
        with torch.inference_mode():
            for batch in batches:
                if not places:
                    places = _response_places(net, batch[:1])
                    spreads = {name: _Spread() for name in places}
                    modules = dict(net.named_modules())
                    hooks = [modules[at].register_forward_hook(spreads[name].hook) for name, at in places.items()]
                net(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not places:
        raise ConfigError("no image was given", remedy="give a data set that is not empty")
    return tuple(
        LayerResponse(
            index=index,
            name=name,
            measured_at=at,
            std=spreads[name].std,
            mean=spreads[name].mean,
            num_values=spreads[name].count,
        )
        for index, (name, at) in enumerate(places.items(), start=1)
    )


class _Spread:
    """Mean and variance of a stream of values, merged batch by batch in float64.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances",
    1979; the sum of squares minus the square of the sum would cancel where the mean is large.
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        variance, mean = (float(x) for x in torch.var_mean(values.double(), correction=0))
        count, delta = values.numel(), mean - self.mean
        total = self.count + count
        self._squares += variance * count + delta * delta * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    def hook(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self.add(output)

    @property
    def std(self) -> float:
        return (self._squares / self.count) ** 0.5


def _response_places(net: nn.Module, image: Tensor) -> dict[str, str]:
    """3x3 convolution -> the module to measure, in order of execution: the BN that reads it, else itself.

    Found by running one image, not by names: whatever BN is given a convolution's very output belongs to it.
    """
    outputs: dict[int, tuple[str, Tensor]] = {}  # by identity; keeping the tensor keeps its identity its own
    places: dict[str, str] = {}

    def after_convolution(name: str) -> Callable:
        def hook(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            outputs[id(output)] = (name, output)
            places[name] = name

        return hook

    def after_batch_norm(name: str) -> Callable:
        def hook(_module: nn.Module, inputs: tuple, _output: Tensor) -> None:
            if id(inputs[0]) in outputs:
                places[outputs[id(inputs[0])][0]] = name

        return hook

    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            hooks.append(module.register_forward_hook(after_convolution(name)))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_hook(after_batch_norm(name)))
    try:
        net(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not places:
        raise ConfigError(
            f"{type(net).__name__} has no 3x3 convolution, whose response could be measured",
            remedy="layer responses are defined for ResNets, plain nets and VGG",
        )
    return places


def _responses_of(
    analyzed: AnalyzedNet, file: Path, source: ImageSource, batch_size: int, progress: Progress
) -> NetResponses:
    device = run_device()
    net = analyzed.net.to(device, memory_format=torch.channels_last)
    progress.start(f"{analyzed.label} on {source.description}", count_batches(source, batch_size))

    def on_device() -> Iterable[Tensor]:
        for batch in input_batches(source, analyzed.preprocess, batch_size=batch_size):
            yield torch.from_numpy(batch.images).to(device, memory_format=torch.channels_last)
            progress.advance()

    layers = layer_responses(net, on_device())
    return NetResponses(
        label=analyzed.label,
        file=str(file),
        net=analyzed.spec.name,
        residual=has_shortcuts(analyzed.spec),
        mean_std=sum(layer.std for layer in layers) / len(layers),
        layers=layers,
    )
