"""Batch normalisation folded into the convolution before it."""

from __future__ import annotations

__all__ = ["fold_batch_norms"]

import copy

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resnet_deploy.core.errors import ExportError


def fold_batch_norms(net: nn.Module) -> nn.Module:
    """A copy of `net`, in evaluation mode, whose convolutions hold their batch normalisations.

    w' = w * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps), computed in float64, so
    that folding costs one rounding to float32. Pairs are found by following the data flow, not by names.

    Raises:
        ExportError: A batch normalisation does not follow a convolution that it alone reads.
    """
    net = copy.deepcopy(net).eval()
    modules = dict(net.named_modules())
    for node in fx.symbolic_trace(net).graph.nodes:
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        source = node.args[0]
        conv = modules.get(source.target) if source.op == "call_module" else None
        if not isinstance(conv, nn.Conv2d) or len(source.users) != 1:
            raise ExportError(
                f"batch normalisation {node.target!r} does not follow a convolution of its own, it can not be folded"
            )
        folded = fuse_conv_bn_eval(conv.double(), modules[node.target].double()).float()
        _replace(net, source.target, folded)
        _replace(net, node.target, nn.Identity())
    return net


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, module)
