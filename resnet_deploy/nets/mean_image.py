"""The paper's per-pixel mean: an image that a net subtracts from its input, and that travels with its weights.

The mean image is part of the net, not of `Preprocess`, which is frozen and holds one mean a channel. So every
file made from the net (checkpoint, ONNX, engine) centres its input by itself.
"""

from __future__ import annotations

__all__ = ["MEAN_IMAGE_KEY", "MeanImage", "attach_mean_image", "channel_means"]

import torch
from torch import Tensor, nn

from resnet_deploy.core.errors import ConfigError

MEAN_IMAGE_KEY = "center.mean_image"
"""Its key in a net's state dict."""


class MeanImage(nn.Module):
    """x - mean_image.

    Args:
        mean_image: [3, H, W], or [3, 1, 1] for one mean a channel, which fits an input of any size; float32, in
            units of the normalised network input.
    Source: arXiv:1512.03385, section 3.4 ("with the per-pixel mean subtracted").
    """

    def __init__(self, mean_image: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_image", mean_image)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 3, H, W]."""
        return x - self.mean_image


def attach_mean_image(net: nn.Module, mean_image: Tensor) -> None:
    """Let `net`, one of the catalogue, subtract `mean_image` ([3, H, W]) from its input; in place.

    A mean image that is there already is replaced.

    Raises:
        ConfigError: Not of shape [3, H, W], or not finite.
    """
    if mean_image.ndim != 3 or mean_image.shape[0] != 3:
        raise ConfigError(f"the mean image has shape {list(mean_image.shape)}, expected [3, H, W]")
    if not bool(torch.isfinite(mean_image).all()):
        raise ConfigError("the mean image holds NaN or infinite values")
    net.center = MeanImage(mean_image.detach().to(torch.float32))


def channel_means(mean_image: Tensor) -> Tensor:
    """[3, H, W] -> [3, 1, 1]: what to attach where a net sees inputs of another size than it was trained at.

    Averaging in float64 costs one rounding to float32.
    """
    return mean_image.double().mean(dim=(1, 2), keepdim=True).float()
