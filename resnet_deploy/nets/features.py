"""What lies before a network's classifier: the pooled features, and the maps its stages end in.

A map is called after its stride, as feature pyramids do: `c3` has stride 2^3. An ImageNet net has `c2` to `c5`, a
CIFAR net `c0` to `c2`.

Source: Lin et al., "Feature Pyramid Networks", arXiv:1612.03144, section 3 (C2 to C5: each stage's last residual
block).
"""

from __future__ import annotations

__all__ = ["Features", "StageMaps", "pools_any_size", "stages_by_map"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resnet_deploy.nets.cifar import CifarResNet
from resnet_deploy.nets.imagenet import ImageNetResNet


def stages_by_map(net: nn.Module) -> dict[str, str]:
    """Name of a map -> name of the stage that ends in it, in order; empty for a network that has no such stages."""
    if isinstance(net, ImageNetResNet):
        return {f"c{level}": f"layer{level - 1}" for level in (2, 3, 4, 5)}
    if isinstance(net, CifarResNet):
        return {f"c{level}": f"layer{level + 1}" for level in (0, 1, 2)}
    return {}


def pools_any_size(net: nn.Module) -> bool:
    """Whether the classifier reads one value per channel, whatever the size of the maps (VGG's reads 7 x 7)."""
    pool = getattr(net, "avgpool", None)
    return isinstance(pool, nn.AdaptiveAvgPool2d) and pool.output_size in (1, (1, 1))


class Features(nn.Module):
    """What the last linear layer of a network reads."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._last = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> [N, C]."""
        seen: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        try:
            self.net(x)
        finally:
            hook.remove()
        return seen[0]


class StageMaps(nn.Module):
    """The outputs of some stages of a network.

    Args:
        maps: Keys of `stages_by_map`.
    """

    def __init__(self, net: nn.Module, maps: Sequence[str]) -> None:
        super().__init__()
        self.net = net
        self._stages = [stages_by_map(net)[name] for name in maps]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [N, 3, H, W] -> [N, C, H / 2^l, W / 2^l] for each map c<l>, rounded up."""
        seen: dict[str, Tensor] = {}

        def keeper(stage: str):
            def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
                seen[stage] = output.clone(memory_format=torch.contiguous_format)

            return keep

        hooks = [self.net.get_submodule(stage).register_forward_hook(keeper(stage)) for stage in self._stages]
        try:
            self.net(x)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(seen[stage] for stage in self._stages)
