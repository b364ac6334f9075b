"""The shortcut of a residual block: the paper's options A, B and C, and none for the plain nets.

Shapes by legend: N batch, C channels, H, W rows and columns.
Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, sections 3.2, 3.3 and 4.1.
"""

from __future__ import annotations

__all__ = ["SHORTCUTS", "ZeroPadShortcut", "make_shortcut", "projection_shortcut"]

from torch import Tensor, nn
from torch.nn import functional

SHORTCUTS = ("A", "B", "C", "none")
"""A: identity, zero channels where shapes differ. B: identity, projection where shapes differ. C: projection in
every block. none: a plain net, nothing is added to F(x)."""


class ZeroPadShortcut(nn.Module):
    """Option A: subsample by `stride`, then add zero channels half before and half after; no parameters.

    The paper leaves open where the zero channels go; half and half is what the widely used CIFAR
    implementations do, so their weights load as they are.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise ValueError(f"option A can not shrink {in_channels} channels to {out_channels}")
        self.stride = stride
        added = out_channels - in_channels
        self.padding = (added // 2, added - added // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C_in, H, W] -> [N, C_out, ceil(H / stride), ceil(W / stride)]."""
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, *self.padding))


def projection_shortcut(in_channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    """Ws of options B and C: 1x1 convolution with `stride`, then BN (torchvision's keys "0", "1")."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def make_shortcut(option: str, in_channels: int, out_channels: int, *, stride: int) -> nn.Module | None:
    """The module from a block's x to the shape of its F(x), by `option`; None where x is added as it is.

    Raises:
        ValueError: `option` is none of `SHORTCUTS`.
    """
    if option not in SHORTCUTS:
        raise ValueError(f"shortcut option is {option!r}, expected one of {', '.join(SHORTCUTS)}")
    is_same_shape = stride == 1 and in_channels == out_channels
    if option == "none" or (is_same_shape and option != "C"):
        return None
    if option == "A":
        return ZeroPadShortcut(in_channels, out_channels, stride=stride)
    return projection_shortcut(in_channels, out_channels, stride=stride)
