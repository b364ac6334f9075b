"""Initial weights."""

from __future__ import annotations

__all__ = ["initialize"]

from torch import nn


def initialize(module: nn.Module) -> None:
    """He initialisation of every convolution (fan out, ReLU gain: std = sqrt(2 / fan)), BN at gamma 1 and beta 0.

    Linear layers keep what they have. In place; a module without memory (on "meta") has nothing to fill.

    Source: He et al., arXiv:1502.01852, section 2.2; used by the paper, section 3.4.
    """
    if any(parameter.is_meta for parameter in module.parameters()):
        return
    for child in module.modules():
        if isinstance(child, nn.Conv2d):
            nn.init.kaiming_normal_(child.weight, mode="fan_out", nonlinearity="relu")
            if child.bias is not None:
                nn.init.zeros_(child.bias)
        elif isinstance(child, nn.BatchNorm2d):
            nn.init.ones_(child.weight)
            nn.init.zeros_(child.bias)
