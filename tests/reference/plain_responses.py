"""Layer responses of a CIFAR net computed from its weights alone, in float64, without torch and without hooks.

Source: arXiv:1512.03385, sections 3.1 to 3.3 and 4.2; option A puts its zero channels half before, half after.
"""

from __future__ import annotations

import numpy as np

_BN_EPSILON = 1e-5


def plain_responses(
    state: dict[str, np.ndarray], images: np.ndarray, *, num_blocks: int, residual: bool, after_relu: bool = False
) -> dict[str, float]:
    """Convolution -> standard deviation of its output after BN.

    Args:
        state: A state dict with the keys of the CIFAR nets (conv1, bn1, layer1.0.conv1, ...).
        images: [N, 3, H, W], preprocessed.
        num_blocks: n of 6n+2.
        residual: Whether each block adds its input.
        after_relu: A planted fault: measure behind the ReLU.
    """
    stds = {}

    def response(x: np.ndarray, conv: str, bn: str, stride: int) -> np.ndarray:
        y = _batch_norm(_convolve(x, state[f"{conv}.weight"], stride), state, bn)
        stds[conv] = float(np.std(np.maximum(y, 0) if after_relu else y))
        return y

    x = np.maximum(response(images.astype(np.float64), "conv1", "bn1", 1), 0)
    for stage in (1, 2, 3):
        for block in range(num_blocks):
            prefix, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = np.maximum(response(x, f"{prefix}.conv1", f"{prefix}.bn1", stride), 0)
            y = response(y, f"{prefix}.conv2", f"{prefix}.bn2", 1)
            x = np.maximum(y + _option_a(x, y.shape[1], stride) if residual else y, 0)
    return stds


def _convolve(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """3x3, one pixel of zeros around."""
    height, width = x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = 0.0
    for row in range(3):
        for column in range(3):
            window = padded[:, :, row : row + height : stride, column : column + width : stride]
            total = total + np.einsum("nchw,kc->nkhw", window, weight[:, :, row, column].astype(np.float64))
    return total


def _batch_norm(x: np.ndarray, state: dict[str, np.ndarray], name: str) -> np.ndarray:
    gamma, beta, mean, variance = (
        state[f"{name}.{part}"].astype(np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + _BN_EPSILON) * gamma + beta


def _option_a(x: np.ndarray, num_channels: int, stride: int) -> np.ndarray:
    added = num_channels - x.shape[1]
    return np.pad(x[:, :, ::stride, ::stride], ((0, 0), (added // 2, added - added // 2), (0, 0), (0, 0)))
