"""What a network costs: parameters and multiply-adds, counted on the module itself."""

from __future__ import annotations

__all__ = ["LayerCost", "NetCost", "net_cost"]

import functools
from dataclasses import dataclass

import torch
from torch import nn

from resnet_deploy.nets.catalogue import NetSpec, build_net


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCost:
    """One convolution or linear layer at batch 1.

    Attributes:
        output_elements: Values it writes for one image.
    """

    name: str
    parameters: int
    multiply_adds: int
    output_elements: int


@dataclass(frozen=True, kw_only=True, slots=True)
class NetCost:
    """A whole network at batch 1.

    Attributes:
        parameters: All learnable values, BN's gamma and beta included.
        multiply_adds: Of convolutions and linear layers; bias, BN and pooling are not counted. This is what
            the paper calls FLOPs.
        layers: Per convolution and linear layer, in order of execution.
    """

    parameters: int
    multiply_adds: int
    layers: tuple[LayerCost, ...]


@functools.cache
def net_cost(spec: NetSpec, *, num_classes: int | None = None) -> NetCost:
    """Count a catalogue network at its own input size; allocates no weights."""
    with torch.device("meta"):
        net = build_net(spec, num_classes=num_classes).eval()
        image = torch.empty(1, *spec.preprocess.input_shape)
    return module_cost(net, image)


def module_cost(net: nn.Module, image: torch.Tensor) -> NetCost:
    """Count `net` for the input `image` [1, C, H, W], by running it once with hooks."""
    layers: list[LayerCost] = []
    hooks = []

    def record(name: str):
        def hook(module: nn.Module, _: tuple, output: torch.Tensor) -> None:
            layers.append(
                LayerCost(
                    name=name,
                    parameters=sum(p.numel() for p in module.parameters()),
                    multiply_adds=_multiply_adds(module, output),
                    output_elements=output.numel(),
                )
            )

        return hook

    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            hooks.append(module.register_forward_hook(record(name)))
    try:
        with torch.no_grad():
            net(image)
    finally:
        for hook in hooks:
            hook.remove()
    return NetCost(
        parameters=sum(p.numel() for p in net.parameters()),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=tuple(layers),
    )


def _multiply_adds(module: nn.Module, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    per_output = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
    return per_output * output.numel()
