"""A classifier as a fully convolutional network: one score for every window of the size it was trained at.

The global average pool over the P x P map that the trained input size gives becomes an average pool P x P with
stride 1, and every linear layer a convolution. At the trained size there is one window, and the scores are the
classifier's; a larger image gives a map of scores, one per window position, 32 px (ImageNet) or 4 px (CIFAR) apart.

Source: arXiv:1512.03385, section 3.4, after Sermanet et al. (OverFeat) and Simonyan and Zisserman (VGG).
"""

from __future__ import annotations

__all__ = ["FullyConvolutional", "fully_convolutional", "position_free"]

import copy

import torch
from torch import Tensor, fx, nn

from resnet_deploy.core.errors import ConfigError
from resnet_deploy.nets.averaging import log_mean_softmax
from resnet_deploy.nets.mean_image import MeanImage, channel_means


class FullyConvolutional(nn.Module):
    """Features of a classifier, then its head at every window position.

    Made by `fully_convolutional`.

    Attributes:
        features: Images [N, 3, H, W] -> last maps [N, C, h, w].
        pool: Average over a window, or the identity where the first layer of `head` spans it (VGG).
        head: Convolutions that were the linear layers.
        window: (rows, columns) of the last maps at the trained size, 7 x 7 for ImageNet at 224 px.
    """

    def __init__(self, features: nn.Module, pool: nn.Module, head: nn.Sequential, *, window: tuple[int, int]) -> None:
        super().__init__()
        self.features, self.pool, self.head = features, pool, head
        self.window = window

    def score_maps(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> logits of every window [N, K, h - P + 1, w - P + 1].

        Raises:
            ConfigError: The images are smaller than a window.
        """
        maps = self.features(x)
        if maps.shape[2] < self.window[0] or maps.shape[3] < self.window[1]:
            raise ConfigError(
                f"an input of {x.shape[3]}x{x.shape[2]} px gives maps of {maps.shape[3]}x{maps.shape[2]}, "
                f"one window needs {self.window[1]}x{self.window[0]}",
                remedy="take images at least as large as the network's own input",
            )
        return self.head(self.pool(maps))

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, 3, H, W] -> log of the softmax averaged over all window positions [N, K]."""
        return log_mean_softmax(self.score_maps(x), classes=1, over=(2, 3))


def fully_convolutional(net: nn.Module, *, height_px: int, width_px: int) -> FullyConvolutional:
    """The fully convolutional form of a catalogue network, in evaluation mode; shares no weights with `net`.

    A mean image has one value a position and fits one input size; here it becomes its mean per channel, as no
    position of a larger image is special. Only then do the scores at the trained size differ from `net`'s.

    Args:
        height_px, width_px: The input size `net` was trained at; it decides the window.
    Raises:
        ConfigError: `net` has no `avgpool` that is flattened and then read by `fc` or `classifier` alone.
    """
    net = position_free(net)
    features, head = _split(net)
    window = _map_size(features, height_px, width_px)
    pooled = _pair(net.avgpool.output_size)
    if pooled not in ((1, 1), window):
        raise ConfigError(
            f"{width_px}x{height_px} px give maps of {window[1]}x{window[0]}, the head of {type(net).__name__} takes "
            f"{pooled[1]}x{pooled[0]}",
            remedy="give the size the network was trained at",
        )
    spans_window = pooled == window
    pool = nn.Identity() if spans_window else nn.AvgPool2d(window, stride=1)
    kernel = window if spans_window else (1, 1)
    convs = [_as_convolution(module, kernel if index == 0 else (1, 1)) for index, module in enumerate(head)]
    return FullyConvolutional(features, pool, nn.Sequential(*convs), window=window).eval()


def position_free(net: nn.Module) -> nn.Module:
    """A copy of `net`, in evaluation mode, whose mean image, if it has one, is its mean per channel."""
    net = copy.deepcopy(net).eval()
    if isinstance(getattr(net, "center", None), MeanImage):
        net.center = MeanImage(channel_means(net.center.mean_image))
    return net


class _ChildrenAreLeaves(fx.Tracer):
    """Traces a network's own `forward` only: its stages stay modules, with their names."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _split(net: nn.Module) -> tuple[fx.GraphModule, nn.Sequential]:
    """Everything before `avgpool`, and the linear layers behind it."""
    graph = _ChildrenAreLeaves().trace(net)
    calls = {node.target: node for node in graph.nodes if node.op == "call_module"}
    name = next((name for name in ("fc", "classifier") if name in calls), None)
    pool, last = calls.get("avgpool"), next(node for node in graph.nodes if node.op == "output")
    flat = calls[name].args[0] if name is not None else None
    is_flatten = isinstance(flat, fx.Node) and "flatten" in str(flat.target)
    if pool is None or not is_flatten or flat.args[0] is not pool or last.args[0] is not calls[name]:
        raise ConfigError(
            f"{type(net).__name__} does not end in avgpool, flatten and a linear classifier, so it has no fully "
            "convolutional form here"
        )
    head = net.get_submodule(name)
    last.args = (pool.args[0],)
    for node in (calls[name], flat, pool):
        graph.erase_node(node)
    features = fx.GraphModule(net, graph, class_name=type(net).__name__)
    return features, head if isinstance(head, nn.Sequential) else nn.Sequential(head)


def _map_size(features: nn.Module, height_px: int, width_px: int) -> tuple[int, int]:
    """Rows and columns of the last maps; computes shapes only."""
    state = {name: tensor.to("meta") for name, tensor in features.state_dict().items()}
    image = torch.empty(1, 3, height_px, width_px, device="meta")
    maps = torch.func.functional_call(features, state, image)
    return int(maps.shape[2]), int(maps.shape[3])


def _as_convolution(module: nn.Module, kernel: tuple[int, int]) -> nn.Module:
    if not isinstance(module, nn.Linear):
        return module
    channels = module.in_features // (kernel[0] * kernel[1])
    with torch.device(module.weight.device):
        conv = nn.utils.skip_init(nn.Conv2d, channels, module.out_features, kernel, bias=module.bias is not None)
    conv.weight = nn.Parameter(module.weight.detach().reshape(-1, channels, *kernel))
    if module.bias is not None:
        conv.bias = module.bias
    return conv.eval()


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)
