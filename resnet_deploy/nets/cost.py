"""What a network costs: parameters and multiply-adds, counted on the module itself."""

from __future__ import annotations

__all__ = ["LayerCost", "NetCost", "StageCost", "module_cost", "net_cost"]

import functools
from dataclasses import dataclass

import torch
from torch import nn

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.catalogue import NetSpec, build_net


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One convolution or linear layer at batch 1.

    Attributes:
        kind: "conv" or "linear".
        output_elements: Values it writes for one image.
    """

    name: str
    kind: str
    parameters: int
    multiply_adds: int
    output_elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCost:
    """One part of a network at batch 1: the stem, a stage of equal map size, the classifier.

    Attributes:
        name: "stem", "layer1" ..., "fc"; for VGG "conv1" ... "conv5", "classifier".
        parameters: All learnable values, BN's gamma and beta included.
        output_elements: Values that its convolutions and linear layers write for one image.
    """

    name: str
    parameters: int
    multiply_adds: int
    num_convs: int
    output_elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NetCost:
    """A whole network at batch 1.

    Attributes:
        parameters: All learnable values, BN's gamma and beta included.
        folded_parameters: The same once every BN is folded into the convolution before it, as in an ONNX file.
        multiply_adds: Of convolutions and linear layers; bias, BN and pooling are not counted. This is what
            the paper calls FLOPs.
        layers: Per convolution and linear layer, in order of execution.
        stages: The sums over the parts of the network, in order of execution.
    """

    parameters: int
    folded_parameters: int
    multiply_adds: int
    layers: tuple[LayerCost, ...]
    stages: tuple[StageCost, ...]

    @property
    def num_convs(self) -> int:
        """Convolutions, those of projections included."""
        return sum(layer.kind == "conv" for layer in self.layers)

    @property
    def conv_multiply_adds(self) -> int:
        """Of the convolutions alone: the convention of some published VGG figures."""
        return sum(layer.multiply_adds for layer in self.layers if layer.kind == "conv")

    @property
    def conv_output_elements(self) -> int:
        """Values that the convolutions write for one image; what timm calls activations."""
        return sum(layer.output_elements for layer in self.layers if layer.kind == "conv")


@functools.cache
def net_cost(spec: NetSpec, *, num_classes: int | None = None, size_px: int | None = None) -> NetCost:
    """Count a catalogue network; allocates no weights.

    Args:
        size_px: Side of the square input; None takes the net's own size.
    Raises:
        ConfigError: The input is too small for the net.
    """
    shape = spec.preprocess.input_shape if size_px is None else (3, size_px, size_px)
    with torch.device("meta"):
        net = build_net(spec, num_classes=num_classes).eval()
        image = torch.empty(1, *shape)
    try:
        return module_cost(net, image)
    except RuntimeError as error:
        raise ConfigError(
            f"{spec.name} can not take an input of {shape[1]} x {shape[2]} px: {error}",
            remedy=f"its usual side is {spec.preprocess.height_px} px",
        ) from error


def module_cost(net: nn.Module, image: torch.Tensor) -> NetCost:
    """Count `net` for the input `image` [1, C, H, W], by running it once with hooks."""
    layers: list[LayerCost] = []
    hooks = []

    def record(name: str):
        def hook(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
            layers.append(
                LayerCost(
                    name=name,
                    kind="linear" if isinstance(module, nn.Linear) else "conv",
                    parameters=sum(p.numel() for p in module.parameters()),
                    multiply_adds=_multiply_adds(module, output),
                    output_elements=output.numel(),
                )
            )

        return hook

    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            hooks.append(module.register_forward_hook(record(name)))
    batch_norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    try:
        for module in batch_norms:
            module.forward = _pass_through  # changes no shape, and is four fifths of the time without memory
        with torch.no_grad():
            net(image)
    finally:
        for module in batch_norms:
            del module.forward
        for hook in hooks:
            hook.remove()
    return NetCost(
        parameters=sum(p.numel() for p in net.parameters()),
        folded_parameters=_folded_parameters(net),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=tuple(layers),
        stages=_stages(net, layers),
    )


def _pass_through(x: torch.Tensor) -> torch.Tensor:
    return x


def _multiply_adds(module: nn.Module, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
    return per_output * output.numel()


def _folded_parameters(net: nn.Module) -> int:
    """Folding takes gamma and beta of every BN away, and gives its convolution a bias where that has none."""
    total = sum(p.numel() for p in net.parameters())
    without_bias = sum(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is None)
    return total - sum(2 * m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm2d)) + without_bias


def _stages(net: nn.Module, layers: list[LayerCost]) -> tuple[StageCost, ...]:
    stage_of = _stage_names(net)
    parameters = dict.fromkeys(stage_of.values(), 0)
    for name, parameter in net.named_parameters():
        parameters[stage_of[name.rpartition(".")[0]]] += parameter.numel()
    stages = []
    for stage in dict.fromkeys(stage_of[layer.name] for layer in layers):
        own = [layer for layer in layers if stage_of[layer.name] == stage]
        stages.append(
            StageCost(
                name=stage,
                parameters=parameters[stage],
                multiply_adds=sum(layer.multiply_adds for layer in own),
                num_convs=sum(layer.kind == "conv" for layer in own),
                output_elements=sum(layer.output_elements for layer in own),
            )
        )
    return tuple(stages)


def _stage_names(net: nn.Module) -> dict[str, str]:
    """Module path -> stage. VGG's `features` hold five stages, each ended by a pooling."""
    names, pooled = {}, 0
    for path, module in net.named_modules():
        first = path.split(".")[0]
        if first == "features":
            names[path] = f"conv{pooled + 1}"
            pooled += isinstance(module, nn.MaxPool2d)
        else:
            names[path] = "stem" if first in ("conv1", "bn1") else first
    return names
